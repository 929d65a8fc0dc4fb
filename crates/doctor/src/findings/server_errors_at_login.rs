//! `server-errors-at-login`: the authorization server fails, or does not answer.

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity, percent};
use crate::callers::Situation;
use crate::observation::{Complaint, Observation};

#[derive(Debug, Default)]
pub(super) struct ServerErrors {
    examples: Examples,
    unanswered: u64,
}

impl Detector for ServerErrors {
    fn observe(&mut self, seen: &Observation, _now: &Situation) {
        let failed = seen.status.is_none_or(|status| status >= 500);
        if seen.is_token_request() && failed && seen.complaint != Complaint::Throttled {
            self.unanswered += u64::from(seen.status.is_none());
            self.examples.note(seen, || format!("no token{}", quoted(seen)));
        }
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let count = self.examples.count();
        let share = percent(count, overall.totals.token_requests);
        if count < 3 {
            return;
        }
        found.push(Found {
            id: Id::ServerErrorsAtLogin,
            severity: if share >= 20 { Severity::High } else { Severity::Medium },
            confidence: 0.85,
            summary: format!(
                "{count} token requests ({share} %) failed at the authorization server, {} of them \
                 without an answer",
                self.unanswered,
            ),
            count,
            examples: self.examples.kept(),
            advice: "Renew while the old token is still good, so that such a failure costs nothing, \
                     and wait longer after each. Bellwether renews early, backs off, sends one probe \
                     for all, and serves the valid token to its end."
                .to_owned(),
        });
    }
}
