//! `Retry-After` (RFC 9110 §10.2.3).

use std::time::{Duration, UNIX_EPOCH};

use httpdate::parse_http_date;

/// The longest wait that a server can ask for: 1 h. Beyond it a probe costs the server nothing, and
/// a slip of the pen (10^9 seconds) must not stop a credential for years.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// How long to wait, from the value of `Retry-After`: seconds or an HTTP-date, at most
/// [`MAX_RETRY_AFTER`]. `None` for what is neither, a negative number included.
///
/// A date is read against the `Date` of the same answer, so that a server whose clock is wrong is
/// still understood, and against `wall` (seconds since the Unix epoch) without one. A date that has
/// passed is no wait.
pub fn retry_after(value: Option<&str>, date: Option<&str>, wall: u64) -> Option<Duration> {
    let value = value?.trim();
    let seconds = match seconds(value) {
        Some(seconds) => seconds,
        None => {
            let now = date.and_then(unix_seconds).unwrap_or(wall);
            unix_seconds(value)?.saturating_sub(now)
        }
    };
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// Whole seconds; a fraction, which the RFC does not know but some servers send, is rounded up.
pub(crate) fn seconds(value: &str) -> Option<u64> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let part = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    Some(whole.parse::<u64>().unwrap_or(u64::MAX).saturating_add(part))
}

pub(crate) fn unix_seconds(date: &str) -> Option<u64> {
    let time = parse_http_date(date.trim()).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_dates_and_rubbish() {
        const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
        const NOON_UNIX: u64 = 784_123_200;
        const HOUR: Option<u64> = Some(3600);
        #[rustfmt::skip]
        let cases = [
            // Retry-After, Date, expected seconds
            ("0", None, Some(0)),
            ("1", None, Some(1)),
            (" 60 ", None, Some(60)),
            ("060", None, Some(60)),
            ("0.2", None, Some(1)),
            ("60.0", None, Some(60)),
            ("3600", None, HOUR),
            ("3601", None, HOUR),
            ("1000000000", None, HOUR),
            ("99999999999999999999999999999999", None, HOUR),
            ("-1", None, None),
            ("+1", None, None),
            ("", None, None),
            (".", None, None),
            ("1.", None, None),
            ("1e3", None, None),
            ("NaN", None, None),
            ("60, 60", None, None),
            ("60s", None, None),
            ("soon", None, None),
            ("٣", None, None),
            ("Sun, 06 Nov 1994 12:00:30 GMT", None, Some(30)),
            ("Sunday, 06-Nov-94 12:00:30 GMT", None, Some(30)),
            ("Sun Nov  6 12:00:30 1994", None, Some(30)),
            ("Sun, 06 Nov 1994 11:59:00 GMT", None, Some(0)),
            ("Sun, 06 Nov 2094 12:00:00 GMT", None, None), // the weekday is wrong
            ("Sat, 06 Nov 2094 12:00:00 GMT", None, HOUR),
            ("Sun, 06 Nov 1994 12:00:30 GMT", Some("Sun, 06 Nov 1994 12:00:20 GMT"), Some(10)),
            ("Sat, 06 Nov 2094 12:00:30 GMT", Some("Sat, 06 Nov 2094 12:00:20 GMT"), Some(10)),
            ("Sun, 06 Nov 1994 12:00:30 GMT", Some("yesterday"), Some(30)),
            ("Sun, 06 Nov 1994 25:00:30 GMT", None, None),
        ];
        for (value, date, expected) in cases {
            assert_eq!(
                retry_after(Some(value), date, NOON_UNIX),
                expected.map(Duration::from_secs),
                "{value:?} at {}",
                date.unwrap_or(NOON),
            );
        }
        assert_eq!(retry_after(None, Some(NOON), NOON_UNIX), None);
    }
}
