//! The token endpoint, `/oauth/token` (RFC 6749 §3.2).

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};

use crate::access_token::Lineage;
use crate::client::ClientNumber;
use crate::ledger::{Grant, Verdict};
use crate::login_limit::{Logins, Refusal};
use crate::message::{Request, Response};
use crate::organisation::{Organisation, Processed, Refused, form_fields, malformed, oauth_error};
use crate::profile::ExpiresIn;
use crate::refresh_token::{Pair, Redemption};
use crate::rotation::{Reuse, Rotation};
use crate::token_text::Kind;

/// The grant with this `grant_type`, if it is offered.
pub(crate) fn grant(grant_type: &str) -> Option<Grant> {
    match grant_type {
        "client_credentials" => Some(Grant::ClientCredentials),
        "refresh_token" => Some(Grant::RefreshToken),
        "authorization_code" => Some(Grant::AuthorizationCode),
        "urn:ietf:params:oauth:grant-type:device_code" => Some(Grant::DeviceCode),
        _ => None,
    }
}

/// Which limit a login met.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Throttled {
    /// The report's crowd at second 0.
    MinuteMark,
    /// The client's own.
    Limit { refusal: Refusal, remaining: Duration },
}

/// What a successful response carries.
pub(crate) struct Issue {
    pub(crate) access: u64,
    pub(crate) refresh: Option<u64>,
    pub(crate) verdict: Verdict,
}

impl Organisation {
    pub(crate) fn token(&mut self, now: Timestamp, wall: UnixTime, request: &Request) -> Processed {
        if request.method != "POST" {
            let response = oauth_error(405, "invalid_request", "only POST is allowed");
            return Processed::new(Verdict::Malformed, response.header("allow", "POST"));
        }
        let Some(fields) = form_fields(&request.body) else {
            return malformed("a parameter is repeated").into();
        };
        let grant_type = fields.get("grant_type").map_or("", String::as_str);
        let grant = grant(grant_type);
        let refresh_token = fields.get("refresh_token").map_or("", String::as_str);
        let shown = self.read_refresh_token(refresh_token);
        let shown = shown.filter(|_| grant == Some(Grant::RefreshToken));
        if let Some(serial) = shown {
            self.note_shown(serial);
        }
        let processed = match self.authenticate(request, &fields) {
            Err(refused) => refused.into(),
            Ok(client) => {
                let issued = self.throttle(now, wall, client).and_then(|()| match grant {
                    Some(Grant::ClientCredentials) => Ok(self.client_credentials(now, client)),
                    Some(Grant::RefreshToken) => self.refresh(now, client, shown),
                    Some(Grant::AuthorizationCode) => self.redeem_code(now, client, &fields),
                    Some(Grant::DeviceCode) => self.redeem_device_code(now, client, &fields),
                    None if grant_type.is_empty() => Err(malformed("grant_type is missing")),
                    None => Err(unsupported_grant()),
                });
                let answer = issued.map(|issue| self.grant_tokens(now, &fields, &issue));
                answer.unwrap_or_else(Processed::from).by(client)
            }
        };
        Processed { grant, shown, ..processed }
    }

    fn throttle(
        &mut self,
        now: Timestamp,
        wall: UnixTime,
        client: ClientNumber,
    ) -> Result<(), Refused> {
        self.limit_logins(now, wall, client).map_err(|throttled| {
            let response = match throttled {
                Throttled::MinuteMark => reported_response(),
                Throttled::Limit { refusal, remaining } => throttled_response(refusal, remaining),
            };
            Refused { verdict: Verdict::Throttled, response }
        })
    }

    /// Counts a login against its client's limits.
    pub(crate) fn limit_logins(
        &mut self,
        now: Timestamp,
        wall: UnixTime,
        client: ClientNumber,
    ) -> Result<(), Throttled> {
        if self.logins.len() <= client {
            self.logins.resize_with(client + 1, Logins::default);
        }
        let logins = &mut self.logins[client];
        let mark = self.profile.minute_mark.as_ref();
        if mark.is_some_and(|mark| logins.crowded(mark, now, wall)) {
            return Err(Throttled::MinuteMark);
        }
        let Some(limit) = &self.profile.login_limit else {
            return Ok(());
        };
        let refusal = limit.refusal;
        logins.take(limit, now).map_err(|remaining| Throttled::Limit { refusal, remaining })
    }

    pub(crate) fn client_credentials(&mut self, now: Timestamp, client: ClientNumber) -> Issue {
        if self.profile.reissue_live_token
            && let Some(access) = self.access_tokens.newest(now, client)
        {
            return Issue { access, refresh: None, verdict: Verdict::Reissued };
        }
        let with_refresh = self.profile.refresh_token_with_client_credentials;
        let refresh = with_refresh.then(|| self.issue_refresh(now, client, None));
        let lineage = refresh.map(|family| Lineage { presented: None, family });
        let access = self.issue_access(now, client, lineage);
        Issue { access, refresh, verdict: Verdict::Issued }
    }

    /// The first tokens of a family.
    pub(crate) fn first_pair(&mut self, now: Timestamp, client: ClientNumber) -> Issue {
        let family = self.issue_refresh(now, client, None);
        let access = self.issue_access(now, client, Some(Lineage { presented: None, family }));
        Issue { access, refresh: Some(family), verdict: Verdict::Issued }
    }

    fn refresh(
        &mut self,
        now: Timestamp,
        client: ClientNumber,
        shown: Option<u64>,
    ) -> Result<Issue, Refused> {
        let status = self.profile.refused_grant_status;
        let refused = |verdict| {
            let description = "refresh token is invalid, expired or revoked";
            Refused { verdict, response: oauth_error(status, "invalid_grant", description) }
        };
        let serial = shown.ok_or_else(|| refused(Verdict::RefusedGrant))?;
        let rotation = self.profile.rotation;
        match self.refresh_tokens.redeem(now, serial, client, rotation) {
            Redemption::Refused => Err(refused(Verdict::RefusedGrant)),
            Redemption::Reused => {
                if self.profile.reuse == Reuse::RevokesFamily && self.revoke_family_of(now, serial)
                {
                    self.note_revoked_family();
                }
                Err(refused(Verdict::Reused))
            }
            Redemption::Unchanged => {
                let access = self.refreshed_access(now, client, serial);
                let refresh = self.profile.repeat_refresh_token.then_some(serial);
                Ok(Issue { access, refresh, verdict: Verdict::Issued })
            }
            Redemption::SamePair(Pair { access, refresh }) => {
                Ok(Issue { access, refresh: Some(refresh), verdict: Verdict::Reissued })
            }
            Redemption::NewPair { ends } => {
                if let Some(pair) = ends {
                    self.access_tokens.revoke(now, pair.access);
                    self.refresh_tokens.revoke(pair.refresh);
                }
                let access = self.refreshed_access(now, client, serial);
                let refresh = self.issue_refresh(now, client, Some(serial));
                self.refresh_tokens.issued(serial, Pair { access, refresh });
                Ok(Issue { access, refresh: Some(refresh), verdict: Verdict::Issued })
            }
        }
    }

    fn refreshed_access(&mut self, now: Timestamp, client: ClientNumber, presented: u64) -> u64 {
        let family = self.refresh_tokens.family(presented).unwrap_or(presented);
        if self.profile.refresh_ends_access_token {
            self.access_tokens.revoke_family(now, client, family);
        }
        // A class that waits for acknowledgement ends it by the first use of what came of it.
        let waits = self.profile.rotation == Rotation::UntilAcknowledged;
        let lineage = Lineage { presented: waits.then_some(presented), family };
        self.issue_access(now, client, Some(lineage))
    }

    fn issue_access(
        &mut self,
        now: Timestamp,
        client: ClientNumber,
        lineage: Option<Lineage>,
    ) -> u64 {
        let lives = (now, now + self.profile.access_token_lifetime);
        let cap = self.profile.live_tokens_per_client;
        let (serial, evicted) = self.access_tokens.issue(lives, client, lineage, cap);
        self.note_eviction(evicted);
        serial
    }

    /// What the response says about a token's lifetime, in seconds.
    pub(crate) fn expires_in(&mut self, now: Timestamp, serial: u64) -> Option<u64> {
        match self.profile.expires_in {
            ExpiresIn::Truthful => {
                let token = self.access_tokens.get(serial);
                Some(token.map_or(0, |token| now.until(token.expires_at).as_secs()))
            }
            ExpiresIn::Claimed(seconds) => Some(seconds),
            ExpiresIn::Omitted => None,
        }
    }

    fn grant_tokens(
        &mut self,
        now: Timestamp,
        fields: &BTreeMap<String, String>,
        issue: &Issue,
    ) -> Processed {
        let access = self.text.write(Kind::Access, issue.access);
        let mut body = serde_json::json!({ "access_token": access, "token_type": "bearer" });
        if let Some(seconds) = self.expires_in(now, issue.access) {
            body["expires_in"] = seconds.into();
        }
        if let Some(serial) = issue.refresh {
            body["refresh_token"] = self.write_refresh_token(serial).into();
        }
        if let Some(scope) = fields.get("scope") {
            body["scope"] = scope.as_str().into();
        }
        let response = Response::json(200, body.to_string().into_bytes());
        Processed {
            access: Some(issue.access),
            refresh: issue.refresh,
            ..Processed::new(issue.verdict, response.header("cache-control", "no-store"))
        }
    }
}

fn unsupported_grant() -> Refused {
    let response = oauth_error(400, "unsupported_grant_type", "the grant is not offered");
    Refused { verdict: Verdict::UnsupportedGrant, response }
}

/// The answer that the report quotes.
fn reported_response() -> Response {
    let body = concat!(
        r#"{"code":"bad_request","#,
        r#""message":"The refresh token is invalid or expired","status":401}"#
    );
    Response::json(401, body.as_bytes().to_vec())
}

fn throttled_response(refusal: Refusal, remaining: Duration) -> Response {
    let status = refusal.status();
    let response = match refusal {
        Refusal::InvalidRequest => oauth_error(
            status,
            "invalid_request",
            "rate limit exceeded; too many token requests for this client",
        ),
        Refusal::AccessDenied => {
            oauth_error(status, "access_denied", "Global limit has been reached")
        }
        Refusal::TooManyRequests => {
            oauth_error(status, "temporarily_unavailable", "too many token requests")
        }
        Refusal::PlainText => {
            let response =
                Response { status, headers: Vec::new(), body: b"Too Many Requests".to_vec() };
            response.header("content-type", "text/plain")
        }
    };
    match refusal.retry_after_seconds(remaining) {
        Some(seconds) => response.header("retry-after", &seconds.to_string()),
        None => response,
    }
}
