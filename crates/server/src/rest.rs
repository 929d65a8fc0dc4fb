//! `/bellwether/v1/credentials/NAME/…`: a credential for callers that know us.

use bellwether_broker::lifecycle::UnixTime;
use bellwether_broker::oauth::{Scope, Secret};
use bellwether_broker::{Refusal as Refused, Token};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Refusal, empty, json};
use crate::callers::{Mark, Offered};
use crate::connection::Peer;
use crate::gateway::Gateway;
use crate::passes::LeadsTo;
use crate::settings::HandOut;
use crate::token_endpoint::{expires_in, no_token};

/// Where these paths begin.
pub(crate) const PREFIX: &str = "/bellwether/v1/credentials/";

/// Headers that only something between the caller and us would add.
const OF_PROXIES: [&str; 5] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

#[derive(Serialize)]
struct TokenBody<'a> {
    access_token: &'a str,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    generation: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejected {
    access_token: String,
}

impl Gateway {
    /// Answers below [`PREFIX`]; `rest` is what follows it.
    pub(crate) async fn credential(
        &self,
        method: &Method,
        rest: &str,
        headers: &HeaderMap,
        body: &Bytes,
        peer: &Peer,
    ) -> Answer {
        match self.try_credential(method, rest, headers, body, peer).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.into(),
        }
    }

    async fn try_credential(
        &self,
        method: &Method,
        rest: &str,
        headers: &HeaderMap,
        body: &Bytes,
        peer: &Peer,
    ) -> Result<Answer, Refusal> {
        if OF_PROXIES.iter().any(|name| headers.contains_key(*name)) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "forwarded_request",
                "requests that came through a proxy are not answered here",
            ));
        }
        let identity = self.callers.identify(headers, peer)?;
        let (name, what) = rest.split_once('/').ok_or_else(Refusal::not_found)?;
        let offered = identity.caller.credential(Some(name))?;
        let mark = identity.mark;
        match (method, what) {
            (&Method::GET, "token") => {
                let token = offered.handle.hand_out().await;
                let token = token.map_err(|none| no_token(&none, &offered.vendor))?;
                Ok(self.token_answer(offered, mark, &token))
            }
            (&Method::GET, "authorization") => {
                let token = offered.handle.token().await;
                let token = token.map_err(|none| no_token(&none, &offered.vendor))?;
                let mut answer = empty(StatusCode::NO_CONTENT);
                let value = self.authorization(offered, mark, &token);
                answer.headers_mut().insert(AUTHORIZATION, value);
                Ok(answer)
            }
            (&Method::POST, "rejected") => self.rejected(offered, mark, headers, body).await,
            (_, "token" | "authorization" | "rejected") => Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "GET token and authorization, POST rejected",
            )),
            _ => Err(Refusal::not_found()),
        }
    }

    /// "This one was refused": renews only if it is still held; answers with the one to use now.
    async fn rejected(
        &self,
        offered: &Offered,
        mark: Mark,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        if !is_json(headers) {
            return Err(Refusal::invalid_request("the body must be application/json"));
        }
        let rejected: Rejected = serde_json::from_slice(body)
            .map_err(|_| Refusal::invalid_request("the body must be {\"access_token\": \"…\"}"))?;
        let text = Secret::from(rejected.access_token);
        let refused = |none| no_token(&none, &offered.vendor);
        let held = self.held_behind(offered, &text);
        let now = self.broker.clock().now();
        let token = match held {
            Some(held) => match offered.handle.refused(&held, now).await {
                Refused::Cure(newer) => newer,
                Refused::Stands => held,
                Refused::NoToken(none) => return Err(refused(none)),
            },
            None => offered.handle.hand_out().await.map_err(refused)?,
        };
        Ok(self.token_answer(offered, mark, &token))
    }

    /// The header a caller may send: where tokens are local, it is good at this gateway alone.
    fn authorization(&self, offered: &Offered, mark: Mark, token: &Token) -> HeaderValue {
        match self.settings.hand_out {
            HandOut::Real => token.authorization().clone(),
            HandOut::Local => {
                let local = self.passes.local_text(offered, Some(mark), token);
                let value = HeaderValue::from_str(&format!("Bearer {}", local.expose()));
                let mut value = value.unwrap_or(HeaderValue::from_static(""));
                value.set_sensitive(true);
                value
            }
        }
    }

    fn token_answer(&self, offered: &Offered, mark: Mark, token: &Token) -> Answer {
        let local;
        let access_token = match self.settings.hand_out {
            HandOut::Real => {
                self.passes.issue_held(token, Some(mark), offered);
                token.access_token()
            }
            HandOut::Local => {
                local = self.passes.local_text(offered, Some(mark), token);
                self.passes.issue(&local, Some(mark), || LeadsTo::Credential(offered.clone()));
                &local
            }
        };
        let now = self.broker.clock().now();
        json(
            StatusCode::OK,
            &TokenBody {
                access_token: access_token.expose(),
                token_type: "Bearer",
                expires_in: expires_in(token, now),
                expires_at: token.expires_at().map(UnixTime::as_secs),
                scope: token.scope().map(Scope::as_str),
                generation: token.generation(),
            },
        )
    }
}

/// Whether the body says it is JSON: no form on a web page can.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
