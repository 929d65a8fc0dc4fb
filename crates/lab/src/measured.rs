//! One strategy's figures, however they came about: in virtual time or over sockets.

use std::time::Duration;

use bellwether_simulation::rehearsal::{Latencies, Outcome, Series};
use serde::Serialize;

/// What came of one strategy. The names are public contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The strategy's name.
    pub name: String,
    /// Token requests that reached the authorization server.
    pub token_requests: u64,
    /// Those refused because there were too many.
    pub throttled_logins: u64,
    /// Live access tokens that the cap ended.
    pub tokens_evicted: u64,
    /// API requests with a token that the cap had ended.
    pub evicted_in_use: u64,
    /// 401 that workers saw.
    pub status_401: u64,
    /// 429 that workers saw.
    pub status_429: u64,
    /// Slots by what became of them.
    pub polls: Polls,
    /// From when a slot was due to its sample.
    pub latency_ms: Percentiles,
    /// From when a request was sent to its answer: what a test measures that forgets about the
    /// requests it could not send. In virtual time alone.
    pub service_latency_ms: Option<Percentiles>,
    /// Most access tokens that were live at a time.
    pub most_live_tokens: u64,
    /// Workers that wait at the end for a renewal that nobody makes.
    pub hung_workers: u32,
    /// Why it went as it did, in a sentence.
    pub cause: String,
    /// Everything over time.
    pub series: OverTime,
    /// By the second of the wall clock's minute.
    pub second_of_minute: BySecond,
}

/// Slots by what became of them: `due = done + late + gaps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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

/// In milliseconds, a tenth as the finest. Over sockets the poller keeps two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half took no longer.
    pub p50: f64,
    /// 90 of 100 took no longer.
    pub p90: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1,000 took no longer.
    pub p999: Option<f64>,
    /// None took longer.
    pub max: Option<f64>,
}

impl Percentiles {
    fn of(latencies: &Latencies) -> Self {
        let at = |quantile| milliseconds(latencies.quantile(quantile));
        let (p90, p999, max) = (Some(at(0.9)), Some(at(0.999)), Some(at(1.0)));
        Self { p50: at(0.5), p90, p99: at(0.99), p999, max }
    }
}

/// Rows of equal length, a number for each span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OverTime {
    /// How long a span is, in seconds.
    pub every_s: f64,
    /// Token requests in each span.
    pub token_requests: Vec<u64>,
    /// Live access tokens at the end of each span.
    pub live_tokens: Vec<u64>,
    /// 401 that workers saw in each span.
    pub status_401: Vec<u64>,
    /// 429 that workers saw in each span.
    pub status_429: Vec<u64>,
    /// Slots that closed without a sample in each span.
    pub gaps: Vec<u64>,
    /// Samples in each span.
    pub sampled: Vec<u64>,
}

/// Sixty numbers each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BySecond {
    /// Token requests.
    pub token_requests: Vec<u64>,
    /// 401 and 429 that workers saw.
    pub refusals: Vec<u64>,
}

/// With a tenth as the finest.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

impl Measured {
    /// What a rehearsal came to; `cause` is for whoever knows the scenario.
    pub fn rehearsed(outcome: &Outcome) -> Self {
        let Outcome { strategy, totals, seen, polls, latency, service, series, .. } = outcome;
        Self {
            name: strategy.name().to_owned(),
            token_requests: totals.token_requests,
            throttled_logins: totals.throttled_logins,
            tokens_evicted: totals.tokens_evicted,
            evicted_in_use: totals.api_evicted,
            status_401: seen.status_401,
            status_429: seen.status_429,
            polls: Polls { due: polls.due, done: polls.done, late: polls.late, gaps: polls.gaps },
            latency_ms: Percentiles::of(latency),
            service_latency_ms: Some(Percentiles::of(service)),
            most_live_tokens: outcome.most_live_tokens,
            hung_workers: outcome.hung_workers,
            cause: String::new(),
            series: OverTime::of(series),
            second_of_minute: BySecond {
                token_requests: series.token_requests_by_second.to_vec(),
                refusals: series.refusals_by_second.to_vec(),
            },
        }
    }

    /// No refusal that a worker saw, no gap, nobody who hangs.
    pub fn is_clean(&self) -> bool {
        self.status_401 == 0
            && self.status_429 == 0
            && self.polls.gaps == 0
            && self.hung_workers == 0
    }
}

impl OverTime {
    fn of(series: &Series) -> Self {
        let column = |number: fn(&bellwether_simulation::rehearsal::Span) -> u64| {
            series.spans.iter().map(number).collect()
        };
        Self {
            every_s: series.every.as_secs_f64(),
            token_requests: column(|span| span.token_requests),
            live_tokens: column(|span| span.live_tokens),
            status_401: column(|span| span.status_401),
            status_429: column(|span| span.status_429),
            gaps: column(|span| span.gaps),
            sampled: column(|span| span.sampled),
        }
    }
}
