//! How one credential is to be kept.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::time::Timestamp;

/// The numbers behind a credential's [`Lifecycle`](crate::Lifecycle).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Access tokens held at once; at least 1.
    pub pool: u16,
    /// When a token whose `expires_in` is unknown is renewed.
    pub default_lifetime: Duration,
    /// Between attempts while faults may pass.
    pub backoff: Backoff,
    /// Between probes while a person must act.
    pub probing: Backoff,
    /// Between two requests for one pool member, whatever the lifetime says.
    pub least_interval: Duration,
    /// Who is renewed for.
    pub demand: Demand,
    /// What a request in doubt allows.
    pub replay: Replay,
}

impl Policy {
    /// Renewed always, one token, a grant that spends nothing.
    pub const DEFAULT: Self = Self {
        pool: 1,
        default_lifetime: Duration::from_secs(3600),
        backoff: Backoff::PASSING,
        probing: Backoff::PROBING,
        least_interval: Duration::from_secs(1),
        demand: Demand::Always,
        replay: Replay::Free,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Whether a token is renewed although nobody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Configured credentials: always.
    Always,
    /// Callers' own: no longer once nobody asked for this long (and a whole lifetime).
    WhileUsed {
        /// At least 24 h in production.
        idle_after: Duration,
    },
}

/// Whether a request that may have been processed can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The grant spends nothing, or the server takes a spent refresh token again.
    Free,
    /// The server takes it again for this long after the first use, and earlier answers stay good.
    Within(Duration),
    /// The same, but a later request ends what an earlier one brought.
    LastPair(Duration),
    /// A second use may revoke everything: only when no usable token is left to lose.
    LastResort,
}

impl Replay {
    /// Until when a request that may have been processed `since` then may be sent again although
    /// there is something to lose. A quarter of the server's window is left for the way there.
    /// [`Timestamp::ZERO`] is before this boot, and nobody knows how long: a window may be over.
    pub fn safe_until(self, since: Timestamp) -> Timestamp {
        match self {
            Self::Free => Timestamp::NEVER,
            Self::Within(_) | Self::LastPair(_) if since == Timestamp::ZERO => Timestamp::ZERO,
            Self::Within(window) | Self::LastPair(window) => since + (window - window / 4),
            Self::LastResort => Timestamp::ZERO,
        }
    }
}
