//! What an API's answers tell of its limits.

use bellwether_oauth::{RateLimit, may_tell_of_a_limit, read_rate_limit};
use http::HeaderMap;

/// What is left of the API's limit by these fields of an answer, whatever the vendor calls them.
/// `wall` is the time in seconds since the Unix epoch. One look at each name where there are none.
pub fn rate_limit(fields: &HeaderMap, wall: impl FnOnce() -> u64) -> Option<RateLimit> {
    if !fields.keys().any(|name| may_tell_of_a_limit(name.as_str())) {
        return None;
    }
    read_rate_limit(|name| fields.get(name)?.to_str().ok(), wall())
}
