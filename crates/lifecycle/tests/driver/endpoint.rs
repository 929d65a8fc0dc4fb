//! Token endpoints that answer as a script says.

use std::time::Duration;

use bellwether_lifecycle::{Cause, Failure, Timestamp};

use super::{Request, at};

/// What comes back, and when.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    pub after: Duration,
    /// `expires_in` of the token, or no token.
    pub outcome: Result<Option<Duration>, Failure>,
}

/// Answers token requests.
pub trait Endpoint {
    fn answer(&mut self, request: &Request) -> Reply;
}

impl<F: FnMut(&Request) -> Reply> Endpoint for F {
    fn answer(&mut self, request: &Request) -> Reply {
        self(request)
    }
}

/// How requests fail for a while.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub after: Duration,
    pub failure: Failure,
}

impl Fault {
    pub fn new(cause: Cause, after: Duration) -> Self {
        Self { after, failure: Failure::new(cause) }
    }
}

/// Grants tokens of one lifetime, except while it is scripted to fail.
#[derive(Clone, Debug)]
pub struct Script {
    latency: Duration,
    lifetime: Option<Duration>,
    faults: Vec<(Timestamp, Timestamp, Fault)>,
}

impl Script {
    /// Tokens that live for `seconds`, after 100 ms.
    pub fn granting(seconds: u64) -> Self {
        Self::answering(Some(Duration::from_secs(seconds)))
    }

    /// Tokens without `expires_in`.
    pub fn silent_about_expiry() -> Self {
        Self::answering(None)
    }

    fn answering(lifetime: Option<Duration>) -> Self {
        Self { latency: Duration::from_millis(100), lifetime, faults: Vec::new() }
    }

    pub fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Fails so from `from` until before `until`, in seconds into the story.
    pub fn failing(mut self, from: f64, until: f64, fault: Fault) -> Self {
        self.faults.push((at(from), at(until), fault));
        self
    }
}

impl Endpoint for Script {
    fn answer(&mut self, request: &Request) -> Reply {
        let fault =
            self.faults.iter().find(|(from, until, _)| (*from..*until).contains(&request.at));
        match fault {
            Some((_, _, fault)) => Reply { after: fault.after, outcome: Err(fault.failure) },
            None => Reply { after: self.latency, outcome: Ok(self.lifetime) },
        }
    }
}
