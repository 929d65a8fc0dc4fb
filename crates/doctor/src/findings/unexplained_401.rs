//! `unexplained-401`: what is left when nothing else explains the 401s.

use super::{Found, Id, Overall, Severity, percent};

const LEAST: u64 = 5;

/// Told only where no finding explains a 401.
pub(super) fn tell(overall: &Overall<'_>, found: &mut Vec<Found>) {
    let explains = |id: Id| match id {
        Id::TokenEviction
        | Id::JavaSdkNullCredentials
        | Id::RefreshTokenReuse
        | Id::ClockSkew
        | Id::StaleToken401
        | Id::RefreshTokenWithoutGrant
        | Id::ClientRefused
        | Id::RetryLoop
        | Id::ExpiredToken401
        | Id::Unexplained401 => true,
        Id::MarginExceedsLifetime
        | Id::ApiRateLimit
        | Id::DuplicateTokenRequests
        | Id::RenewalStorm
        | Id::MinuteClustering
        | Id::LoginThrottled
        | Id::MissingPermissions
        | Id::ServerErrorsAtLogin => false,
    };
    let count = overall.totals.status_401;
    if count < LEAST || found.iter().any(|found| explains(found.id)) {
        return;
    }
    found.push(Found {
        id: Id::Unexplained401,
        severity: Severity::Medium,
        confidence: 0.3,
        summary: format!(
            "{count} requests ({} %) got 401, and this log does not show why",
            percent(count, overall.totals.requests),
        ),
        count,
        examples: overall.totals.examples_401.kept(),
        advice: "Record more: in JMeter switch on thread name, URL, response message and failure \
                 message, and keep the token requests in the same file; in a proxy log the request \
                 time and a hash of the token. `doctor` reads several files together."
            .to_owned(),
    });
}
