//! How long to wait between attempts that fail.

use std::time::Duration;

use crate::chance::Chance;

/// Delays that grow by a factor up to a cap, each varied at random by a fifth either way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// What each further failure multiplies it by.
    pub factor: f64,
    /// Never longer.
    pub cap: Duration,
}

/// Either way, as a share of the delay.
const SPREAD: f64 = 0.2;

impl Backoff {
    /// For faults that pass: at most 4 requests in the first 2 s and 8 in the first 10 s.
    pub const PASSING: Self =
        Self { first: Duration::from_millis(400), factor: 1.6, cap: Duration::from_secs(5) };
    /// For what a person must fix: ever more rarely, down to one probe in 10 min.
    pub const PROBING: Self =
        Self { first: Duration::from_secs(2), factor: 2.0, cap: Duration::from_secs(600) };

    /// The delay after `failures` failures in a row (at least one).
    pub fn delay(&self, failures: u32, chance: &mut dyn Chance) -> Duration {
        let steps = failures.saturating_sub(1).min(64);
        let grown = self.first.as_secs_f64() * self.factor.powi(steps.cast_signed());
        let varied = grown * (1.0 - SPREAD + 2.0 * SPREAD * chance.unit());
        Duration::from_secs_f64(varied.min(self.cap.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_in_an_outage_are_few_whatever_chance_says() {
        for unit in [0.0, 0.5, 0.999] {
            for (outage, most) in [(2.0, 4), (10.0, 8)] {
                let (mut at, mut attempts) = (0.0, 0);
                while at < outage {
                    attempts += 1;
                    at += Backoff::PASSING.delay(attempts, &mut || unit).as_secs_f64();
                }
                assert!(attempts <= most, "{attempts} in {outage} s");
            }
        }
    }

    #[test]
    fn probes_become_one_in_ten_minutes() {
        let delay = |failures| Backoff::PROBING.delay(failures, &mut || 0.5).as_secs();
        assert_eq!([1, 2, 3, 4, 9, 10, 1000].map(delay), [2, 4, 8, 16, 512, 600, 600]);
    }
}
