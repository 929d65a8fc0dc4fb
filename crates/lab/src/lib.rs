//! The simulated organisation over sockets.
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
mod server;

pub use server::{Now, Running, serve};
