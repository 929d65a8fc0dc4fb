//! Who a caller is and what it may use, decided here and nowhere else: by a key or its peer, by a
//! client of its own that the authorization server verified, or by a token that was handed out here.
//! What was found out stays with the [`Connection`], so that the same is not found out again.

mod access;
mod caller;
mod clients;
mod configured;
mod connection;
mod guesses;
mod offered;
mod passes;
mod peer;
pub(crate) mod remembered;
mod token_request;
mod trusted;

pub(crate) use access::{CREDENTIAL, Known};
pub(crate) use clients::Clients;
pub(crate) use configured::{Callers, Mark};
pub(crate) use connection::Connection;
pub(crate) use guesses::{Guesses, too_many_wrong_keys};
pub(crate) use offered::Offered;
pub(crate) use passes::{LeadsTo, Passes};
pub(crate) use peer::{Certificate, Peer};
pub(crate) use token_request::{CallersRequest, MAX_FORM};
pub use trusted::TrustedProxy;
pub(crate) use trusted::{is_trusted, was_forwarded};
