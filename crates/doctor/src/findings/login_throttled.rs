//! `login-throttled`: the token endpoint's own limit, often in disguise.

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity};
use crate::callers::Situation;
use crate::observation::{Complaint, Observation};

#[derive(Debug, Default)]
pub(super) struct LoginThrottled {
    told: Examples,
    /// 429 is no disguise.
    disguised: u64,
    /// Refused without a reason.
    silent: Examples,
    /// Of them, from callers that had been accepted before.
    from_accepted: u64,
    succeeded: u64,
}

impl Detector for LoginThrottled {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if !seen.is_token_request() {
            return;
        }
        if seen.succeeded() {
            self.succeeded += 1;
        } else if seen.status == Some(429) || seen.complaint == Complaint::Throttled {
            self.disguised += u64::from(seen.status != Some(429));
            self.told.note(seen, || format!("throttled{}", quoted(seen)));
        } else if matches!(seen.status, Some(400 | 403))
            && seen.complaint == Complaint::None
            && !seen.null_credentials
        {
            let accepted = now.token.is_some();
            self.from_accepted += u64::from(accepted);
            self.silent.note(seen, || {
                let before = if accepted { ", though this caller was accepted before" } else { "" };
                format!("refused without a reason{before}")
            });
        }
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let advice = "Log in less often: share tokens, and wait after a refusal (Retry-After, else \
                      longer each time). This limit may come as 400 or 403 and then looks like wrong \
                      credentials; do not give up on them. Bellwether keeps an allowance at the token \
                      endpoint, reads the disguises, and serves the valid token meanwhile.";
        let (told, silent) = (self.told.count(), self.silent.count());
        let all = overall.totals.token_requests;
        if told > 0 {
            let disguise = match self.disguised {
                0 => String::new(),
                disguised => format!(", {disguised} of them with another status than 429"),
            };
            found.push(Found {
                id: Id::LoginThrottled,
                severity: if told >= 10 { Severity::High } else { Severity::Medium },
                confidence: 0.95,
                summary: format!("{told} of {all} token requests were throttled{disguise}"),
                count: told,
                examples: self.told.kept(),
                advice: advice.to_owned(),
            });
        } else if silent >= 3 && self.succeeded > silent {
            found.push(Found {
                id: Id::LoginThrottled,
                severity: Severity::Medium,
                confidence: if self.from_accepted >= 3 { 0.7 } else { 0.45 },
                summary: format!(
                    "{silent} of {all} token requests were refused without a reason while others \
                     succeeded ({} of them from callers that had been accepted before): the token \
                     endpoint's limit, most likely",
                    self.from_accepted,
                ),
                count: silent,
                examples: self.silent.kept(),
                advice: advice.to_owned(),
            });
        }
    }
}
