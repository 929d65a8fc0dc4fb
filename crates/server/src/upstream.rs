//! The way to the APIs: connections are kept, nothing is followed, the destination is configured.

mod body;
mod destination;
mod guard;
mod heard;
mod leaving;
mod noted;
mod pool;
mod tunnel;

pub(crate) use body::{AnswerBody, RequestBody};
pub(crate) use destination::is_ambiguous;
pub use destination::{ResourceServer, ResourceServerError};
pub(crate) use noted::{Noted, Record};
pub(crate) use pool::{Over, Pool, SendError, Unsent};
pub(crate) use tunnel::join;
