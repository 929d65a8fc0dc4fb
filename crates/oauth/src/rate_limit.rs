//! What an answer of a resource server tells of its limit.
//!
//! There is a draft of the IETF (`RateLimit` and `RateLimit-Policy`, structured fields by RFC 9651),
//! its older forms, and a spelling for each vendor. All say how many requests are left and, most of
//! them, when the count starts afresh: in so many seconds, or at a time of day in seconds or
//! milliseconds since the Unix epoch. Nothing here is believed further than it makes sense.

use std::time::Duration;

use crate::retry_after::{MAX_RETRY_AFTER, seconds, unix_seconds};

/// What is left of a limit, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests left; none for a number below zero.
    pub remaining: u32,
    /// Requests that the limit allows in all, where that is told.
    pub limit: Option<u32>,
    /// Until the count starts afresh: 1 s at least, [`MAX_RETRY_AFTER`] at most, and a minute where
    /// nothing is told of it.
    pub resets_in: Duration,
}

/// Where nothing is told of it: soon enough to find out again.
const UNTOLD_RESET: u64 = 60;
/// More than this many seconds is a time since the Unix epoch; …
const LEAST_EPOCH: u64 = 100_000_000;
/// … and from here on it is not in seconds, but in thousandths, millionths and so on.
const LEAST_MILLIS: u64 = 100_000_000_000;

/// A vendor's names for a limit that is counted in one window.
struct Names {
    remaining: &'static str,
    limit: Option<&'static str>,
    resets: Resets,
}

enum Resets {
    /// This field says when.
    Field(&'static str),
    /// The window is so many seconds long; it began some time ago.
    Within(u64),
    /// This field says how many milliseconds the window is long.
    WithinField(&'static str),
}

/// HubSpot and Xero count several windows at once; the tightest is what matters.
#[rustfmt::skip]
const KNOWN: &[Names] = &[
    Names { remaining: "x-ratelimit-remaining", limit: Some("x-ratelimit-limit"), resets: Resets::Field("x-ratelimit-reset") },
    Names { remaining: "x-rate-limit-remaining", limit: Some("x-rate-limit-limit"), resets: Resets::Field("x-rate-limit-reset") },
    Names { remaining: "ratelimit-remaining", limit: Some("ratelimit-limit"), resets: Resets::Field("ratelimit-reset") },
    Names { remaining: "x-hubspot-ratelimit-remaining", limit: None, resets: Resets::WithinField("x-hubspot-ratelimit-interval-milliseconds") },
    Names { remaining: "x-hubspot-ratelimit-daily-remaining", limit: None, resets: Resets::Within(24 * 3600) },
    Names { remaining: "x-minlimit-remaining", limit: None, resets: Resets::Within(60) },
    Names { remaining: "x-appminlimit-remaining", limit: None, resets: Resets::Within(60) },
    Names { remaining: "x-daylimit-remaining", limit: None, resets: Resets::Within(24 * 3600) },
];

/// Whether a field of this name (in lower case) may tell of a limit. Costs next to nothing for the
/// names that nearly every answer has, so that answers that tell nothing are not read further.
pub fn may_tell_of_a_limit(name: &str) -> bool {
    let name = name.as_bytes();
    matches!(name.first(), Some(b'r' | b'x' | b'i' | b's'))
        && name.len() >= 9
        && name.windows(5).any(|part| part == b"limit")
}

/// Reads what an answer tells. `field` gives the first value of a field by its name in lower case;
/// `wall` is the time in seconds since the Unix epoch where the answer has no `Date`.
pub fn read_rate_limit<'a>(
    field: impl Fn(&str) -> Option<&'a str>,
    wall: u64,
) -> Option<RateLimit> {
    let now = field("date").and_then(unix_seconds).unwrap_or(wall);
    let known = KNOWN.iter().filter_map(|names| by_names(names, &field, now));
    let draft = field("ratelimit")
        .into_iter()
        .flat_map(|value| items(value, field("ratelimit-policy").unwrap_or_default()));
    let vendors = genesys(&field, now).into_iter().chain(salesforce(&field));
    known.chain(draft).chain(vendors).min_by_key(|limit| limit.remaining)
}

fn limit(remaining: u32, limit: Option<u32>, resets_in: Option<u64>) -> RateLimit {
    let resets_in = Duration::from_secs(resets_in.unwrap_or(UNTOLD_RESET).max(1));
    RateLimit { remaining, limit, resets_in: resets_in.min(MAX_RETRY_AFTER) }
}

fn by_names<'a>(
    names: &Names,
    field: &impl Fn(&str) -> Option<&'a str>,
    now: u64,
) -> Option<RateLimit> {
    let remaining = count(field(names.remaining)?)?;
    let resets_in = match names.resets {
        Resets::Field(name) => field(name).and_then(|value| until(value, now)),
        Resets::Within(seconds) => Some(seconds),
        Resets::WithinField(name) => {
            field(name).and_then(seconds).map(|millis| millis.div_ceil(1000))
        }
    };
    Some(limit(remaining, names.limit.and_then(field).and_then(count), resets_in))
}

/// `inin-ratelimit-count` of `-allowed` were used.
fn genesys<'a>(field: &impl Fn(&str) -> Option<&'a str>, now: u64) -> Option<RateLimit> {
    let allowed = count(field("inin-ratelimit-allowed")?)?;
    let used = count(field("inin-ratelimit-count")?)?;
    let resets_in = field("inin-ratelimit-reset").and_then(|value| until(value, now));
    Some(limit(allowed.saturating_sub(used), Some(allowed), resets_in))
}

/// `api-usage=25/5000` of any 24 hours; more may follow, each after a semicolon or a comma.
fn salesforce<'a>(field: &impl Fn(&str) -> Option<&'a str>) -> Option<RateLimit> {
    let parts = field("sforce-limit-info")?.split([';', ',']);
    let usage = parts.map(str::trim).find_map(|part| part.strip_prefix("api-usage="))?;
    let (used, allowed) = usage.split_once('/')?;
    let (used, allowed) = (count(used)?, count(allowed)?);
    Some(limit(allowed.saturating_sub(used), Some(allowed), None))
}

/// The items of `RateLimit`, each with its quota from `RateLimit-Policy`: `"name";r=50;t=30` as the
/// draft has it now, `limit=100, remaining=50, reset=5` as it was before.
fn items<'a>(value: &'a str, policy: &'a str) -> Vec<RateLimit> {
    let of = |name: &str| {
        let found =
            split(value, b',').find_map(|item| item.trim().strip_prefix(name)?.strip_prefix('='));
        found.and_then(count)
    };
    if let Some(remaining) = of("remaining") {
        return vec![limit(remaining, of("limit"), of("reset").map(u64::from))];
    }
    let quota = |name: &str| {
        let own = split(policy, b',').find(|item| key(item) == name)?;
        parameter(own, "q").and_then(count)
    };
    let item = |item: &str| {
        let remaining = parameter(item, "r").and_then(count)?;
        let resets_in = parameter(item, "t").and_then(count).map(u64::from);
        Some(limit(remaining, quota(key(item)), resets_in))
    };
    split(value, b',').filter_map(item).collect()
}

fn key(item: &str) -> &str {
    split(item, b';').next().unwrap_or_default().trim()
}

fn parameter<'a>(item: &'a str, name: &str) -> Option<&'a str> {
    split(item, b';').skip(1).find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Splits where the separator is not inside a string (RFC 9651 §3.3.3).
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let escaped = std::mem::take(&mut is_escaped);
            match byte {
                b'\\' if is_quoted && !escaped => is_escaped = true,
                b'"' if !escaped => is_quoted = !is_quoted,
                _ => {}
            }
            byte == separator && !is_quoted
        });
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// A count: the first of a list, without a fraction, and none below zero.
fn count(value: &str) -> Option<u32> {
    let value = value.split([',', ';']).next()?.trim();
    let (value, is_negative) = value.strip_prefix('-').map_or((value, false), |rest| (rest, true));
    let whole = value.split('.').next()?;
    if whole.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    Some(if is_negative { 0 } else { whole.parse().unwrap_or(u32::MAX) })
}

/// How many seconds until then: a number of seconds, a time since the Unix epoch, or an HTTP-date.
fn until(value: &str, now: u64) -> Option<u64> {
    let first = value.split([',', ';']).next()?.trim();
    let Some(mut number) = seconds(first) else {
        return Some(unix_seconds(value)?.saturating_sub(now));
    };
    if number < LEAST_EPOCH {
        return Some(number);
    }
    while number >= LEAST_MILLIS {
        number = number.div_ceil(1000);
    }
    Some(number.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 6 November 1994, noon.
    const NOON: u64 = 784_123_200;

    fn read(fields: &[(&'static str, &'static str)]) -> Option<(u32, Option<u32>, u64)> {
        let field = |name: &str| fields.iter().find(|field| field.0 == name).map(|field| field.1);
        assert!(
            fields.is_empty() || fields.iter().any(|field| may_tell_of_a_limit(field.0)),
            "{fields:?} would not be looked at"
        );
        let read = read_rate_limit(field, NOON)?;
        Some((read.remaining, read.limit, read.resets_in.as_secs()))
    }

    #[test]
    fn every_vendor_has_its_spelling() {
        #[rustfmt::skip]
        let cases: &[(&[(&str, &str)], _)] = &[
            (&[], None),
            (&[("x-ratelimit-limit", "60")], None),
            (&[("x-ratelimit-remaining", "5")], Some((5, None, 60))),
            (&[("x-ratelimit-remaining", "5"), ("x-ratelimit-limit", "60"), ("x-ratelimit-reset", "30")], Some((5, Some(60), 30))),
            (&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "784123230")], Some((5, None, 30))),
            (&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "784123230000")], Some((5, None, 30))),
            (&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "784123229001")], Some((5, None, 30))),
            (&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "784123230000000")], Some((5, None, 30))),
            (&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "784123230.25")], Some((5, None, 31))),
            (&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "Sun, 06 Nov 1994 12:00:30 GMT")], Some((5, None, 30))),
            (&[("x-rate-limit-remaining", "0"), ("x-rate-limit-limit", "600"), ("x-rate-limit-reset", "784123200")], Some((0, Some(600), 1))),
            (&[("ratelimit-remaining", "50"), ("ratelimit-limit", "100, 100;w=60"), ("ratelimit-reset", "7")], Some((50, Some(100), 7))),
            (&[("ratelimit", "limit=100, remaining=50, reset=5")], Some((50, Some(100), 5))),
            (&[("ratelimit", "\"default\";r=50;t=30")], Some((50, None, 30))),
            (&[("ratelimit", "\"default\";r=50;t=30"), ("ratelimit-policy", "\"other\";q=7, \"default\";q=100;w=60")], Some((50, Some(100), 30))),
            (&[("ratelimit", "\"a,r=0;b\\\"\";r=50, \"day\";r=9;t=36000;pk=:AAA=:")], Some((9, None, 3600))),
            (&[("inin-ratelimit-count", "299"), ("inin-ratelimit-allowed", "300"), ("inin-ratelimit-reset", "61")], Some((1, Some(300), 61))),
            (&[("sforce-limit-info", "api-usage=25/5000")], Some((4975, Some(5000), 60))),
            (&[("sforce-limit-info", "per-app-api-usage=17/250(app); api-usage=5001/5000")], Some((0, Some(5000), 60))),
            (&[("x-hubspot-ratelimit-remaining", "3"), ("x-hubspot-ratelimit-interval-milliseconds", "10000"), ("x-hubspot-ratelimit-daily-remaining", "240000")], Some((3, None, 10))),
            (&[("x-minlimit-remaining", "59"), ("x-daylimit-remaining", "12"), ("x-appminlimit-remaining", "9999")], Some((12, None, 3600))),
        ];
        for (fields, expected) in cases {
            assert_eq!(read(fields), *expected, "{fields:?}");
        }
    }

    #[test]
    fn odd_values_are_believed_as_far_as_they_make_sense() {
        #[rustfmt::skip]
        let cases = [
            // remaining, reset,                             read as
            ("-1",     "30",                                  Some((0, 30))),
            ("4.9",    "0.2",                                 Some((4, 1))),
            ("5, 6",   "30, 60",                              Some((5, 30))),
            ("0",      "0",                                   Some((0, 1))),
            ("0",      "99999999",                            Some((0, 3600))),
            ("0",      "99999999999999999999999999999999",    Some((0, 3600))),
            ("0",      "100000000",                           Some((0, 1))),
            ("0",      "-5",                                  Some((0, 60))),
            ("0",      "soon",                                Some((0, 60))),
            ("0",      "",                                    Some((0, 60))),
            ("99999999999999999999", "30",                    Some((u32::MAX, 30))),
            ("",       "30",                                  None),
            ("-",      "30",                                  None),
            (".",      "30",                                  None),
            ("many",   "30",                                  None),
            ("٣",      "30",                                  None),
            ("1e3",    "30",                                  None),
        ];
        for (remaining, reset, expected) in cases {
            let read = read(&[("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)]);
            let expected = expected.map(|(remaining, resets_in)| (remaining, None, resets_in));
            assert_eq!(read, expected, "{remaining:?}, {reset:?}");
        }
        for value in ["", ",", ";", "\"", "\"\\", ";;r=;t=", "r=5", "\"a\";r", "a;r=x, b;t=1"] {
            assert_eq!(read(&[("ratelimit", value)]), None, "{value:?}");
        }
        // A server whose clock is wrong is still understood.
        let fields = [
            ("x-ratelimit-remaining", "5"),
            ("x-ratelimit-reset", "784126830"),
            ("date", "Sun, 06 Nov 1994 13:00:00 GMT"),
        ];
        assert_eq!(read(&fields), Some((5, None, 30)));
    }

    #[test]
    fn what_nearly_every_answer_has_is_not_looked_at() {
        for name in [
            "date",
            "server",
            "content-type",
            "content-length",
            "cache-control",
            "etag",
            "vary",
            "set-cookie",
            "strict-transport-security",
            "x-request-id",
            "x-content-type-options",
            "inin-correlation-id",
            "retry-after",
            "",
            "limit",
        ] {
            assert!(!may_tell_of_a_limit(name), "{name}");
        }
    }
}
