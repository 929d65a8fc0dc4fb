//! The simulated organisation over sockets, and what a scenario against it comes to.
//!
//! A [`Scenario`] says who polls what; run in virtual time or over sockets it gives a [`Measured`]
//! for each strategy, and a [`Document`] says what that means. [`Needs`] is the arithmetic alone.
//!
//! [`serve`] puts an [`Organisation`](bellwether_simulation::Organisation) behind a TCP listener:
//! login and API share one address, as behind a gateway. The machine stays pure; here are the
//! sockets, the waiting for its latencies, and the ways a connection can end without an answer.
//! Who runs the lab tells it the time by a [`Now`].
//!
//! Beside the organisation's own paths, `/lab/…` is for whoever directs the play, in any language:
//!
//! | request | does |
//! | --- | --- |
//! | `GET /lab/ledger` | the totals; with `?entries=1` the newest entries too |
//! | `POST /lab/revoke` | `{"client"?, "token"?, "refresh_tokens"?}`: revokes live tokens |
//! | `POST /lab/faults` | `{"endpoint", "effect", "for_ms"?, "in_ms"?, "times"?}`: adds a fault |
//! | `DELETE /lab/faults` | ends all faults |
//! | `POST /lab/secret` | `{"client", "secret"}`: changes a secret or registers a client |
//! | `POST /lab/refresh-token` | `{"client"}`: answers with a new `refresh_token` |
//!
//! The lab is for tests on one's own machine: whoever reaches its listener may do all of this.

mod body;
mod control;
mod document;
mod measured;
mod needs;
mod scenario;
mod server;
mod verdict;

pub use document::{About, Document, FleetMeasured, Mode};
pub use measured::{BySecond, Measured, OverTime, Percentiles, Polls, milliseconds};
pub use needs::Needs;
pub use scenario::{FleetSize, Scenario};
pub use verdict::{Verdict, calls, change, grouped};

pub use server::{Now, Running, serve};
