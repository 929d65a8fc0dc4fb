//! Counts at each second, made into rows over time.

use std::time::Duration;

use bellwether_lab::{BySecond, OverTime, Scenario};
use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::rehearsal::span_for;

/// How a strategy stands at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::commands::lab) struct Standing {
    pub(in crate::commands::lab) token_requests: u64,
    pub(in crate::commands::lab) live_tokens: u64,
    pub(in crate::commands::lab) status_401: u64,
    pub(in crate::commands::lab) status_429: u64,
    pub(in crate::commands::lab) gaps: u64,
    pub(in crate::commands::lab) sampled: u64,
}

#[derive(Debug)]
pub(in crate::commands::lab) struct Recorder {
    start: Timestamp,
    every: Duration,
    last: Standing,
    pub(in crate::commands::lab) over_time: OverTime,
    pub(in crate::commands::lab) by_second: BySecond,
}

impl Recorder {
    pub(super) fn start(scenario: &Scenario, start: Timestamp) -> Self {
        Self::every(span_for(scenario.duration + scenario.period), start)
    }

    /// Where nobody knows how long it takes.
    pub(in crate::commands::lab) fn every_second(start: Timestamp) -> Self {
        Self::every(Duration::from_secs(1), start)
    }

    fn every(every: Duration, start: Timestamp) -> Self {
        Self {
            start,
            every,
            last: Standing::default(),
            over_time: OverTime { every_s: every.as_secs_f64(), ..OverTime::default() },
            by_second: BySecond { token_requests: vec![0; 60], refusals: vec![0; 60] },
        }
    }

    /// What came since the last time belongs to the second that has just ended.
    pub(in crate::commands::lab) fn note(
        &mut self,
        now: Timestamp,
        wall: UnixTime,
        standing: &Standing,
    ) {
        let last = std::mem::replace(&mut self.last, *standing);
        let half = Duration::from_millis(500);
        let index = self.start.until(now - half).as_nanos() / self.every.as_nanos();
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let rows = &mut self.over_time;
        for (row, count) in [
            (&mut rows.token_requests, standing.token_requests - last.token_requests),
            (&mut rows.status_401, standing.status_401 - last.status_401),
            (&mut rows.status_429, standing.status_429 - last.status_429),
            (&mut rows.gaps, standing.gaps - last.gaps),
            (&mut rows.sampled, standing.sampled - last.sampled),
        ] {
            row.resize(row.len().max(index + 1), 0);
            row[index] += count;
        }
        rows.live_tokens.resize(rows.live_tokens.len().max(index + 1), standing.live_tokens);
        rows.live_tokens[index] = standing.live_tokens;
        let second = (wall.as_millis().saturating_sub(500) / 1_000 % 60) as usize;
        self.by_second.token_requests[second] += standing.token_requests - last.token_requests;
        self.by_second.refusals[second] +=
            (standing.status_401 + standing.status_429) - (last.status_401 + last.status_429);
    }
}
