//! Decides when an access token is requested, renewed, retried and given up. Pure.
//!
//! Nothing here does I/O, reads a clock or draws a random number: [`Lifecycle::handle`] takes an
//! [`Event`], the time and a [`Chance`], and returns [`Action`]s. It never sees a token: what it
//! knows of one is [`Held`]. Four machines share the work:
//!
//! - [`Lifecycle`]: one credential, with its pool, its troubles and its waiters;
//! - [`Admission`]: which renewal may use a token endpoint now;
//! - [`Budget`]: which access token of a pool an API request may spend;
//! - [`Turnstile`]: whose turn it is where requests must wait for that ([`FairQueue`]).

mod admission;
mod backoff;
mod budget;
mod chance;
mod damper;
mod event;
mod failure;
mod fair;
mod lead;
mod lifecycle;
mod member;
mod per_member;
mod policy;
pub mod renewal;
mod status;
pub mod time;
mod trouble;
mod turnstile;
mod waiting;

pub use admission::{Admission, Allowance, Settled, Ticket};
pub use backoff::Backoff;
pub use budget::{Budget, Quota, Take, Told};
pub use chance::Chance;
pub use event::{Action, Event, Need, Verdict, WaiterId};
pub use failure::{Cause, Failure};
pub use fair::{CallerId, Capacity, FairQueue, Joined, Place};
pub use lead::{Held, floor};
pub use lifecycle::Lifecycle;
pub use per_member::PerMember;
pub use policy::{Demand, Policy, Replay};
pub use renewal::Renewal;
pub use status::{NextAction, State, Status};
pub use time::{Timestamp, UnixTime};
pub use turnstile::{Entry, Next, Turnstile};
