//! What can be found in a log: one file for each, a detector with bounded state.
//!
//! A detector sees every request once, in the order of the log, and can be asked at any time what
//! it has found so far.

mod api_rate_limit;
mod client_refused;
mod clock_skew;
mod duplicate_token_requests;
mod early_deaths;
mod examples;
mod java_sdk_null_credentials;
mod login_throttled;
mod margin_exceeds_lifetime;
mod minute_clustering;
mod missing_permissions;
mod refresh_token_reuse;
mod refresh_token_without_grant;
mod renewal_storm;
mod retry_loop;
mod separation;
mod server_errors_at_login;
mod stale_token_401;
mod unexplained_401;

use serde::Serialize;

pub(crate) use examples::{Example, Examples};

use crate::callers::Situation;
use crate::observation::Observation;
use crate::totals::Totals;

/// What is wrong. In causal order: what explains others comes before what it explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Id {
    /// Tokens die before they expire, because newer ones push them out.
    TokenEviction,
    /// Client authentication as `null:null`.
    JavaSdkNullCredentials,
    /// A refresh token was used a second time.
    RefreshTokenReuse,
    /// A token is renewed nearly each time it is used.
    MarginExceedsLifetime,
    /// Two clocks disagree.
    ClockSkew,
    /// The API's limit for each token is met.
    ApiRateLimit,
    /// The authorization server does not accept the client.
    ClientRefused,
    /// A fresh token is refused, renewed, and refused again.
    RetryLoop,
    /// Several renew at once what one renewal would have renewed for all.
    DuplicateTokenRequests,
    /// Far more renewals than tokens need.
    RenewalStorm,
    /// Trouble comes at the same second of the minute.
    MinuteClustering,
    /// The token endpoint's own limit is met.
    LoginThrottled,
    /// A 401 for a token that somebody else has renewed already.
    #[serde(rename = "stale-token-401")]
    StaleToken401,
    /// A refresh token is expected where none was ever issued.
    RefreshTokenWithoutGrant,
    /// The API wants a permission.
    MissingPermissions,
    /// The authorization server fails or is out of reach.
    ServerErrorsAtLogin,
    /// Tokens are renewed only once the API refuses them.
    #[serde(rename = "expired-token-401")]
    ExpiredToken401,
    /// 401s whose cause the log does not show.
    #[serde(rename = "unexplained-401")]
    Unexplained401,
}

impl Id {
    /// What it is, in a few words for a headline.
    pub fn headline(self) -> &'static str {
        match self {
            Self::TokenEviction => "Tokens die before their time",
            Self::JavaSdkNullCredentials => "An SDK refreshes with empty credentials",
            Self::RefreshTokenReuse => "A refresh token is used more than once",
            Self::MarginExceedsLifetime => "Tokens are renewed for nearly every request",
            Self::ClockSkew => "Clocks disagree",
            Self::ApiRateLimit => "The API's limit for each token is met",
            Self::DuplicateTokenRequests => "Several renew at the same moment",
            Self::RenewalStorm => "Renewals come in storms",
            Self::MinuteClustering => "Trouble comes at the same second of the minute",
            Self::LoginThrottled => "The token endpoint throttles",
            Self::StaleToken401 => "Tokens are used that others have renewed",
            Self::RefreshTokenWithoutGrant => "A refresh token is expected where there is none",
            Self::ClientRefused => "The authorization server refuses the client",
            Self::RetryLoop => "Renewals go round in circles",
            Self::MissingPermissions => "Permissions are missing",
            Self::ServerErrorsAtLogin => "The authorization server fails",
            Self::ExpiredToken401 => "Tokens are used until the API refuses them",
            Self::Unexplained401 => "There are 401s that this log does not explain",
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenEviction => "token-eviction",
            Self::JavaSdkNullCredentials => "java-sdk-null-credentials",
            Self::RefreshTokenReuse => "refresh-token-reuse",
            Self::MarginExceedsLifetime => "margin-exceeds-lifetime",
            Self::ClockSkew => "clock-skew",
            Self::ApiRateLimit => "api-rate-limit",
            Self::DuplicateTokenRequests => "duplicate-token-requests",
            Self::RenewalStorm => "renewal-storm",
            Self::MinuteClustering => "minute-clustering",
            Self::LoginThrottled => "login-throttled",
            Self::StaleToken401 => "stale-token-401",
            Self::RefreshTokenWithoutGrant => "refresh-token-without-grant",
            Self::ClientRefused => "client-refused",
            Self::RetryLoop => "retry-loop",
            Self::MissingPermissions => "missing-permissions",
            Self::ServerErrorsAtLogin => "server-errors-at-login",
            Self::ExpiredToken401 => "expired-token-401",
            Self::Unexplained401 => "unexplained-401",
        }
    }
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Wasteful, or a risk.
    Low,
    /// Requests fail and recover.
    Medium,
    /// Requests fail and go on failing.
    High,
}

/// Something that is wrong, with its evidence.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: Id,
    pub(crate) severity: Severity,
    /// 0 to 1.
    pub(crate) confidence: f64,
    pub(crate) summary: String,
    /// How often it was seen.
    pub(crate) count: u64,
    pub(crate) examples: Vec<Example>,
    pub(crate) advice: String,
}

/// What is known of the whole log when a detector is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overall<'a> {
    pub(crate) totals: &'a Totals,
    /// Callers or tokens that got a token, where the log can tell.
    pub(crate) holders: usize,
    /// Milliseconds, if an answer said so.
    pub(crate) lifetime: Option<i64>,
}

impl Overall<'_> {
    /// Something failed that has to do with tokens.
    pub(crate) fn is_troubled(&self) -> bool {
        self.totals.status_401 + self.totals.status_429 + self.totals.token_failures > 0
    }

    /// Milliseconds from the first request to the last.
    pub(crate) fn span(&self) -> i64 {
        match (self.totals.first, self.totals.last) {
            (Some(first), Some(last)) => last.since(first).max(1),
            (None, _) | (_, None) => 1,
        }
    }
}

/// Watches for one thing.
pub(crate) trait Detector: std::fmt::Debug {
    /// Sees the next request.
    fn observe(&mut self, seen: &Observation, now: &Situation);

    /// Another run of the test begins: time starts again, and nobody has a token.
    fn begin_run(&mut self) {}

    /// What was found so far.
    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>);
}

/// One of each.
pub(crate) fn detectors() -> Vec<Box<dyn Detector>> {
    vec![
        Box::new(early_deaths::EarlyDeaths::default()),
        Box::new(java_sdk_null_credentials::NullCredentials::default()),
        Box::new(refresh_token_reuse::RefreshTokenReuse::default()),
        Box::new(margin_exceeds_lifetime::MarginExceedsLifetime::default()),
        Box::new(clock_skew::ClockSkew::default()),
        Box::new(api_rate_limit::ApiRateLimit::default()),
        Box::new(duplicate_token_requests::DuplicateTokenRequests::default()),
        Box::new(renewal_storm::RenewalStorm::default()),
        Box::new(minute_clustering::MinuteClustering::default()),
        Box::new(login_throttled::LoginThrottled::default()),
        Box::new(stale_token_401::StaleToken::default()),
        Box::new(refresh_token_without_grant::WithoutGrant::default()),
        Box::new(client_refused::ClientRefused::default()),
        Box::new(retry_loop::RetryLoop::default()),
        Box::new(missing_permissions::MissingPermissions::default()),
        Box::new(server_errors_at_login::ServerErrors::default()),
    ]
}

/// Everything found, the likeliest cause first.
///
/// In causal order; a mere guess goes behind what is certain, and what nothing explains is told
/// only where nothing explains it.
pub(crate) fn found(detectors: &[Box<dyn Detector>], overall: &Overall<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for detector in detectors {
        detector.tell(overall, &mut found);
    }
    unexplained_401::tell(overall, &mut found);
    found.sort_by_key(|found| (found.confidence < 0.5, found.id));
    found
}

/// A share as a whole percentage.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    (part * 100 + whole / 2).checked_div(whole).unwrap_or_default()
}

/// A length of time as a person would say it.
pub(crate) fn span(milliseconds: i64) -> String {
    match milliseconds {
        ms if ms < 1_000 => format!("{ms} ms"),
        ms if ms < 10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms if ms < 180_000 => format!("{} s", (ms + 500) / 1000),
        ms if ms < 10_800_000 => format!("{} min", (ms + 30_000) / 60_000),
        ms => format!("{} h", (ms + 1_800_000) / 3_600_000),
    }
}
