//! The ledger: every request that reached the organisation, and what it thought of it.
//!
//! It is the judge in tests, so it never holds a token: tokens appear as serial numbers, which
//! count access tokens and refresh tokens apart.

use std::collections::VecDeque;
use std::sync::Arc;

use bellwether_lifecycle::{Timestamp, UnixTime};
use serde::{Deserialize, Serialize, Serializer};

/// Which door a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// The token endpoint, `/oauth/token` (RFC 6749 §3.2).
    Token,
    /// The revocation endpoint, `/oauth/revoke` (RFC 7009).
    Revocation,
    /// The introspection endpoint, `/introspect` (RFC 7662).
    Introspection,
    /// The authorization endpoint, `/oauth/authorize` (RFC 6749 §3.1).
    Authorization,
    /// The device authorization endpoint, `/oauth/device_authorization` (RFC 8628), and the page
    /// where the user decides, `/oauth/device`.
    DeviceAuthorization,
    /// `/.well-known/oauth-authorization-server` (RFC 8414).
    Metadata,
    /// The resource server, `/api/…`.
    Api,
    /// Any other path.
    Elsewhere,
}

impl Endpoint {
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/oauth/token" => Self::Token,
            "/oauth/revoke" => Self::Revocation,
            "/introspect" | "/oauth/introspect" => Self::Introspection,
            "/oauth/authorize" => Self::Authorization,
            "/oauth/device_authorization" | "/oauth/device" => Self::DeviceAuthorization,
            "/.well-known/oauth-authorization-server" => Self::Metadata,
            _ if path.starts_with("/api/") => Self::Api,
            _ => Self::Elsewhere,
        }
    }
}

/// The grant of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 6749 §4.1.
    AuthorizationCode,
    /// RFC 8628.
    DeviceCode,
}

/// What the organisation thought of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Issued an access token.
    Issued,
    /// Answered with tokens that were issued before.
    Reissued,
    /// The client is unknown or its secret wrong.
    RefusedClient,
    /// The refresh token is unknown, expired, revoked or another client's.
    RefusedGrant,
    /// The refresh token is spent; its class allows no further use.
    Reused,
    /// The request cannot be understood.
    Malformed,
    /// The grant is not offered.
    UnsupportedGrant,
    /// Too many logins.
    Throttled,
    /// Revoked what it was shown, or had nothing to revoke.
    Revoking,
    /// Told about a token.
    Introspected,
    /// The user consented, or a device may ask whether the user does.
    Authorized,
    /// The user has not decided yet.
    Undecided,
    /// Told about itself.
    Described,
    /// The API took the token.
    Accepted,
    /// The token's lifetime is over.
    Expired,
    /// The cap had ended the token.
    Evicted,
    /// The token was revoked.
    Revoked,
    /// The token is too new for the API to know it.
    NotYetKnown,
    /// The token was not issued here.
    Unknown,
    /// No token was shown.
    NoToken,
    /// The token is used too often.
    RateLimited,
    /// Nothing is at this path.
    NotFound,
    /// A fault came first; nothing was processed.
    Unprocessed,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When it arrived, in nanoseconds since boot.
    #[serde(rename = "at_ns", serialize_with = "as_nanos")]
    pub at: Timestamp,
    /// When it arrived by the wall clock, in milliseconds.
    #[serde(rename = "wall_ms", serialize_with = "as_millis")]
    pub wall: UnixTime,
    /// Which door it came to.
    pub endpoint: Endpoint,
    /// Its path without the query, for the API alone.
    pub path: Option<Box<str>>,
    /// Its grant, at the token endpoint.
    pub grant: Option<Grant>,
    /// Its client, or the client of its token.
    pub client: Option<Arc<str>>,
    /// Serial number of the token it showed: a refresh token at the token endpoint, an access
    /// token at the API.
    pub shown: Option<u64>,
    /// Serial number of the access token in the response.
    pub access: Option<u64>,
    /// Serial number of the refresh token in the response.
    pub refresh: Option<u64>,
    /// What the organisation thought of it.
    pub verdict: Verdict,
    /// Whether a fault shaped what the caller saw.
    pub faulted: bool,
    /// The status that the caller got; `None` if it got no whole answer.
    pub status: Option<u16>,
}

fn as_nanos<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(at.as_nanos())
}

fn as_millis<S: Serializer>(wall: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(wall.as_millis())
}

/// Counts of everything since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests at the token endpoint.
    pub token_requests: u64,
    /// Those of them with the grant `refresh_token`.
    pub refresh_requests: u64,
    /// Access tokens issued.
    pub tokens_issued: u64,
    /// Live access tokens that the cap ended.
    pub tokens_evicted: u64,
    /// Access tokens live now.
    pub live_tokens: u64,
    /// How often the most used refresh token was shown, processed or not.
    pub refresh_uses: u64,
    /// Refresh requests refused because the token was spent.
    pub refresh_reused: u64,
    /// Families that reuse revoked.
    pub families_revoked: u64,
    /// Requests refused because of the client.
    pub refused_clients: u64,
    /// Token requests refused because there were too many.
    pub throttled_logins: u64,
    /// Requests at the API.
    pub api_requests: u64,
    /// Those that the API took.
    pub api_accepted: u64,
    /// API requests with a token that the cap had ended.
    pub api_evicted: u64,
    /// API requests with a token whose lifetime was over.
    pub api_expired: u64,
    /// 401 at any endpoint.
    pub status_401: u64,
    /// 429 at any endpoint.
    pub status_429: u64,
    /// 5xx at any endpoint.
    pub status_5xx: u64,
    /// Requests that got no whole answer.
    pub unanswered: u64,
}

/// All requests: the newest as entries, every one in the totals.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    kept: usize,
    pub(crate) totals: Totals,
}

impl Ledger {
    pub(crate) fn keeping(kept: usize) -> Self {
        Self { kept, ..Self::default() }
    }

    pub(crate) const fn keeps_entries(&self) -> bool {
        self.kept > 0
    }

    /// The newest entries, oldest of them first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter()
    }

    pub(crate) fn record(&mut self, entry: Entry) {
        self.count(entry.endpoint, entry.grant, entry.verdict, entry.status);
        if self.kept == 0 {
            return;
        }
        while self.entries.len() >= self.kept {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Counts a request that leaves no entry.
    pub(crate) fn count(
        &mut self,
        endpoint: Endpoint,
        grant: Option<Grant>,
        verdict: Verdict,
        status: Option<u16>,
    ) {
        let totals = &mut self.totals;
        totals.token_requests += u64::from(endpoint == Endpoint::Token);
        totals.refresh_requests += u64::from(grant == Some(Grant::RefreshToken));
        totals.api_requests += u64::from(endpoint == Endpoint::Api);
        match verdict {
            Verdict::Issued => totals.tokens_issued += 1,
            Verdict::RefusedClient => totals.refused_clients += 1,
            Verdict::Reused => totals.refresh_reused += 1,
            Verdict::Throttled => totals.throttled_logins += 1,
            Verdict::Accepted => totals.api_accepted += 1,
            Verdict::Evicted => totals.api_evicted += 1,
            Verdict::Expired => totals.api_expired += 1,
            Verdict::Reissued
            | Verdict::RefusedGrant
            | Verdict::Malformed
            | Verdict::UnsupportedGrant
            | Verdict::Revoking
            | Verdict::Introspected
            | Verdict::Authorized
            | Verdict::Undecided
            | Verdict::Described
            | Verdict::Revoked
            | Verdict::NotYetKnown
            | Verdict::Unknown
            | Verdict::NoToken
            | Verdict::RateLimited
            | Verdict::NotFound
            | Verdict::Unprocessed => {}
        }
        match status {
            None => totals.unanswered += 1,
            Some(401) => totals.status_401 += 1,
            Some(429) => totals.status_429 += 1,
            Some(500..) => totals.status_5xx += 1,
            Some(_) => {}
        }
    }
}
