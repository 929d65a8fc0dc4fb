//! The organisation: one door for every request, one ledger for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_lifecycle::{Timestamp, UnixTime};

use crate::access_token::AccessTokens;
use crate::authorization::Authorizations;
use crate::chance::Chance;
use crate::client::{AuthenticationError, ClientNumber, Clients};
use crate::fault::{Effect, Fault, Faults, Hit};
use crate::ledger::{Endpoint, Entry, Grant, Ledger, Totals, Verdict};
use crate::login_limit::Logins;
use crate::message::{Answer, Request, Response};
use crate::profile::Profile;
use crate::refresh_token::RefreshTokens;
use crate::token_text::{Kind, TokenText};

/// A simulated organisation: authorization server and resource server over the same tokens.
#[derive(Clone, Debug)]
pub struct Organisation {
    pub(crate) profile: Profile,
    pub(crate) clients: Clients,
    pub(crate) logins: Vec<Logins>,
    pub(crate) access_tokens: AccessTokens,
    pub(crate) refresh_tokens: RefreshTokens,
    pub(crate) authorizations: Authorizations,
    /// Latencies alone, so that they are the same whichever door requests come to.
    pub(crate) chance: Chance,
    pub(crate) identifiers: Chance,
    pub(crate) text: TokenText,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Faults,
}

/// A response and what the ledger is to say of it.
#[derive(Debug)]
pub(crate) struct Processed {
    pub(crate) response: Response,
    pub(crate) verdict: Verdict,
    pub(crate) grant: Option<Grant>,
    pub(crate) client: Option<ClientNumber>,
    pub(crate) shown: Option<u64>,
    pub(crate) access: Option<u64>,
    pub(crate) refresh: Option<u64>,
}

impl Processed {
    pub(crate) const fn new(verdict: Verdict, response: Response) -> Self {
        Self {
            response,
            verdict,
            grant: None,
            client: None,
            shown: None,
            access: None,
            refresh: None,
        }
    }

    pub(crate) const fn by(mut self, client: ClientNumber) -> Self {
        self.client = Some(client);
        self
    }

    pub(crate) const fn showing(mut self, serial: u64) -> Self {
        self.shown = Some(serial);
        self
    }
}

/// A response that refuses, before anything was issued.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) verdict: Verdict,
    pub(crate) response: Response,
}

impl From<Refused> for Processed {
    fn from(Refused { verdict, response }: Refused) -> Self {
        Self::new(verdict, response)
    }
}

/// Whole seconds for `Retry-After`: rounded up, never zero.
pub(crate) fn retry_after_seconds(remaining: std::time::Duration) -> u64 {
    (remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0)).max(1)
}

/// The fields of a form, each once.
pub(crate) fn form_fields(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        let may_repeat = matches!(&*name, "resource" | "audience");
        let earlier = fields.insert(name.into_owned(), value.into_owned());
        if earlier.is_some() && !may_repeat {
            return None;
        }
    }
    Some(fields)
}

impl Organisation {
    /// Opens the organisation. All its chance comes from `seed`.
    pub fn new(profile: Profile, seed: u64) -> Self {
        let mut clients = Clients::new(profile.accept_any_client);
        let mut refresh_tokens = RefreshTokens::default();
        for client in &profile.clients {
            let number = clients.register(&client.id, client.secret.clone());
            for refresh_token in &client.refresh_tokens {
                let expires_at = refresh_expiry(&profile, Timestamp::ZERO);
                let serial = refresh_tokens.issue(number, None, expires_at);
                refresh_tokens.give(refresh_token, serial);
            }
        }
        Self {
            ledger: Ledger::keeping(profile.ledger_entries),
            logins: Vec::new(),
            access_tokens: AccessTokens::default(),
            authorizations: Authorizations::default(),
            chance: Chance::new(seed),
            identifiers: Chance::new(!seed),
            text: TokenText::new(seed),
            faults: Faults::default(),
            profile,
            clients,
            refresh_tokens,
        }
    }

    /// Processes a request that arrives `now`. Arrivals come in the order of time.
    pub fn handle(&mut self, now: Timestamp, wall: UnixTime, request: &Request) -> Answer {
        let endpoint = Endpoint::of(request.path_only());
        let latency = match endpoint {
            Endpoint::Api => self.profile.api_latency,
            Endpoint::Token
            | Endpoint::Revocation
            | Endpoint::Introspection
            | Endpoint::Authorization
            | Endpoint::DeviceAuthorization
            | Endpoint::Metadata
            | Endpoint::Elsewhere => self.profile.token_latency,
        };
        let latency = latency.draw(&mut self.chance);
        let hit = self.faults.hit(now, endpoint);
        let processed = if hit.processes() {
            self.process(now, wall, endpoint, request)
        } else {
            self.leave_unprocessed(&hit, endpoint, request)
        };
        self.settle(now, wall, endpoint, request, (latency, hit), processed)
    }

    /// The ledger.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The ledger's counts, and how many tokens are live `now`.
    pub fn totals(&self, now: Timestamp) -> Totals {
        Totals { live_tokens: self.access_tokens.live_count(now), ..self.ledger.totals }
    }

    /// How many access tokens are live `now`.
    pub fn live_tokens(&self, now: Timestamp) -> u64 {
        self.access_tokens.live_count(now)
    }

    /// The profile, to change a knob while the organisation runs. What concerns clients and the
    /// size of the ledger is read at the start alone.
    pub const fn profile_mut(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// Adds to the script of faults.
    pub fn add_fault(&mut self, fault: Fault) {
        self.faults.add(fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Changes a client's secret, or registers the client. Its tokens stay good.
    pub fn set_client_secret(&mut self, client_id: &str, secret: &str) {
        self.clients.register(client_id, Some(secret.to_owned()));
    }

    /// Revokes the live access tokens of a client, or of all, and says how many. Refresh tokens
    /// stay good.
    pub fn revoke_tokens(&mut self, now: Timestamp, client_id: Option<&str>) -> u64 {
        let numbers = self.client_numbers(client_id);
        numbers.into_iter().map(|number| self.access_tokens.revoke_all(now, number)).sum()
    }

    /// Revokes the refresh tokens of a client, or of all, and says how many. Access tokens stay
    /// good.
    pub fn revoke_refresh_tokens(&mut self, client_id: Option<&str>) -> u64 {
        let numbers = self.client_numbers(client_id);
        numbers.into_iter().map(|number| self.refresh_tokens.revoke_all(number)).sum()
    }

    /// Revokes an access token, or the whole family of a refresh token. Whether it was good.
    pub fn revoke_token(&mut self, now: Timestamp, token: &str) -> bool {
        if let Some(serial) = self.text.read(Kind::Access, token) {
            return self.access_tokens.revoke(now, serial);
        }
        self.read_refresh_token(token).is_some_and(|serial| self.revoke_family_of(now, serial))
    }

    /// Issues a refresh token, the first of a new family; `None` if there is no such client.
    pub fn issue_refresh_token(&mut self, now: Timestamp, client_id: &str) -> Option<String> {
        let number = self.clients.find(client_id)?;
        let expires_at = refresh_expiry(&self.profile, now);
        let serial = self.refresh_tokens.issue(number, None, expires_at);
        Some(self.write_refresh_token(serial))
    }

    pub(crate) fn issue_refresh(
        &mut self,
        now: Timestamp,
        client: ClientNumber,
        parent: Option<u64>,
    ) -> u64 {
        let expires_at = refresh_expiry(&self.profile, now);
        self.refresh_tokens.issue(client, parent, expires_at)
    }

    pub(crate) fn read_refresh_token(&self, token: &str) -> Option<u64> {
        self.refresh_tokens.given(token).or_else(|| self.text.read(Kind::Refresh, token))
    }

    pub(crate) fn write_refresh_token(&self, serial: u64) -> String {
        let given = self.refresh_tokens.given_text(serial);
        given.map_or_else(|| self.text.write(Kind::Refresh, serial), str::to_owned)
    }

    /// Ends the family of a refresh token, access tokens included. Whether it had a good one.
    pub(crate) fn revoke_family_of(&mut self, now: Timestamp, serial: u64) -> bool {
        let family = self.refresh_tokens.family(serial);
        let client = self.refresh_tokens.client(serial);
        let (Some(family), Some(client)) = (family, client) else {
            return false;
        };
        self.access_tokens.revoke_family(now, client, family);
        self.refresh_tokens.revoke_family(family)
    }

    pub(crate) fn note_eviction(&mut self, count: u64) {
        self.ledger.totals.tokens_evicted += count;
    }

    pub(crate) fn note_revoked_family(&mut self) {
        self.ledger.totals.families_revoked += 1;
    }

    /// Notes that a refresh token was shown, processed or not.
    pub(crate) fn note_shown(&mut self, serial: u64) {
        let uses = self.refresh_tokens.show(serial);
        let most = &mut self.ledger.totals.refresh_uses;
        *most = uses.max(*most);
    }

    /// The client of a form, or the answer that it deserves.
    pub(crate) fn authenticate(
        &mut self,
        request: &Request,
        fields: &BTreeMap<String, String>,
    ) -> Result<ClientNumber, Refused> {
        let refused_client = |description| {
            let response =
                oauth_error(self.profile.refused_client_status, "invalid_client", description);
            // RFC 6749 §5.2 asks for a challenge with a 401.
            let response = match response.status {
                401 => response.header("www-authenticate", "Basic realm=\"login\""),
                _ => response,
            };
            Refused { verdict: Verdict::RefusedClient, response }
        };
        match self.clients.authenticate(request, fields) {
            Ok(number) => Ok(number),
            Err(AuthenticationError::NotFound) => Err(refused_client("client not found")),
            Err(AuthenticationError::Failed) => Err(refused_client("authentication failed")),
            Err(AuthenticationError::Malformed) => Err(malformed("client authentication")),
        }
    }

    fn process(
        &mut self,
        now: Timestamp,
        wall: UnixTime,
        endpoint: Endpoint,
        request: &Request,
    ) -> Processed {
        match endpoint {
            Endpoint::Token => self.token(now, wall, request),
            Endpoint::Revocation => self.revocation(now, request),
            Endpoint::Introspection => self.introspection(now, request),
            Endpoint::Authorization => self.authorize(now, request),
            Endpoint::DeviceAuthorization if request.path_only() == "/oauth/device" => {
                self.decide_device(request)
            }
            Endpoint::DeviceAuthorization => self.authorize_device(now, request),
            Endpoint::Metadata => Self::metadata(request),
            Endpoint::Api => self.api(now, wall, request),
            Endpoint::Elsewhere => {
                let body = br#"{"message":"not found","code":"not.found","status":404}"#;
                Processed::new(Verdict::NotFound, Response::json(404, body.to_vec()))
            }
        }
    }

    /// Reads only what the ledger counts: a refresh token was on the wire.
    fn leave_unprocessed(&mut self, hit: &Hit, endpoint: Endpoint, request: &Request) -> Processed {
        let response = match (&hit.effect, endpoint) {
            (Some(Effect::AlwaysUnauthorized), Endpoint::Api) => {
                self.unauthorized(self.profile.unauthorized.revoked)
            }
            _ => oauth_error(401, "invalid_client", "authentication failed"),
        };
        let mut processed = Processed::new(Verdict::Unprocessed, response);
        if endpoint == Endpoint::Token {
            let fields = form_fields(&request.body).unwrap_or_default();
            let grant_type = fields.get("grant_type").map_or("", String::as_str);
            processed.grant = crate::token_endpoint::grant(grant_type);
            let token = fields.get("refresh_token");
            processed.shown = token.and_then(|token| self.read_refresh_token(token));
            if let Some(serial) = processed.shown {
                self.note_shown(serial);
                processed.client = self.refresh_tokens.client(serial);
            }
        }
        processed
    }

    fn settle(
        &mut self,
        at: Timestamp,
        wall: UnixTime,
        endpoint: Endpoint,
        request: &Request,
        (latency, hit): (std::time::Duration, Hit),
        processed: Processed,
    ) -> Answer {
        let after = latency + hit.delay;
        let faulted = hit.effect.is_some() || !hit.delay.is_zero();
        let outcome = hit.shape(processed.response);
        let keeps_path = endpoint == Endpoint::Api && self.ledger.keeps_entries();
        self.ledger.record(Entry {
            at,
            wall,
            endpoint,
            path: keeps_path.then(|| request.path_only().into()),
            grant: processed.grant,
            client: processed.client.map(|number| Arc::clone(self.clients.id(number))),
            shown: processed.shown,
            access: processed.access,
            refresh: processed.refresh,
            verdict: processed.verdict,
            faulted,
            status: outcome.response().map(|response| response.status),
        });
        Answer { after, outcome }
    }

    fn client_numbers(&self, client_id: Option<&str>) -> Vec<ClientNumber> {
        match client_id {
            Some(client_id) => self.clients.find(client_id).into_iter().collect(),
            None => (0..self.clients.count()).collect(),
        }
    }
}

fn refresh_expiry(profile: &Profile, now: Timestamp) -> Timestamp {
    profile.refresh_token_lifetime.map_or(Timestamp::NEVER, |lifetime| now + lifetime)
}

/// An error response of the authorization server (RFC 6749 §5.2); its texts are our own.
pub(crate) fn oauth_error(status: u16, error: &str, description: &str) -> Response {
    let body = serde_json::json!({
        "error": error,
        "description": description,
        "error_description": description,
    });
    Response::json(status, body.to_string().into_bytes()).header("cache-control", "no-store")
}

pub(crate) fn malformed(description: &str) -> Refused {
    let response = oauth_error(400, "invalid_request", description);
    Refused { verdict: Verdict::Malformed, response }
}
