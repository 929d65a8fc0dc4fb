//! What workers saw of the authorization server and the API, whichever strategy they follow.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_broker::oauth::{Message, TokenError, read};
use bellwether_broker::{Answering, Outgoing, Received, Transport};

/// Counts answers as the callers see them.
#[derive(Debug, Default)]
pub struct Observed {
    token_requests: AtomicU64,
    status_401: AtomicU64,
    status_429: AtomicU64,
    throttled_logins: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Token requests that were sent.
    pub token_requests: u64,
    /// 401 from API and token endpoint alike.
    pub status_401: u64,
    /// 429 from API and token endpoint alike.
    pub status_429: u64,
    /// Token requests refused because there were too many, also in disguise.
    pub throttled_logins: u64,
}

impl Observed {
    /// The counts now.
    pub fn refusals(&self) -> Refusals {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Refusals {
            token_requests: load(&self.token_requests),
            status_401: load(&self.status_401),
            status_429: load(&self.status_429),
            throttled_logins: load(&self.throttled_logins),
        }
    }

    /// Counts an answer's status.
    pub(crate) fn note_status(&self, status: u16) {
        match status {
            401 => add(&self.status_401),
            429 => add(&self.status_429),
            _ => {}
        }
    }

    fn note_token_answer(&self, received: &Received) {
        self.note_status(received.status);
        if is_throttle(received) {
            add(&self.throttled_logins);
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn is_throttle(received: &Received) -> bool {
    let message = Message {
        status: received.status,
        content_type: received.content_type.as_deref(),
        body: &received.body,
        truncated: received.truncated,
        ..Message::default()
    };
    received.status >= 400 && matches!(read(&message).outcome, Err(TokenError::Throttled { .. }))
}

/// A way to the token endpoint that counts what comes back.
pub struct Watched {
    transport: Arc<dyn Transport>,
    observed: Arc<Observed>,
}

impl Watched {
    /// Counts in `observed` what `transport` brings.
    pub fn new(transport: Arc<dyn Transport>, observed: Arc<Observed>) -> Self {
        Self { transport, observed }
    }
}

impl Transport for Watched {
    fn send(&self, outgoing: Outgoing) -> Answering<'_> {
        Box::pin(async {
            add(&self.observed.token_requests);
            let received = self.transport.send(outgoing).await;
            if let Ok(received) = &received {
                self.observed.note_token_answer(received);
            }
            received
        })
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("observed", &self.observed).finish_non_exhaustive()
    }
}
