//! How often one client may ask for tokens, and how the refusal looks.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};

use crate::organisation::retry_after_seconds;

/// A limit on the token requests of each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginLimit {
    /// Requests that refill in each `per`.
    pub count: u32,
    /// How long `count` requests take to refill.
    pub per: Duration,
    /// Requests that may come at once.
    pub burst: u32,
    /// What the refused client sees.
    pub refusal: Refusal,
}

/// How a throttled token request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400 `invalid_request`, "rate limit exceeded; …", without a header.
    InvalidRequest,
    /// 403 `access_denied`, "Global limit has been reached".
    AccessDenied,
    /// 429 with `Retry-After` in whole seconds.
    TooManyRequests,
    /// 429 with `Retry-After: 60` and a body in plain text.
    PlainText,
}

impl Refusal {
    /// The status code.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::AccessDenied => 403,
            Self::TooManyRequests | Self::PlainText => 429,
        }
    }

    /// What `Retry-After` says when a login would be accepted in so long; `None` without the header.
    pub fn retry_after_seconds(self, remaining: Duration) -> Option<u64> {
        match self {
            Self::InvalidRequest | Self::AccessDenied => None,
            Self::TooManyRequests => Some(retry_after_seconds(remaining)),
            Self::PlainText => Some(60),
        }
    }
}

/// Refuses logins that crowd into the first moments of a wall-clock minute, as the report saw it.
///
/// Not a vendor's documented behaviour: it replays the symptom, so that a cure can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteMark {
    /// Nothing is refused until so long after a client's first login.
    pub after: Duration,
    /// How long the crowded moment lasts, from second 0.
    pub length: Duration,
    /// Logins of one client that still pass in that moment.
    pub logins: u32,
}

/// What one client has used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logins {
    /// When the bucket will be full again.
    full_at: Timestamp,
    first_at: Option<Timestamp>,
    minute: u64,
    in_minute_mark: u32,
}

impl Logins {
    /// Counts a login; refused, it says how long until the next would be accepted.
    pub(crate) fn take(&mut self, limit: &LoginLimit, now: Timestamp) -> Result<(), Duration> {
        let each = limit.per / limit.count.max(1);
        let full_at = self.full_at.max(now) + each;
        let room = each * limit.burst.max(1);
        if now.until(full_at) > room {
            return Err(now.until(full_at) - room);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Whether a login falls into the crowd at the minute.
    pub(crate) fn crowded(&mut self, mark: &MinuteMark, now: Timestamp, wall: UnixTime) -> bool {
        let first_at = *self.first_at.get_or_insert(now);
        let into_minute = Duration::from_millis(wall.as_millis() % 60_000);
        if first_at.until(now) < mark.after || into_minute >= mark.length {
            return false;
        }
        let minute = wall.as_secs() / 60;
        if self.minute != minute {
            (self.minute, self.in_minute_mark) = (minute, 0);
        }
        self.in_minute_mark = self.in_minute_mark.saturating_add(1);
        self.in_minute_mark > mark.logins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = LoginLimit {
            count: 10,
            per: Duration::from_secs(1),
            burst: 3,
            refusal: Refusal::InvalidRequest,
        };
        let mut logins = Logins::default();
        let mut ask =
            |ms: u64| logins.take(&limit, Timestamp::from_secs(9) + Duration::from_millis(ms));
        let refused = |ms| Err(Duration::from_millis(ms));
        #[rustfmt::skip]
        let story = [
            (0, Ok(())), (0, Ok(())), (0, Ok(())), (0, refused(100)), (40, refused(60)),
            (100, Ok(())), (100, refused(100)), (5000, Ok(())), (5000, Ok(())), (5000, Ok(())),
            (5000, refused(100)),
        ];
        for (ms, expected) in story {
            assert_eq!(ask(ms), expected, "at {ms} ms");
        }
    }

    #[test]
    fn a_crowd_is_refused_at_the_minute_alone_and_only_after_a_while() {
        let mark = MinuteMark {
            after: Duration::from_secs(90),
            length: Duration::from_secs(1),
            logins: 1,
        };
        let mut logins = Logins::default();
        #[rustfmt::skip]
        let story = [
            // second, crowded
            (0, false), (0, false), (60, false), (60, false), (119, false), (119, false),
            (120, false), (120, true), (121, false), (121, false), (180, false), (180, true),
        ];
        for (second, expected) in story {
            let (now, wall) = (Timestamp::from_secs(second), UnixTime::from_secs(second));
            assert_eq!(logins.crowded(&mark, now, wall), expected, "second {second}");
        }
    }
}
