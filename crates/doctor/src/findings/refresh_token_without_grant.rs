//! `refresh-token-without-grant`: a refresh token is missed in an integration that never had one.
//!
//! The client credentials grant issues none (RFC 6749 §4.4.3).

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity};
use crate::callers::Situation;
use crate::observation::{Complaint, Grant, Kind, Observation};

#[derive(Debug, Default)]
pub(super) struct WithoutGrant {
    examples: Examples,
    client_credentials: u64,
    logins: u64,
    /// A refresh worked, or a refresh token was issued.
    has_refresh_tokens: bool,
}

impl Detector for WithoutGrant {
    fn observe(&mut self, seen: &Observation, _now: &Situation) {
        let Kind::Token(grant) = seen.kind else { return };
        if seen.succeeded() {
            self.logins += 1;
            self.client_credentials += u64::from(grant == Grant::ClientCredentials);
            let may_issue = matches!(grant, Grant::RefreshToken | Grant::Other);
            self.has_refresh_tokens |= may_issue || seen.issued_refresh_token;
            return;
        }
        if seen.null_credentials || seen.status.is_none() {
            return;
        }
        let complains = match seen.complaint {
            Complaint::RefreshToken => true,
            Complaint::InvalidGrant => grant == Grant::RefreshToken,
            Complaint::None => grant == Grant::RefreshToken && seen.status < Some(500),
            Complaint::Throttled
            | Complaint::InvalidClient
            | Complaint::Expired
            | Complaint::NotYetValid
            | Complaint::Permissions => false,
        };
        if complains {
            self.examples
                .note(seen, || format!("no refresh token was ever issued{}", quoted(seen)));
        }
    }

    fn tell(&self, _overall: &Overall<'_>, found: &mut Vec<Found>) {
        let count = self.examples.count();
        if count == 0 || self.has_refresh_tokens || self.logins == 0 {
            return;
        }
        let logins = self.logins;
        found.push(Found {
            id: Id::RefreshTokenWithoutGrant,
            severity: Severity::Medium,
            confidence: if self.client_credentials > 0 { 0.9 } else { 0.6 },
            summary: format!(
                "{count} token requests failed over a refresh token, though none of the {logins} \
                 logins in this log issued one: the client credentials grant has no refresh token"
            ),
            count,
            examples: self.examples.kept(),
            advice: "With client credentials a newer token is requested by the same grant again; \
                     remove the refresh step from the client. Such a complaint in an application \
                     that never refreshed is a symptom: look at what made it renew. Bellwether uses \
                     the configured grant and nothing else."
                .to_owned(),
        });
    }
}
