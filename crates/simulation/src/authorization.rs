//! How a client comes to its first refresh token: the authorization endpoint (RFC 6749 §3.1) with PKCE
//! (RFC 7636), the device authorization endpoint (RFC 8628), and the metadata that names them
//! (RFC 8414).
//!
//! The user is simulated too: who comes with a browser consents at once, unless the scope asks for
//! `denied`; who has a device code decides by visiting `/oauth/device?user_code=…`, with
//! `&decision=deny` if so.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwether_lifecycle::Timestamp;
use form_urlencoded::{Serializer, parse};
use ring::digest::{SHA256, digest};

use crate::client::ClientNumber;
use crate::ledger::Verdict;
use crate::message::{Request, Response};
use crate::organisation::{Organisation, Processed, Refused, form_fields, malformed, oauth_error};
use crate::token_endpoint::Issue;
use crate::token_text::Kind;

const CODE_LIFETIME: Duration = Duration::from_secs(60);
const DEVICE_CODE_LIFETIME: Duration = Duration::from_secs(600);
/// What a device is told to wait between token requests.
const INTERVAL: Duration = Duration::from_secs(1);

/// Codes that wait to be exchanged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authorizations {
    codes: Vec<Code>,
    devices: Vec<Device>,
}

#[derive(Clone, Debug)]
struct Code {
    client: ClientNumber,
    redirect_uri: String,
    challenge: String,
    expires_at: Timestamp,
    /// The refresh token it gave; a second use ends its family (RFC 6749 §4.1.2).
    given: Option<u64>,
}

#[derive(Clone, Debug)]
struct Device {
    client: ClientNumber,
    expires_at: Timestamp,
    decision: Option<Decision>,
    asked_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    Denied,
    Used,
}

impl Organisation {
    /// Sends the browser back with a code, or with an error.
    pub(crate) fn authorize(&mut self, now: Timestamp, request: &Request) -> Processed {
        let query = request.path.split_once('?').map_or("", |(_, query)| query);
        let Some(fields) = form_fields(query.as_bytes()) else {
            return malformed("a parameter is repeated").into();
        };
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let redirect_uri = field("redirect_uri");
        let on_loopback = ["http://127.0.0.1:", "http://localhost:"];
        let client = self.clients.find(field("client_id"));
        let (Some(client), true) =
            (client, on_loopback.iter().any(|begin| redirect_uri.starts_with(begin)))
        else {
            // An answer that nobody asked for is not sent anywhere.
            return malformed("unknown client or redirect_uri").into();
        };
        let challenge = field("code_challenge");
        let answer = if field("response_type") != "code" {
            Err("unsupported_response_type")
        } else if field("code_challenge_method") != "S256" || challenge.is_empty() {
            Err("invalid_request")
        } else if field("scope").split(' ').any(|token| token == "denied") {
            Err("access_denied")
        } else {
            self.authorizations.codes.push(Code {
                client,
                redirect_uri: redirect_uri.to_owned(),
                challenge: challenge.to_owned(),
                expires_at: now + CODE_LIFETIME,
                given: None,
            });
            Ok(self.text.write(Kind::Code, self.authorizations.codes.len() as u64 - 1))
        };
        let mut back = Serializer::new(format!("{redirect_uri}?"));
        let verdict = match &answer {
            Ok(code) => {
                back.append_pair("code", code);
                Verdict::Authorized
            }
            Err(error) => {
                back.append_pair("error", error);
                Verdict::RefusedGrant
            }
        };
        back.append_pair("state", field("state")).append_pair("iss", &issuer(request));
        let response = Response { status: 302, headers: Vec::new(), body: Vec::new() };
        let response = response.header("location", &back.finish());
        Processed::new(verdict, response.header("cache-control", "no-store")).by(client)
    }

    /// Tells a device what the user is to do.
    pub(crate) fn authorize_device(&mut self, now: Timestamp, request: &Request) -> Processed {
        let Some(fields) = form_fields(&request.body) else {
            return malformed("a parameter is repeated").into();
        };
        let client = match self.authenticate(request, &fields) {
            Ok(client) => client,
            Err(refused) => return refused.into(),
        };
        let serial = self.authorizations.devices.len() as u64;
        let expires_at = now + DEVICE_CODE_LIFETIME;
        let device = Device { client, expires_at, decision: None, asked_at: None };
        self.authorizations.devices.push(device);
        let body = serde_json::json!({
            "device_code": self.text.write(Kind::Device, serial),
            "user_code": format!("SIMU-{serial:04}"),
            "verification_uri": format!("{}/oauth/device", issuer(request)),
            "expires_in": DEVICE_CODE_LIFETIME.as_secs(),
            "interval": INTERVAL.as_secs(),
        });
        let response = Response::json(200, body.to_string().into_bytes());
        Processed::new(Verdict::Authorized, response).by(client)
    }

    /// The page where the user decides.
    pub(crate) fn decide_device(&mut self, request: &Request) -> Processed {
        let query = request.path.split_once('?').map_or("", |(_, query)| query);
        let fields: BTreeMap<_, _> = parse(query.as_bytes()).collect();
        let serial = fields.get("user_code").and_then(|code| code.strip_prefix("SIMU-"));
        let serial = serial.and_then(|serial| serial.parse::<usize>().ok());
        let device = serial.and_then(|serial| self.authorizations.devices.get_mut(serial));
        let Some(device) = device else { return malformed("unknown user code").into() };
        let denied = fields.get("decision").is_some_and(|decision| decision == "deny");
        device.decision = Some(if denied { Decision::Denied } else { Decision::Allowed });
        let client = device.client;
        Processed::new(Verdict::Authorized, Response::json(200, b"{}".to_vec())).by(client)
    }

    /// Where everything is, as seen from whoever asks.
    pub(crate) fn metadata(request: &Request) -> Processed {
        let issuer = issuer(request);
        let at = |path: &str| format!("{issuer}{path}");
        let body = serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": at("/oauth/authorize"),
            "token_endpoint": at("/oauth/token"),
            "device_authorization_endpoint": at("/oauth/device_authorization"),
            "revocation_endpoint": at("/oauth/revoke"),
            "introspection_endpoint": at("/oauth/introspect"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        Processed::new(Verdict::Described, Response::json(200, body.to_string().into_bytes()))
    }

    /// Exchanges a code.
    pub(crate) fn redeem_code(
        &mut self,
        now: Timestamp,
        client: ClientNumber,
        fields: &BTreeMap<String, String>,
    ) -> Result<Issue, Refused> {
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let index = self.text.read(Kind::Code, field("code"));
        let index = index.and_then(|serial| usize::try_from(serial).ok());
        let verifier = URL_SAFE_NO_PAD.encode(digest(&SHA256, field("code_verifier").as_bytes()));
        let code = index.and_then(|index| self.authorizations.codes.get(index)).filter(|code| {
            code.client == client
                && code.redirect_uri == field("redirect_uri")
                && code.challenge == verifier
                && now < code.expires_at
        });
        match (index, code.map(|code| code.given)) {
            (Some(index), Some(None)) => {
                let issue = self.first_pair(now, client);
                self.authorizations.codes[index].given = issue.refresh;
                Ok(issue)
            }
            (_, Some(Some(given))) => {
                self.revoke_family_of(now, given);
                Err(refused(Verdict::Reused, "invalid_grant"))
            }
            (_, None) | (None, Some(None)) => Err(refused(Verdict::RefusedGrant, "invalid_grant")),
        }
    }

    /// Answers a device that asks whether the user has decided.
    pub(crate) fn redeem_device_code(
        &mut self,
        now: Timestamp,
        client: ClientNumber,
        fields: &BTreeMap<String, String>,
    ) -> Result<Issue, Refused> {
        let text = fields.get("device_code").map_or("", String::as_str);
        let serial = self.text.read(Kind::Device, text);
        let index = serial.and_then(|serial| usize::try_from(serial).ok());
        let device = index.and_then(|index| self.authorizations.devices.get_mut(index));
        let Some(device) = device.filter(|device| device.client == client) else {
            return Err(refused(Verdict::RefusedGrant, "invalid_grant"));
        };
        let too_soon = device.asked_at.is_some_and(|before| now < before + INTERVAL);
        device.asked_at = Some(now);
        if now >= device.expires_at {
            return Err(refused(Verdict::RefusedGrant, "expired_token"));
        }
        match device.decision {
            None if too_soon => Err(refused(Verdict::Throttled, "slow_down")),
            None => Err(refused(Verdict::Undecided, "authorization_pending")),
            Some(Decision::Denied) => Err(refused(Verdict::RefusedGrant, "access_denied")),
            Some(Decision::Used) => Err(refused(Verdict::Reused, "invalid_grant")),
            Some(Decision::Allowed) => {
                device.decision = Some(Decision::Used);
                Ok(self.first_pair(now, client))
            }
        }
    }
}

/// Under which name it was called.
fn issuer(request: &Request) -> String {
    format!("http://{}", request.header_value("host").unwrap_or("127.0.0.1"))
}

fn refused(verdict: Verdict, error: &str) -> Refused {
    Refused { verdict, response: oauth_error(400, error, "the simulated user has not consented") }
}
