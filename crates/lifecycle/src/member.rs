//! One member of a pool: its token, and when that is renewed.

use std::time::Duration;

use crate::lead::Held;
use crate::time::Timestamp;

/// A renewal under way for longer counts as failing for those who could do with what is held.
const SLOW_AFTER: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Member {
    pub(crate) held: Option<Held>,
    /// When the held token is renewed.
    pub(crate) due: Timestamp,
    /// No request before this.
    pub(crate) not_before: Timestamp,
    /// When the renewal under way was asked for.
    pub(crate) renewing_since: Option<Timestamp>,
    /// Refused by the API, and being replaced: not given to anyone.
    pub(crate) suspect: bool,
    /// Refused by the API while another member's renewal was to find out why.
    pub(crate) doubted: bool,
}

impl Member {
    pub(crate) fn is_renewing(&self) -> bool {
        self.renewing_since.is_some()
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        !self.is_renewing() && now >= self.due_at()
    }

    pub(crate) fn due_at(&self) -> Timestamp {
        match self.unsuspected() {
            Some(_) => self.due.max(self.not_before),
            None => self.not_before,
        }
    }

    /// When the renewal under way begins to count as failing.
    pub(crate) fn slow_at(&self) -> Option<Timestamp> {
        self.renewing_since.map(|since| since + SLOW_AFTER)
    }

    /// The token, unless it was refused.
    pub(crate) fn unsuspected(&self) -> Option<Held> {
        self.held.filter(|_| !self.suspect)
    }

    /// The token, if it may be given to someone.
    pub(crate) fn usable(&self, now: Timestamp) -> Option<Held> {
        self.unsuspected().filter(|held| held.is_alive(now))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.held.map_or(0, |held| held.generation)
    }

    /// Those without a token first, then the oldest.
    pub(crate) fn order(&self) -> Option<Timestamp> {
        self.unsuspected().map(|held| held.sent_at)
    }
}
