//! Round numbers beside a picture.

/// How times are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Milliseconds since the Unix epoch, as a time of day in UTC.
    Utc,
    /// Milliseconds since the beginning, as a length of time.
    SinceStart,
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

impl Clock {
    /// A few round times in `from..=to`, with their names.
    pub(crate) fn ticks(self, from: i64, to: i64) -> Vec<(i64, String)> {
        const STEPS: [i64; 22] = [
            100,
            500,
            SECOND,
            2 * SECOND,
            5 * SECOND,
            10 * SECOND,
            15 * SECOND,
            30 * SECOND,
            MINUTE,
            2 * MINUTE,
            5 * MINUTE,
            10 * MINUTE,
            15 * MINUTE,
            30 * MINUTE,
            HOUR,
            2 * HOUR,
            3 * HOUR,
            6 * HOUR,
            12 * HOUR,
            DAY,
            7 * DAY,
            28 * DAY,
        ];
        let span = (to - from).max(1);
        let step = STEPS.into_iter().find(|step| span / step <= 9).unwrap_or(span / 8);
        let first = from.div_euclid(step) * step;
        (0..)
            .map(|number| first + number * step)
            .take_while(|at| *at <= to)
            .filter(|at| *at >= from)
            .map(|at| (at, self.name(at, step)))
            .collect()
    }

    /// A time, to the precision of `step`.
    pub(crate) fn name(self, at: i64, step: i64) -> String {
        match self {
            Self::Utc if step >= DAY => format!("day {}", at.div_euclid(DAY)),
            Self::Utc => {
                let (hour, minute) = (at.rem_euclid(DAY) / HOUR, at.rem_euclid(HOUR) / MINUTE);
                let second = at.rem_euclid(MINUTE) / SECOND;
                match step {
                    MINUTE.. => format!("{hour:02}:{minute:02}"),
                    SECOND.. => format!("{hour:02}:{minute:02}:{second:02}"),
                    _ => {
                        format!("{hour:02}:{minute:02}:{second:02}.{}", at.rem_euclid(SECOND) / 100)
                    }
                }
            }
            Self::SinceStart => match step {
                HOUR.. => format!("{} h", at / HOUR),
                MINUTE.. if at >= 2 * HOUR => format!("{}:{:02} h", at / HOUR, at % HOUR / MINUTE),
                MINUTE.. => format!("{} min", at / MINUTE),
                SECOND.. => format!("{} s", at / SECOND),
                _ => format!("{}.{} s", at / SECOND, at % SECOND / 100),
            },
        }
    }
}

/// Round values from 0 to somewhat above `most`.
pub(crate) fn round_values(most: f64) -> Vec<f64> {
    let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
    let rough = most / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let count = (most / step).ceil().max(1.0) as usize;
    (0..=count).map(|number| number as f64 * step).collect()
}

/// `1200` as `1.2 k`.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::{Clock, round_values, short};

    #[test]
    fn axes_have_a_few_round_marks() {
        assert_eq!(round_values(47.0), [0.0, 20.0, 40.0, 60.0]);
        assert_eq!(round_values(0.0), [0.0, 0.25, 0.5, 0.75, 1.0]);
        let names = |clock: Clock, from, to| {
            clock.ticks(from, to).into_iter().map(|(_, name)| name).collect::<Vec<_>>()
        };
        let start = 1_700_000_000_000;
        assert_eq!(
            names(Clock::Utc, start, start + 120_000).first().map(String::as_str),
            Some("22:13:30")
        );
        assert_eq!(names(Clock::SinceStart, 0, 7_200_000)[1], "15 min");
        assert_eq!([short(0.0), short(1500.0), short(12_500.0)], ["0", "1500", "12.5 k"]);
    }
}
