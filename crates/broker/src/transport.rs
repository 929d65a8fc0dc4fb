//! How a request reaches the authorization server: a parameter, so that a test needs no socket.

mod connect;
mod http1;
mod tls;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bellwether_oauth::Secret;
use url::Url;
use zeroize::Zeroizing;

pub use connect::{connect, server_name};
pub use http1::Http1;
pub use tls::{TlsError, machine_roots, read_roots, tls_config};

/// A request to the authorization server, or to what tells whether a token still lives.
#[derive(Debug)]
pub struct Outgoing {
    /// Where to; the scheme, host and port of the configuration, never of a caller.
    pub url: Url,
    /// The header `Authorization`.
    pub authorization: Option<Secret>,
    /// A form to POST; without one it is a GET.
    pub form: Option<Secret>,
}

/// An answer, whole.
pub struct Received {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `Date`; `Retry-After` may be a date that is read against it.
    pub date: Option<String>,
    /// `WWW-Authenticate`.
    pub www_authenticate: Option<String>,
    /// Whether there was a `Location`.
    pub location: bool,
    /// The body, at most [`bellwether_oauth::MAX_BODY`] bytes and one more.
    pub body: Zeroizing<Vec<u8>>,
    /// Whether the body broke off.
    pub truncated: bool,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request surely did not leave: it may be sent again.
    #[error("{0}")]
    NotSent(String),
    /// It may have been processed.
    #[error("{0}")]
    MaybeSent(String),
}

impl TransportError {
    fn not_sent(why: &str) -> Self {
        Self::NotSent(why.to_owned())
    }
}

/// A pending answer.
pub type Answering<'a> =
    Pin<Box<dyn Future<Output = Result<Received, TransportError>> + Send + 'a>>;

/// Sends one request and reads its answer, within limits of its own on time and size.
///
/// Follows no redirect, uses no proxy, retries nothing.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends it once.
    fn send(&self, outgoing: Outgoing) -> Answering<'_>;

    /// Sends it once, and waits up to `patience` for the answer even if that is longer than usual:
    /// an answer to what spends something is worth it.
    fn send_patiently(&self, outgoing: Outgoing, patience: Duration) -> Answering<'_> {
        let _ = patience;
        self.send(outgoing)
    }
}

impl Received {
    /// What the reader of an answer wants to know.
    pub fn message<'a>(
        &'a self,
        wall: bellwether_lifecycle::UnixTime,
        secrets: &'a [&'a Secret],
    ) -> bellwether_oauth::Message<'a> {
        bellwether_oauth::Message {
            status: self.status,
            content_type: self.content_type.as_deref(),
            retry_after: self.retry_after.as_deref(),
            date: self.date.as_deref(),
            www_authenticate: self.www_authenticate.as_deref(),
            location: self.location,
            body: &self.body,
            truncated: self.truncated,
            wall: wall.as_secs(),
            secrets,
        }
    }
}
