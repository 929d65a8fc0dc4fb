//! `java-sdk-null-credentials`: an SDK that was given a token tries to refresh it with nothing.

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity};
use crate::callers::Situation;
use crate::observation::Observation;

#[derive(Debug, Default)]
pub(super) struct NullCredentials {
    examples: Examples,
}

impl Detector for NullCredentials {
    fn observe(&mut self, seen: &Observation, _now: &Situation) {
        if seen.null_credentials {
            self.examples.note(seen, || {
                format!(
                    "client authentication is null:null or the refresh token empty{}",
                    quoted(seen)
                )
            });
        }
    }

    fn tell(&self, _overall: &Overall<'_>, found: &mut Vec<Found>) {
        let count = self.examples.count();
        if count == 0 {
            return;
        }
        found.push(Found {
            id: Id::JavaSdkNullCredentials,
            severity: Severity::High,
            confidence: 0.95,
            summary: format!(
                "{count} token requests authenticate as null:null or with an empty refresh token: \
                 an SDK that was given an access token tries to refresh it after a 401"
            ),
            count,
            examples: self.examples.kept(),
            advice:
                "In the Genesys Java SDK a client built with setAccessToken keeps refreshing by \
                     itself; build it with withAccessToken, or switch the refresh off \
                     (shouldRefreshAccessToken). The complaint about a refresh token hides the 401 \
                     that came first. Bellwether's gateway cures that 401 itself, so the SDK never \
                     tries."
                    .to_owned(),
        });
    }
}
