//! A simulated organisation: an authorization server and an API as pure machines, with a ledger.
//!
//! It plays the other side of the wire, the good days and the bad. A client logs in at
//! `/oauth/token` and shows the access token at `/api/…`. The organisation keeps only so many
//! tokens of a client alive and ends the oldest; it lets each token be used only so often; it
//! throttles logins, sometimes in disguise; it rotates refresh tokens in one of six classes; and
//! where the script says so it is slow, silent, or answers nothing after it has done the work.
//! The knobs are a [`Profile`], the script is made of [`Fault`]s.
//!
//! Every request ends in the [`Ledger`], with what the organisation thought of it. So the ledger,
//! not the caller, says how many logins there were, whose live token died, and how often a
//! refresh token was on the wire.
//!
//! Nothing here reads a clock or draws a number of its own: [`Organisation::handle`] is told the
//! time, chance comes from a seed, and an [`Answer`] says how long the caller is to wait for it.
//! In virtual time a [`Timeline`] carries the waiting; `bellwether-lab` does it over sockets.
//!
//! - Texts of tokens are never kept, logged or shown by `Debug`.
//! - A request changes the organisation when it arrives, not when its answer does.

mod access_token;
mod api_limit;
mod authorization;
mod by_number;
mod chance;
mod client;
mod fault;
mod ledger;
mod login_limit;
mod message;
mod organisation;
mod profile;
mod refresh_token;
pub mod rehearsal;
mod resource_server;
mod revocation;
mod rotation;
pub mod system;
mod timeline;
mod token_endpoint;
mod token_text;

pub use api_limit::{ApiLimit, Window};
pub use by_number::{Granted, Reply, ReplyOutcome};
pub use chance::Chance;
pub use client::Client;
pub use fault::{Effect, Fault};
pub use ledger::{Endpoint, Entry, Grant, Ledger, Totals, Verdict};
pub use login_limit::{LoginLimit, MinuteMark, Refusal};
pub use message::{Answer, Outcome, Request, Response};
pub use organisation::Organisation;
pub use profile::{ExpiresIn, Latency, NamedProfile, Profile, Unauthorized, UnauthorizedCode};
pub use rotation::{Reuse, Rotation};
pub use timeline::Timeline;
pub use token_text::TOKEN_MARK;
