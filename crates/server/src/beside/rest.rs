//! `/bellwether/v1/credentials/NAME/…`: a credential for callers that know us.

use bellwether_broker::lifecycle::UnixTime;
use bellwether_broker::oauth::{Scope, Secret};
use bellwether_broker::{Refusal as Refused, Token};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::authorization::{About, Asker};
use crate::answer::{Answer, empty, json};
use crate::callers::{CREDENTIAL, LeadsTo, Mark, Offered, Peer, is_trusted, was_forwarded};
use crate::gateway::Gateway;
use crate::message::is_json;
use crate::no_token::no_token;
use crate::refusal::Refusal;
use crate::settings::HandOut;

/// Where these paths begin.
pub(crate) const PREFIX: &str = "/bellwether/v1/credentials/";

/// Envoy removes the headers named in this one before it passes the request on.
const ENVOY_REMOVES: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Whether what follows [`PREFIX`] is a question with another request's path behind it.
pub(crate) fn is_about(rest: &str) -> bool {
    path_behind(rest).is_some()
}

/// The path that Envoy puts behind its question.
fn path_behind(rest: &str) -> Option<&str> {
    let (_, what) = rest.split_once('/')?;
    what.strip_prefix("authorization").filter(|path| path.starts_with('/'))
}

/// What a trusted proxy says of the request that it asks about.
fn about<'a>(rest: &'a str, method: &'a Method, headers: &'a HeaderMap) -> Option<About<'a>> {
    if let Some(path) = path_behind(rest) {
        return Some(About { method: method.as_str(), path });
    }
    let asks = rest.ends_with("/authorization");
    let header = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let (method, path) = (header("x-forwarded-method")?, header("x-forwarded-uri")?);
    asks.then_some(About { method, path })
}

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
        self.try_credential(method, rest, headers, body, peer).await.unwrap_or_else(Answer::from)
    }

    async fn try_credential(
        &self,
        method: &Method,
        rest: &str,
        headers: &HeaderMap,
        body: &Bytes,
        peer: &Peer,
    ) -> Result<Answer, Refusal> {
        let trusted = is_trusted(&self.settings.trusted_proxies, peer);
        if !trusted && was_forwarded(headers) {
            return Err(Refusal::forwarded());
        }
        let about = trusted.then(|| about(rest, method, headers)).flatten();
        let (name, what) = match rest.split_once('/') {
            Some((name, what)) => (name, Some(what)),
            None => (rest, None),
        };
        let asker = self.asker(headers, peer, Some(name), about)?;
        let what = what.ok_or_else(Refusal::not_found)?;
        match (method, what) {
            (&Method::GET, "token") => {
                let Asker { offered, mark } = &asker;
                let token = offered.handle.hand_out().await;
                let token = token.map_err(|none| no_token(&none, &offered.vendor))?;
                Ok(self.token_answer(offered, *mark, &token))
            }
            (&Method::GET, "authorization") => {
                self.to_be_sent(&asker, StatusCode::NO_CONTENT).await
            }
            // A proxy asks with the method of the request that it is asked about.
            (_, "authorization") if trusted => {
                self.to_be_sent(&asker, StatusCode::NO_CONTENT).await
            }
            // Only Envoy puts a path behind it, and it takes nothing but 200 for a yes.
            _ if is_about(rest) => {
                if !trusted {
                    return Err(Refusal::forwarded());
                }
                let mut answer = self.to_be_sent(&asker, StatusCode::OK).await?;
                let removed = HeaderValue::from(CREDENTIAL);
                answer.headers_mut().insert(ENVOY_REMOVES, removed);
                Ok(answer)
            }
            (&Method::POST, "rejected") => self.rejected(&asker, headers, body).await,
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
        asker: &Asker,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let Asker { offered, mark } = asker;
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
        let mut answer = self.token_answer(offered, *mark, &token);
        // For a proxy, which reads no body.
        answer.headers_mut().insert(AUTHORIZATION, self.header_with(asker, &token));
        Ok(answer)
    }

    /// Nothing but the header to send to the API.
    async fn to_be_sent(&self, asker: &Asker, status: StatusCode) -> Result<Answer, Refusal> {
        let authorization = self.authorization(asker).await?;
        let mut answer = empty(status);
        answer.headers_mut().insert(AUTHORIZATION, authorization);
        Ok(answer)
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
                expires_in: token.expires_in(now).map(|left| left.as_secs()),
                expires_at: token.expires_at().map(UnixTime::as_secs),
                scope: token.scope().map(Scope::as_str),
                generation: token.generation(),
            },
        )
    }
}
