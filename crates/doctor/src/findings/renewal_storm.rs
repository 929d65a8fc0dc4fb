//! `renewal-storm`: far more renewals than tokens that live their time would need.

use super::{Detector, Examples, Found, Id, Overall, Severity, span};
use crate::callers::Situation;
use crate::moment::Moment;
use crate::observation::Observation;

const WINDOW: i64 = 10_000;
/// Renewals kept to count those of a window.
const MOST: usize = 1 << 14;
/// No token is so short-lived that a caller needs one more often.
const SHORTEST_NEED: i64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct RenewalStorm {
    window: std::collections::VecDeque<Moment>,
    renewals: u64,
    peak: u64,
    peak_at: Option<Moment>,
    examples: Examples,
}

impl Detector for RenewalStorm {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if !now.is_renewal {
            return;
        }
        self.renewals += 1;
        let at = seen.done_at;
        while self.window.front().is_some_and(|first| at.since(*first) > WINDOW)
            || self.window.len() == MOST
        {
            self.window.pop_front();
        }
        self.window.push_back(at);
        let count = self.window.len() as u64;
        if count > self.peak {
            self.peak = count;
            self.peak_at = Some(at);
        }
        if count >= 10 {
            self.examples.note(seen, || format!("renewal {count} within {}", span(WINDOW)));
        }
    }

    fn begin_run(&mut self) {
        self.window.clear();
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let Some(peak_at) = self.peak_at else { return };
        let callers = overall.holders.max(1) as u64;
        let need_every = overall.lifetime.map_or(SHORTEST_NEED, |lifetime| lifetime.max(1000) / 2);
        let needed = callers * overall.span().unsigned_abs() / need_every.unsigned_abs().max(1);
        let sustained = self.renewals >= 20 && self.renewals > 2 * needed.max(1);
        let burst = self.peak >= 10.max(callers * 3 / 10) && self.peak >= 10;
        if !(sustained && self.peak >= 5 || burst) {
            return;
        }
        let rate = self.renewals as f64 * 60_000.0 / overall.span() as f64;
        let troubled = overall.is_troubled();
        found.push(Found {
            id: Id::RenewalStorm,
            severity: if troubled { Severity::High } else { Severity::Low },
            confidence: if sustained && troubled { 0.85 } else { 0.65 },
            summary: format!(
                "{} renewals, {rate:.0} a minute on average and up to {} within {} (about {peak_at})",
                self.renewals,
                self.peak,
                span(WINDOW),
            ),
            count: self.renewals,
            examples: self.examples.kept(),
            advice: "Callers that started together renew together, and those whose tokens die renew \
                     again and again. Share tokens, and renew at a time of each token's own. \
                     Bellwether renews once for all callers, and draws the time for each token of a \
                     pool, so that they do not fall due together."
                .to_owned(),
        });
    }
}
