//! Points in time as logs write them.
//!
//! A log's clock is all there is: a time without a zone is taken as UTC, and nothing here knows
//! what time it is now.

use std::fmt;

const DAY: i64 = 86_400_000;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// Milliseconds from `earlier` to this; negative when `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This many milliseconds later.
    #[must_use]
    pub fn plus(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// 0 to 59: where in its minute this is.
    pub fn second_of_minute(self) -> usize {
        usize::try_from(self.0.rem_euclid(60_000) / 1000).unwrap_or_default()
    }

    /// Reads what JMeter, web servers, proxies and HTTP write; `None` where it is no time.
    ///
    /// Seconds, milliseconds, microseconds or nanoseconds since 1970, ISO 8601 and its cousins,
    /// the common log format, HAProxy's, and RFC 9110's dates.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let text = text.strip_prefix(b"[").unwrap_or(text);
        let text = text.strip_suffix(b"]").unwrap_or(text);
        let moment = if text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
            since_epoch(text)
        } else {
            calendar(text)
        }?;
        // Other times are numbers that happen to be there.
        (Self(946_684_800_000)..Self(4_102_444_800_000)).contains(&moment).then_some(moment)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.div_euclid(DAY));
        let rest = self.0.rem_euclid(DAY);
        let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
        let (second, milli) = (rest / 1000 % 60, rest % 1000);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

fn since_epoch(text: &[u8]) -> Option<Moment> {
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, part) = match point {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    let number = digits(whole)?;
    match whole.len() {
        9..=10 => Some(Moment(number * 1000 + thousandths(part))),
        12..=13 => Some(Moment(number)),
        15..=16 => Some(Moment(number / 1000)),
        18..=19 => Some(Moment(number / 1_000_000)),
        _ => None,
    }
}

/// The digits as milliseconds of a second.
fn thousandths(part: &[u8]) -> i64 {
    let digit = |at: usize| part.get(at).map_or(0, |byte| i64::from(byte.wrapping_sub(b'0')));
    digit(0) * 100 + digit(1) * 10 + digit(2)
}

fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0_i64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// A date, a clock time, and perhaps a zone, in any of the usual orders.
fn calendar(text: &[u8]) -> Option<Moment> {
    let text = match text.iter().position(|byte| *byte == b',') {
        // `Tue, 15 Nov 1994 …`
        Some(comma) if comma == 3 && text[0].is_ascii_alphabetic() => &text[comma + 1..],
        Some(_) | None => text,
    };
    let mut scan = Scan { text: text.trim_ascii(), at: 0 };
    let first = scan.number()?;
    let separator = scan.byte()?;
    let (second, named) = match scan.number() {
        Some(second) => (second, false),
        None => (scan.month_name()?, true),
    };
    if scan.byte()? != separator {
        return None;
    }
    let third = scan.number()?;
    let (year, month, day) = match (named, separator) {
        (true, _) => (third, second, first),
        (false, b'-' | b'/') if first > 31 => (first, second, third),
        (false, b'.') => (third, second, first),
        (false, b'-' | b'/') if first > 12 => (third, second, first),
        (false, b'-' | b'/') => (third, first, second),
        (false, _) => return None,
    };
    let year = if year < 100 { year + 2000 } else { year };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if !matches!(scan.byte()?, b'T' | b't' | b' ' | b':' | b'_') {
        return None;
    }
    let hour = scan.number()?;
    let minute = scan.after(b':')?;
    let second = scan.after(b':').unwrap_or(0);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let milli = scan.fraction();
    let zone = scan.zone()?;
    let days = days_from_civil(year, month, day);
    let clock = (hour * 3600 + minute * 60 + second) * 1000 + milli;
    Some(Moment(days * DAY + clock - zone * 60_000))
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn number(&mut self) -> Option<i64> {
        let rest = self.text.get(self.at..)?;
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length > 4 {
            return None;
        }
        let number = digits(&rest[..length])?;
        self.at += length;
        Some(number)
    }

    fn after(&mut self, separator: u8) -> Option<i64> {
        if self.text.get(self.at) != Some(&separator) {
            return None;
        }
        self.at += 1;
        self.number()
    }

    fn month_name(&mut self) -> Option<i64> {
        const NAMES: [&[u8]; 12] = [
            b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
            b"dec",
        ];
        let name = self.text.get(self.at..self.at + 3)?;
        let month = NAMES.iter().position(|known| name.eq_ignore_ascii_case(known))?;
        self.at += 3;
        i64::try_from(month + 1).ok()
    }

    fn fraction(&mut self) -> i64 {
        if !matches!(self.text.get(self.at), Some(b'.' | b',' | b':')) {
            return 0;
        }
        let rest = &self.text[self.at + 1..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += 1 + length;
        thousandths(&rest[..length])
    }

    /// Minutes east of UTC; `None` where something else follows.
    fn zone(&mut self) -> Option<i64> {
        let rest = self.text.get(self.at..)?.trim_ascii();
        match rest {
            b"" | b"Z" | b"z" | b"GMT" | b"UTC" => Some(0),
            [sign @ (b'+' | b'-'), digits_of @ ..] => {
                let hour = digits(digits_of.get(..2)?)?;
                let minute = match digits_of.get(2..)? {
                    b"" => 0,
                    [b':', minute @ ..] | minute => digits(minute)?,
                };
                let minutes = hour * 60 + minute;
                Some(if *sign == b'-' { -minutes } else { minutes })
            }
            _ => None,
        }
    }
}

/// Days since 1970-01-01 in the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year, month and day of a day since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::Moment;

    #[test]
    fn every_way_to_write_a_time_is_read() {
        #[rustfmt::skip]
        let cases = [
            ("1700000000123",                  Some("2023-11-14T22:13:20.123Z")),
            ("1700000000",                     Some("2023-11-14T22:13:20.000Z")),
            ("1700000000.123456",              Some("2023-11-14T22:13:20.123Z")),
            ("1700000000123456",               Some("2023-11-14T22:13:20.123Z")),
            ("2023-11-14T22:13:20.123Z",       Some("2023-11-14T22:13:20.123Z")),
            ("2023-11-14T23:13:20.123456+01:00", Some("2023-11-14T22:13:20.123Z")),
            ("2023/11/14 22:13:20.123",        Some("2023-11-14T22:13:20.123Z")),
            ("2023-11-14 22:13:20,123",        Some("2023-11-14T22:13:20.123Z")),
            ("11/14/23 22:13:20",              Some("2023-11-14T22:13:20.000Z")),
            ("14.11.2023 22:13:20",            Some("2023-11-14T22:13:20.000Z")),
            ("[14/Nov/2023:14:13:20 -0800]",   Some("2023-11-14T22:13:20.000Z")),
            ("14/Nov/2023:22:13:20.123",       Some("2023-11-14T22:13:20.123Z")),
            ("Tue, 14 Nov 2023 22:13:20 GMT",  Some("2023-11-14T22:13:20.000Z")),
            ("2024-02-29T00:00:00Z",           Some("2024-02-29T00:00:00.000Z")),
            ("2023-11-14 22:13:20 INFO x",     None),
            ("17",                             None),
            ("",                               None),
            ("timeStamp",                      None),
            ("99/99/9999 99:99:99",            None),
        ];
        for (text, expected) in cases {
            let read = Moment::parse(text.as_bytes()).map(|moment| moment.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
