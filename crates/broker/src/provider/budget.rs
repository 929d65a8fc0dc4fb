//! How many requests somebody else's limit leaves room for.

use std::time::Duration;

/// So many requests in any span of so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests; at least 1.
    pub requests: u32,
    /// The span they are counted in; never zero.
    pub per: Duration,
    /// With a burst the limit is a bucket of this depth, refilled at the rate; without one it is a
    /// count over `per`.
    pub burst: Option<u32>,
}

impl Budget {
    /// `requests` in any span of `seconds`.
    pub const fn per_seconds(requests: u32, seconds: u64) -> Self {
        Self { requests, per: Duration::from_secs(seconds), burst: None }
    }
}
