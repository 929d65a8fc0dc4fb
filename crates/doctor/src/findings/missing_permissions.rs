//! `missing-permissions`: 403s that no token of this client cures.

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity, percent};
use crate::callers::Situation;
use crate::observation::{Complaint, Observation};

#[derive(Debug, Default)]
pub(super) struct MissingPermissions {
    examples: Examples,
    told: u64,
    api_requests: u64,
}

impl Detector for MissingPermissions {
    fn observe(&mut self, seen: &Observation, _now: &Situation) {
        if seen.is_token_request() {
            return;
        }
        self.api_requests += 1;
        if seen.status == Some(403) {
            self.told += u64::from(seen.complaint == Complaint::Permissions);
            self.examples.note(seen, || format!("forbidden{}", quoted(seen)));
        }
    }

    fn tell(&self, _overall: &Overall<'_>, found: &mut Vec<Found>) {
        let count = self.examples.count();
        let share = percent(count, self.api_requests);
        if count < 3 || (self.told == 0 && (count < 10 || share < 5)) {
            return;
        }
        found.push(Found {
            id: Id::MissingPermissions,
            severity: Severity::Medium,
            confidence: if self.told > 0 { 0.9 } else { 0.6 },
            summary: format!("{count} API requests ({share} %) got 403"),
            count,
            examples: self.examples.kept(),
            advice: "A newer token does not help: give the client's role the permission (or the \
                     request the scope) that the answer names, then get a new token. Bellwether \
                     passes a 403 on as it is."
                .to_owned(),
        });
    }
}
