//! Durations as people write them: a whole number and its unit.

use std::time::Duration;

/// Reads `500ms`, `30s`, `10m`, `1h` or `2d`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = milliseconds_in(unit).and_then(|scale| {
        let number: u64 = number.parse().ok()?;
        number.checked_mul(scale)
    });
    match milliseconds {
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Err(format!(
            "{text:?} is no duration; write a whole number and its unit (ms, s, m, h, d), as in \"30s\""
        )),
    }
}

/// The milliseconds in a unit of time; `None` if it is not one.
pub(super) fn milliseconds_in(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    }
}

/// The way a duration is written: the largest unit that leaves no rest.
pub fn write(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for unit in ["d", "h", "m", "s"] {
        let scale = u128::from(milliseconds_in(unit).unwrap_or(1));
        if milliseconds > 0 && milliseconds.is_multiple_of(scale) {
            return format!("{}{unit}", milliseconds / scale);
        }
    }
    format!("{milliseconds}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_its_unit() {
        let cases = [
            ("500ms", 500),
            ("0s", 0),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "s", "30 s", "1.5s", "-1s", "+1s", "1w", "1S", "99999999999999999d"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn written_in_the_largest_unit_without_a_rest() {
        for text in ["500ms", "30s", "90s", "10m", "1h", "2d", "0ms"] {
            assert_eq!(write(parse(text).unwrap()), text);
        }
    }
}
