//! `minute-clustering`: renewals or failures come at the same second of the minute.

use super::{Detector, Examples, Found, Id, Overall, Severity, percent};
use crate::callers::Situation;
use crate::observation::Observation;

/// Seconds that make a cluster.
const WIDTH: usize = 4;
/// An even spread would put 7 % there.
const SHARE: u64 = 50;
const LEAST: u64 = 20;
const LEAST_MINUTES: u64 = 3;
/// One cron job is no cluster.
const LEAST_IN_A_MINUTE: u64 = 3;

#[derive(Debug)]
struct Histogram {
    seconds: [u64; 60],
    /// Minutes in which each second had something.
    minutes: [u64; 60],
    last_minute: [i64; 60],
    examples: Vec<Examples>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            seconds: [0; 60],
            minutes: [0; 60],
            last_minute: [i64::MIN; 60],
            examples: vec![Examples::default(); 60],
            total: 0,
        }
    }
}

impl Histogram {
    fn note(&mut self, seen: &Observation, what: &str) {
        let at = seen.sent_at();
        let second = at.second_of_minute();
        self.total += 1;
        self.seconds[second] += 1;
        let minute = at.0.div_euclid(60_000);
        if self.last_minute[second] != minute {
            self.last_minute[second] = minute;
            self.minutes[second] += 1;
        }
        self.examples[second].note(seen, || format!("{what} at second {second} of the minute"));
    }

    /// The second at which the fullest cluster begins, and what is in it.
    fn cluster(&self) -> (usize, u64) {
        let of = |start: usize| (0..WIDTH).map(|offset| self.seconds[(start + offset) % 60]).sum();
        (0..60)
            .map(|start| (start, of(start)))
            .max_by_key(|(start, count): &(usize, u64)| (*count, self.seconds[(start + 1) % 60]))
            .unwrap_or_default()
    }

    fn is_clustered(&self, overall: &Overall<'_>) -> Option<(usize, u64)> {
        let (start, count) = self.cluster();
        let minutes = (0..WIDTH).map(|it| self.minutes[(start + it) % 60]).max().unwrap_or(0);
        let clustered = self.total >= LEAST
            && count * 100 >= self.total * SHARE
            && minutes >= LEAST_MINUTES
            && count >= minutes * LEAST_IN_A_MINUTE;
        let of_the_minute = (0..WIDTH).any(|offset| (start + offset) % 60 == 0);
        let every_minute = minutes * 10 >= (overall.span() / 60_000).unsigned_abs() * 6;
        (clustered && (of_the_minute || every_minute)).then_some((start, count))
    }
}

#[derive(Debug, Default)]
pub(super) struct MinuteClustering {
    renewals: Histogram,
    failures: Histogram,
}

impl Detector for MinuteClustering {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if now.is_renewal {
            self.renewals.note(seen, "renewed");
        }
        let refused = seen.is_token_request() && seen.status.is_some_and(|status| status >= 400);
        if refused || seen.is_refused_token() {
            self.failures.note(seen, "refused");
        }
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let clustered = [(&self.failures, "failures"), (&self.renewals, "renewals")]
            .into_iter()
            .find_map(|(histogram, what)| {
                histogram
                    .is_clustered(overall)
                    .map(|(start, count)| (histogram, what, start, count))
            });
        let Some((histogram, what, start, count)) = clustered else { return };
        let end = (start + WIDTH - 1) % 60;
        let fullest = (0..WIDTH).map(|offset| (start + offset) % 60);
        let fullest = fullest.max_by_key(|second| histogram.seconds[*second]).unwrap_or(start);
        found.push(Found {
            id: Id::MinuteClustering,
            severity: Severity::Medium,
            confidence: if percent(count, histogram.total) >= 75 { 0.9 } else { 0.75 },
            summary: format!(
                "{count} of {} {what} ({} %) fall on the seconds from :{start:02} to :{end:02} of \
                 the minute, where an even spread would put {} %",
                histogram.total,
                percent(count, histogram.total),
                WIDTH * 100 / 60,
            ),
            count,
            examples: histogram.examples[fullest].kept(),
            advice: "Something begins at the minute: a cron job, a scheduler, threads that started \
                     together, tokens that were issued together. Spread what is due, or share its \
                     tokens. Bellwether renews at times of its own, so that callers that come at the \
                     same second find a token that is there already."
                .to_owned(),
        });
    }
}
