//! What came of a rehearsal.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Strategy;
use super::series::Series;
use crate::ledger::Totals;

/// Latencies up to a day, in microseconds.
const LONGEST: u64 = 86_400_000_000;
/// 0.1 % is finer than anybody reads.
const DIGITS: u8 = 3;

/// Slots by what became of them: `due = done + late + gaps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polls {
    /// All that fell due.
    pub due: u64,
    /// Sampled within a quarter of the period.
    pub done: u64,
    /// Sampled later than that.
    pub late: u64,
    /// Without a sample when the agent's next slot was due.
    pub gaps: u64,
}

/// What workers saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// 401 from API and token endpoint alike.
    pub status_401: u64,
    /// 429 from API and token endpoint alike.
    pub status_429: u64,
    /// Logins refused because there were too many, in whatever words.
    pub throttled_logins: u64,
}

/// Percentiles of one kind of latency.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        Self(bounds.expect("bounds in order, digits 0 to 5"))
    }

    #[inline]
    pub(super) fn note(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record((nanoseconds / 1_000).max(1));
    }

    /// The latency that so many of 1 are not above; zero if there is none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        // A bucket's upper edge may lie past the longest latency there was.
        let edge = self.0.value_at_quantile(quantile).min(self.0.max());
        Duration::from_micros(if self.0.is_empty() { 0 } else { edge })
    }
}

/// One strategy's rehearsal, as its organisation and its workers tell it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which strategy.
    pub strategy: Strategy,
    /// What the organisation counted.
    pub totals: Totals,
    /// What workers saw.
    pub seen: Seen,
    /// What became of the slots.
    pub polls: Polls,
    /// From when a slot was due to its sample; a gap counts as one period, the least it can be.
    pub latency: Latencies,
    /// From when a request was sent to its answer, of samples alone: what a test measures that
    /// forgets about the requests it could not send.
    pub service: Latencies,
    /// Everything over time.
    pub series: Series,
    /// Most access tokens that were live at the end of a span.
    pub most_live_tokens: u64,
    /// Workers that still wait for a token that nobody asks for.
    pub hung_workers: u32,
}
