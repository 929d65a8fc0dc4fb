//! How long a renewal takes here and now, so that kills spread over all of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moving average over the renewals that nothing befell.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU64);

/// What a renewal takes before any was measured.
const FIRST_GUESS: Duration = Duration::from_millis(20);
/// The weight of the past.
const PAST: u64 = 7;

impl Pace {
    /// Takes in what one renewal took, the server's part left out.
    pub(crate) fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // A lost update only makes the average a little older.
        let known = self.0.load(Ordering::Relaxed);
        let next = if known == 0 { took } else { (known * PAST + took) / (PAST + 1) };
        self.0.store(next, Ordering::Relaxed);
    }

    /// What a whole renewal takes.
    pub(crate) fn whole(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => FIRST_GUESS,
            nanoseconds => Duration::from_nanos(nanoseconds),
        }
    }

    /// So many thousandths of it.
    pub(crate) fn share(&self, thousandths: u64) -> Duration {
        self.whole().mul_f64(thousandths as f64 / 1_000.0)
    }
}
