//! What other processes need to share a failure instead of repeating it.

use std::time::Duration;

use bellwether_lifecycle::Failure;
use bellwether_oauth::{Details, TokenError};
use bellwether_store::Stamp;
use serde::{Deserialize, Serialize};

use crate::error::RenewalError;

/// A failed token request, as its row keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredFailure {
    pub(crate) kind: String,
    pub(crate) at: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// Digest of the client's secret: with another one the failure says nothing.
    pub(crate) secret: String,
}

const UNREACHABLE: &str = "unreachable";
const ANSWER_LOST: &str = "answer_lost";
const STORE_IS_OLDER: &str = "store_is_older";

impl StoredFailure {
    /// `None` for what says nothing to another process.
    pub(crate) fn of(
        error: &RenewalError,
        told: Failure,
        at: Stamp,
        secret: String,
    ) -> Option<Self> {
        let (kind, refused) = match error {
            RenewalError::Refused(error) => (error.kind(), Some(error)),
            RenewalError::Unreachable(_) => (UNREACHABLE, None),
            RenewalError::AnswerLost(_) => (ANSWER_LOST, None),
            RenewalError::StoreIsOlder => (STORE_IS_OLDER, None),
            RenewalError::Store(_)
            | RenewalError::NoRefreshToken
            | RenewalError::KnownRefused
            | RenewalError::Defect => return None,
        };
        let milliseconds = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        Some(Self {
            kind: kind.to_owned(),
            at,
            retry_after_ms: told.retry_after.map(milliseconds),
            status: refused.map_or(0, |error| error.details().status()),
            code: refused.and_then(|error| error.details().code()).map(str::to_owned),
            description: refused.and_then(|error| error.details().description()).map(str::to_owned),
            secret,
        })
    }

    /// The failure as this process would have met it.
    pub(crate) fn error(&self) -> RenewalError {
        let said = || "another process met it".to_owned();
        let details =
            Details::new(self.status, self.code.as_deref(), self.description.as_deref(), &[]);
        let retry_after = self.retry_after_ms.map(Duration::from_millis);
        RenewalError::Refused(match self.kind.as_str() {
            UNREACHABLE => return RenewalError::Unreachable(said()),
            ANSWER_LOST => return RenewalError::AnswerLost(said()),
            STORE_IS_OLDER => return RenewalError::StoreIsOlder,
            "invalid_client" => TokenError::InvalidClient { details },
            "invalid_grant" => TokenError::InvalidGrant { details },
            "unauthorized_client" => TokenError::UnauthorizedClient { details },
            "invalid_scope" => TokenError::InvalidScope { details },
            "unsupported_grant_type" => TokenError::UnsupportedGrantType { details },
            "invalid_request" => TokenError::InvalidRequest { details },
            "access_denied" => TokenError::AccessDenied { details },
            "interaction_required" => TokenError::InteractionRequired { details },
            "throttled" => TokenError::Throttled { retry_after, details },
            "redirected" => TokenError::Redirected { details },
            "unsupported_token_type" => TokenError::UnsupportedTokenType { details },
            "unusable" => TokenError::Unusable { why: "another process met it", details },
            "unavailable" => TokenError::Unavailable { retry_after, details },
            _ => TokenError::OtherCode { details },
        })
    }
}

#[cfg(test)]
mod tests {
    use bellwether_store::ManualClock;

    use super::*;

    #[test]
    fn another_process_reads_the_failure_that_was_met() {
        let details = || Details::new(418, Some("code"), Some("said"), &[]);
        let retry_after = Some(Duration::from_millis(1500));
        let refused = [
            TokenError::InvalidClient { details: details() },
            TokenError::InvalidGrant { details: details() },
            TokenError::UnauthorizedClient { details: details() },
            TokenError::InvalidScope { details: details() },
            TokenError::UnsupportedGrantType { details: details() },
            TokenError::InvalidRequest { details: details() },
            TokenError::AccessDenied { details: details() },
            TokenError::InteractionRequired { details: details() },
            TokenError::OtherCode { details: details() },
            TokenError::Throttled { retry_after, details: details() },
            TokenError::Unavailable { retry_after, details: details() },
            TokenError::Redirected { details: details() },
            TokenError::UnsupportedTokenType { details: details() },
        ];
        let unusable = TokenError::Unusable { why: "another process met it", details: details() };
        let lost = || "another process met it".to_owned();
        let others = [RenewalError::Unreachable(lost()), RenewalError::AnswerLost(lost())];
        let met = refused.into_iter().chain([unusable]).map(RenewalError::Refused).chain(others);
        let clock = ManualClock::new();
        let at = Stamp::new(bellwether_store::Clock::now(&clock), &clock);
        for error in met {
            for spends in [false, true] {
                let told = error.failure(spends);
                let stored = StoredFailure::of(&error, told, at, String::new());
                let stored = stored.expect("it says something to others");
                let text = serde_json::to_string(&stored).expect("it can be written");
                let read: StoredFailure = serde_json::from_str(&text).expect("and read");
                assert_eq!(read.error().to_string(), error.to_string());
                assert_eq!(read.error().failure(spends), told, "{error}");
            }
        }
    }
}
