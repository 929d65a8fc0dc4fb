//! `client-refused`: `invalid_client`, a wrong id, secret or region.

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity};
use crate::callers::Situation;
use crate::observation::{Complaint, Observation};

#[derive(Debug, Default)]
pub(super) struct ClientRefused {
    examples: Examples,
    succeeded: u64,
}

impl Detector for ClientRefused {
    fn observe(&mut self, seen: &Observation, _now: &Situation) {
        if !seen.is_token_request() {
            return;
        }
        self.succeeded += u64::from(seen.succeeded());
        let silent = self.succeeded == 0
            && seen.status == Some(401)
            && seen.complaint == Complaint::None
            && !seen.null_credentials;
        if silent || (seen.complaint == Complaint::InvalidClient && !seen.null_credentials) {
            self.examples.note(seen, || format!("client authentication failed{}", quoted(seen)));
        }
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let count = self.examples.count();
        if count == 0 {
            return;
        }
        let always = self.succeeded == 0;
        found.push(Found {
            id: Id::ClientRefused,
            severity: if always { Severity::High } else { Severity::Medium },
            confidence: if always { 0.9 } else { 0.6 },
            summary: format!(
                "{count} of {} token requests were refused because of the client itself{}",
                overall.totals.token_requests,
                if always { ", and none succeeded" } else { "" },
            ),
            count,
            examples: self.examples.kept(),
            advice:
                "Check client id, secret and region: a right client in a wrong region is refused \
                     the same way. Do not repeat it quickly. Bellwether says so in `status`, falls \
                     quiet, and tries again when the secret's file changes."
                    .to_owned(),
        });
    }
}
