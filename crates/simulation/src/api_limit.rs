//! How many API requests one access token may make in a window.

use std::collections::VecDeque;
use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};

/// A limit on the API requests of each access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimit {
    /// Requests in one window.
    pub count: u32,
    /// How long a window lasts.
    pub window: Duration,
    /// When a window begins.
    pub kind: Window,
}

/// When a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// With the first request after the last window ended.
    FirstRequest,
    /// On the multiples of its length by the wall clock.
    Aligned,
    /// It always ends now.
    Sliding,
}

/// What one token has spent of its limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    /// Start of the window: nanoseconds since boot, or the window's number when aligned.
    window: Option<u64>,
    count: u32,
    /// Of a sliding window alone.
    recent: VecDeque<Timestamp>,
}

impl Spent {
    /// Counts a request; refused, it says how long until the next would be accepted.
    pub(crate) fn take(
        &mut self,
        limit: &ApiLimit,
        now: Timestamp,
        wall: UnixTime,
    ) -> Result<(), Duration> {
        match limit.kind {
            Window::FirstRequest => {
                let begun = self.window.map(Timestamp::from_nanos);
                let end = begun.map(|begun| begun + limit.window);
                match end.filter(|end| now < *end) {
                    Some(end) => self.count_within(limit, now.until(end)),
                    None => self.begin(limit, now.as_nanos()),
                }
            }
            Window::Aligned => {
                let length = u64::try_from(limit.window.as_millis()).unwrap_or(u64::MAX).max(1);
                let number = wall.as_millis() / length;
                if self.window != Some(number) {
                    return self.begin(limit, number);
                }
                let end = UnixTime::from_millis((number + 1).saturating_mul(length));
                self.count_within(limit, wall.until(end))
            }
            Window::Sliding => {
                let recent = &mut self.recent;
                while recent.front().is_some_and(|first| first.until(now) >= limit.window) {
                    recent.pop_front();
                }
                if recent.len() < limit.count as usize {
                    recent.push_back(now);
                    return Ok(());
                }
                let oldest = recent.front().copied().unwrap_or(now);
                Err(now.until(oldest + limit.window))
            }
        }
    }

    fn begin(&mut self, limit: &ApiLimit, window: u64) -> Result<(), Duration> {
        self.window = Some(window);
        self.count = 0;
        self.count_within(limit, limit.window)
    }

    fn count_within(&mut self, limit: &ApiLimit, remaining: Duration) -> Result<(), Duration> {
        if self.count >= limit.count {
            return Err(remaining);
        }
        self.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks at each time and notes the whole seconds until the next would be accepted, or `.`.
    fn story(kind: Window, starts_at_wall: u64, seconds: &[u64]) -> String {
        let limit = ApiLimit { count: 2, window: Duration::from_secs(60), kind };
        let mut spent = Spent::default();
        let mut ask = |second: u64| {
            let wall = UnixTime::from_secs(starts_at_wall + second);
            match spent.take(&limit, Timestamp::from_secs(1000 + second), wall) {
                Ok(()) => ".".to_owned(),
                Err(remaining) => remaining.as_secs().to_string(),
            }
        };
        seconds.iter().map(|&second| ask(second)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_window_begins_where_it_says() {
        #[rustfmt::skip]
        let cases = [
            // kind,               wall, asked at second,             answers
            (Window::FirstRequest, 55, &[0, 9, 10, 59, 60, 61, 62][..], ". . 50 1 . . 58"),
            (Window::Aligned,      55, &[0, 1, 4, 5, 6, 7, 65][..],     ". . 1 . . 58 ."),
            (Window::Sliding,      55, &[0, 9, 10, 59, 60, 61, 69][..], ". . 50 1 . 8 ."),
        ];
        for (kind, wall, seconds, expected) in cases {
            assert_eq!(story(kind, wall, seconds), expected, "{kind:?}");
        }
    }
}
