//! Budgets as people write them: `300/60s`, `10/s burst 20`.

use std::time::Duration;

use bellwether_broker::provider::Budget;

use super::duration;

/// Reads requests, a span of time (`s` is short for `1s`) and perhaps a burst.
pub fn parse(text: &str) -> Result<Budget, String> {
    read(text).ok_or_else(|| {
        format!(
            "{text:?} is no budget; write requests and a time, as in \"300/60s\", and perhaps a \
             burst, as in \"10/s burst 20\""
        )
    })
}

fn read(text: &str) -> Option<Budget> {
    let (rate, burst) = match text.split_once(" burst ") {
        Some((rate, burst)) => (rate, Some(positive(burst)?)),
        None => (text, None),
    };
    let (requests, per) = rate.split_once('/')?;
    let per = match duration::milliseconds_in(per) {
        Some(milliseconds) => Duration::from_millis(milliseconds),
        None => duration::parse(per).ok()?,
    };
    let requests = positive(requests)?;
    (!per.is_zero()).then_some(Budget { requests, per, burst })
}

fn positive(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&number| digits && number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_a_time_and_a_burst() {
        let per = Duration::from_secs;
        let cases = [
            ("300/60s", Budget { requests: 300, per: per(60), burst: None }),
            ("10/s burst 20", Budget { requests: 10, per: per(1), burst: Some(20) }),
            ("1/m", Budget { requests: 1, per: per(60), burst: None }),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["", "300", "0/s", "5/0s", "5/s burst 0", "5/s burst", "-5/s", "+5/s", "5 / s"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
