//! The library: carries out what the lifecycle decides, over HTTP, store and timers.
//!
//! ```text
//!  Handle ──asks──▶ Scheduler ──events──▶ Lifecycle (pure)
//!    ▲                │   ▲                   │
//!    │ atomic load    │   └────── actions ────┘
//!  Shared ◀─publishes─┤
//!                     └─admitted by the door─▶ Flight: lease, row, request, row ─▶ reports back
//! ```
//!
//! A [`Handle`] reads a held token without waiting for anything. Everything else is asked of one
//! scheduler task, which owns all lifecycles; renewals run in tasks of their own, so that a caller
//! that goes away takes nothing with it.

mod broker;
mod command;
mod custody;
mod doors;
mod entry;
mod error;
mod exchange;
mod flight;
mod gate;
mod grant_row;
mod handle;
mod kept_answer;
mod limits;
mod news;
pub mod provider;
mod reauthorized;
mod record;
mod restore;
mod scheduler;
mod settings;
mod shared;
mod stored_failure;
mod surroundings;
mod token;
mod transport;
mod verify;

pub use bellwether_lifecycle as lifecycle;
pub use bellwether_oauth as oauth;
pub use bellwether_store as store;
pub use broker::{Added, Broker, Environment};
pub use custody::{Custody, CustodyError, NewGrant};
pub use error::{NoToken, RenewalError};
pub use exchange::{Exchange, ExchangeError, Pair, Presented};
pub use handle::{Current, Handle, PATIENCE, Refusal};
pub use limits::rate_limit;
pub use news::News;
pub use restore::{RememberedClient, WHILE_USED};
pub use settings::{AuthorizationServer, Credential, CredentialSettings, Identity, Obtain, Terms};
pub use shared::Counters;
pub use token::Token;
pub use transport::{
    Answering, Http1, Outgoing, Received, TlsError, Transport, TransportError, connect,
    machine_roots, read_roots, server_name, tls_config,
};
