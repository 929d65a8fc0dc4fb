//! JMeter's results, counted as the lab counts.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use bellwether_doctor::observation::Kind;
use bellwether_doctor::{Next, Observation, Source};
use bellwether_lab::{BySecond, Measured, OverTime, Percentiles, Polls};
use bellwether_lifecycle::UnixTime;
use bellwether_simulation::Totals;

use crate::commands::Failure;
use crate::commands::lab::sockets::Recorder;

/// What a JTL says.
#[derive(Debug, Default)]
pub(super) struct Results {
    callers: BTreeSet<Vec<u8>>,
    /// The first sending and the last answer, in milliseconds since the Unix epoch.
    between: Option<(i64, i64)>,
    sampled: u64,
    failed: u64,
    status_401: u64,
    status_429: u64,
    /// Of the samples, in milliseconds.
    elapsed: Vec<u32>,
    rows: OverTime,
    refusals_by_second: Vec<u64>,
}

impl Results {
    /// Reads a JTL; spans begin when the run did.
    pub(super) fn read(file: &Path, began: UnixTime) -> Result<Self, Failure> {
        let cannot = |why: String| {
            Failure::Failed(format!("JMeter's results, {}, cannot be read: {why}", file.display()))
        };
        let input = File::open(file).map_err(|error| cannot(error.to_string()))?;
        let mut source =
            Source::open(0, BufReader::new(input)).map_err(|error| cannot(error.to_string()))?;
        let mut results = Self { refusals_by_second: vec![0; 60], ..Self::default() };
        let mut seen = Observation::default();
        while let Next::Request | Next::RequestOfNewRun =
            source.next(&mut seen).map_err(|error| cannot(error.to_string()))?
        {
            results.count(&seen, began);
        }
        results.elapsed.sort_unstable();
        Ok(results)
    }

    fn count(&mut self, seen: &Observation, began: UnixTime) {
        if !self.callers.contains(&seen.caller) {
            self.callers.insert(seen.caller.clone());
        }
        let (sent, done) = (seen.done_at.0 - seen.elapsed, seen.done_at.0);
        let (first, last) = self.between.unwrap_or((sent, done));
        self.between = Some((first.min(sent), last.max(done)));
        let since = seen.done_at.0 - i64::try_from(began.as_millis()).unwrap_or(i64::MAX);
        let span = usize::try_from(since / 1_000).unwrap_or(0);
        let rows = &mut self.rows;
        for row in [&mut rows.status_401, &mut rows.status_429, &mut rows.gaps, &mut rows.sampled] {
            row.resize(row.len().max(span + 1), 0);
        }
        match seen.status {
            Some(401) => {
                self.status_401 += 1;
                rows.status_401[span] += 1;
                self.refusals_by_second[seen.done_at.second_of_minute()] += 1;
            }
            Some(429) => {
                self.status_429 += 1;
                rows.status_429[span] += 1;
                self.refusals_by_second[seen.done_at.second_of_minute()] += 1;
            }
            Some(_) | None => {}
        }
        if let Kind::Token(_) = seen.kind {
            return;
        }
        if seen.status.is_some_and(|status| (200..300).contains(&status)) {
            self.sampled += 1;
            rows.sampled[span] += 1;
            self.elapsed.push(u32::try_from(seen.elapsed).unwrap_or(0));
        } else {
            self.failed += 1;
            rows.gaps[span] += 1;
        }
    }

    /// Threads that sent something.
    pub(super) fn callers(&self) -> u32 {
        u32::try_from(self.callers.len()).unwrap_or(u32::MAX)
    }

    /// From the first sending to the last answer.
    pub(super) fn lasted(&self) -> Duration {
        let (first, last) = self.between.unwrap_or_default();
        Duration::from_millis(u64::try_from(last - first).unwrap_or(0))
    }

    /// Beside what the organisation counted. A plan has no schedule: a failed sample counts as a
    /// gap, and latency is from sending.
    pub(super) fn measured(self, name: &str, totals: &Totals, recorder: Recorder) -> Measured {
        let latency = Percentiles {
            p50: self.quantile(0.5),
            p90: Some(self.quantile(0.9)),
            p99: self.quantile(0.99),
            p999: Some(self.quantile(0.999)),
            max: Some(self.quantile(1.0)),
        };
        let most_live_tokens = recorder.over_time.live_tokens.iter().copied().max();
        Measured {
            name: name.to_owned(),
            token_requests: totals.token_requests,
            throttled_logins: totals.throttled_logins,
            tokens_evicted: totals.tokens_evicted,
            evicted_in_use: totals.api_evicted,
            status_401: self.status_401,
            status_429: self.status_429,
            polls: Polls {
                due: self.sampled + self.failed,
                done: self.sampled,
                late: 0,
                gaps: self.failed,
            },
            latency_ms: latency,
            service_latency_ms: Some(latency),
            most_live_tokens: most_live_tokens.unwrap_or_default(),
            hung_workers: 0,
            cause: String::new(),
            series: OverTime {
                token_requests: recorder.over_time.token_requests,
                live_tokens: recorder.over_time.live_tokens,
                every_s: recorder.over_time.every_s,
                ..self.rows
            },
            second_of_minute: BySecond {
                token_requests: recorder.by_second.token_requests,
                refusals: self.refusals_by_second,
            },
        }
    }

    fn quantile(&self, quantile: f64) -> f64 {
        let last = self.elapsed.len().saturating_sub(1);
        let place = (quantile * self.elapsed.len() as f64).ceil() as usize;
        self.elapsed.get(place.saturating_sub(1).min(last)).copied().map_or(0.0, f64::from)
    }
}
