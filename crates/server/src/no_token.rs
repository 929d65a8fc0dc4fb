//! What is answered where the authorization server gave no token: its own refusal, cleaned, or when to
//! come again.

use std::time::Duration;

use bellwether_broker::lifecycle::Cause;
use bellwether_broker::oauth::TokenError;
use bellwether_broker::{NoToken, RenewalError};
use http::StatusCode;

use crate::refusal::Refusal;
use crate::settings::Vendor;

/// The answer where no token could be had.
pub(crate) fn no_token(none: &NoToken, vendor: &Vendor) -> Refusal {
    let error = none.error.as_deref();
    let token_error = error.and_then(RenewalError::token_error);
    match none.cause {
        Cause::Passing | Cause::Throttled | Cause::InDoubt => {
            let status = match token_error {
                Some(TokenError::Unusable { .. }) => StatusCode::BAD_GATEWAY,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            let why = none.to_string();
            Refusal::unavailable(status, &why, none.retry_after)
        }
        Cause::Reauthorize | Cause::Misconfigured => match token_error {
            Some(error) => refused(error, vendor, none.retry_after),
            None => Refusal::new(StatusCode::BAD_REQUEST, "invalid_grant", &none.to_string()),
        },
    }
}

/// The answer where a grant that is sent once gave nothing.
pub(crate) fn no_pair(error: &TokenError, vendor: &Vendor) -> Refusal {
    match error {
        TokenError::Throttled { retry_after, .. } | TokenError::Unavailable { retry_after, .. } => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Refusal::unavailable(status, &error.to_string(), *retry_after)
        }
        TokenError::InvalidClient { .. }
        | TokenError::InvalidGrant { .. }
        | TokenError::UnauthorizedClient { .. }
        | TokenError::InvalidScope { .. }
        | TokenError::UnsupportedGrantType { .. }
        | TokenError::InvalidRequest { .. }
        | TokenError::AccessDenied { .. }
        | TokenError::InteractionRequired { .. }
        | TokenError::OtherCode { .. }
        | TokenError::Redirected { .. }
        | TokenError::UnsupportedTokenType { .. }
        | TokenError::Unusable { .. } => refused(error, vendor, None),
    }
}

/// The authorization server's own refusal, cleaned.
fn refused(error: &TokenError, vendor: &Vendor, retry_after: Option<Duration>) -> Refusal {
    if matches!(
        error,
        TokenError::Redirected { .. }
            | TokenError::Unusable { .. }
            | TokenError::UnsupportedTokenType { .. }
    ) {
        return Refusal::unavailable(StatusCode::BAD_GATEWAY, &error.to_string(), retry_after);
    }
    let details = error.details();
    let unauthorized = details.status() == 401;
    let status = match details.status() {
        _ if vendor.refusals_are_400 => StatusCode::BAD_REQUEST,
        status @ 400..=499 => StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
        _ => StatusCode::BAD_REQUEST,
    };
    let code = error.kind();
    Refusal {
        status,
        error: details.code().unwrap_or(code).to_owned(),
        description: details.description().unwrap_or_default().to_owned(),
        code,
        retry_after,
        challenge: (unauthorized && status == StatusCode::UNAUTHORIZED)
            .then_some("Basic realm=\"bellwether\""),
        closes: false,
    }
}
