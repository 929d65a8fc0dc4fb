//! What stands in a credential's way. What fails, fails for all of its members: they share client
//! and grant.

use std::time::Duration;

use crate::chance::Chance;
use crate::failure::{Cause, Failure};
use crate::policy::Policy;
use crate::status::State;
use crate::time::Timestamp;

/// What a caller is told to wait where nothing better is known.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// Nobody is sent away for longer, unless the server asked for it.
const RETRY_LATEST: Duration = Duration::from_secs(3600);

/// What time may cure has a time; what a person must do has a probe at most.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    None,
    Retrying(Retrying),
    /// Nothing is sent until somebody authorises again.
    Stopped(Failure),
}

/// One request goes at a time, from `resumes_at` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retrying {
    pub(crate) state: State,
    pub(crate) failures: u32,
    pub(crate) resumes_at: Timestamp,
    pub(crate) failure: Failure,
}

impl Trouble {
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(crate) fn failures(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::Retrying(retrying) => retrying.failures,
            Self::Stopped(_) => 1,
        }
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            Self::None => None,
            Self::Retrying(Retrying { failure, .. }) | Self::Stopped(failure) => Some(*failure),
        }
    }

    /// When a request may go; `None` if none may.
    pub(crate) fn resumes_at(&self) -> Option<Timestamp> {
        match self {
            Self::None => Some(Timestamp::ZERO),
            Self::Retrying(retrying) => Some(retrying.resumes_at),
            Self::Stopped(_) => None,
        }
    }

    /// What another failure makes of it. Requests that were under way together fail together: that
    /// is one failure, and the longest `Retry-After` holds.
    pub(crate) fn after(
        self,
        now: Timestamp,
        failure: Failure,
        in_doubt: bool,
        policy: &Policy,
        chance: &mut dyn Chance,
    ) -> Self {
        if matches!(self, Self::Stopped(_)) {
            return self;
        }
        let (backoff, state) = match failure.cause {
            Cause::Reauthorize => return Self::Stopped(failure),
            Cause::Misconfigured => (policy.probing, State::Misconfigured),
            Cause::Passing | Cause::Throttled | Cause::InDoubt if in_doubt => {
                (policy.backoff, State::InDoubt)
            }
            Cause::Passing | Cause::Throttled | Cause::InDoubt => {
                (policy.backoff, State::BackingOff)
            }
        };
        let before = self.resumes_at().filter(|&resumes_at| now < resumes_at);
        // What a person must fix is probed from the beginning, however long a fault lasted before.
        let known = match (self, state) {
            (Self::Retrying(retrying), State::Misconfigured) if retrying.state != state => 0,
            _ => self.failures(),
        };
        let failures = (known + u32::from(before.is_none())).max(1);
        let delay = backoff.delay(failures, chance);
        let resumes_at = now + delay.max(failure.retry_after.unwrap_or_default());
        let resumes_at = resumes_at.max(before.unwrap_or_default());
        Self::Retrying(Retrying { state, failures, resumes_at, failure })
    }

    /// What a caller nobody can serve is told now; `None` while it is worth waiting. Requests
    /// resume at `resumes_at`.
    pub(crate) fn tells(
        &self,
        now: Timestamp,
        until: Timestamp,
        renewing: bool,
        resumes_at: Option<Timestamp>,
    ) -> Option<Failure> {
        let told = |failure: Failure, at: Timestamp| {
            let wait = now.until(at).clamp(RETRY_SOON, RETRY_LATEST);
            let retry_after = failure.retry_after.unwrap_or_default().max(wait);
            Failure { retry_after: Some(retry_after), ..failure }
        };
        let in_time = now < until;
        match self {
            Self::None => (!in_time).then(|| told(Failure::new(Cause::Passing), now)),
            Self::Stopped(failure) => Some(*failure),
            Self::Retrying(Retrying {
                state: State::Misconfigured, resumes_at, failure, ..
            }) => {
                let worth_waiting = in_time && (renewing || now >= *resumes_at);
                (!worth_waiting).then_some(*failure)
            }
            Self::Retrying(Retrying { failure, .. }) => {
                let at = resumes_at.unwrap_or(Timestamp::NEVER);
                let worth_waiting = in_time && (renewing || at < until);
                (!worth_waiting).then(|| told(*failure, at))
            }
        }
    }
}
