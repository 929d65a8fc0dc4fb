//! The API with a good token injected: a 401 that a newer token cures is cured and replayed, once.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use bellwether_broker::oauth::retry_after;
use bellwether_broker::{Handle, PATIENCE, Refusal as Refused, Token};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, HOST, HeaderName,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RETRY_AFTER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::answer::{Answer, Refusal, streamed};
use crate::callers::{CREDENTIAL, Offered};
use crate::gateway::{Gateway, bearer};
use crate::passes::LeadsTo;
use crate::replay::Kept;
use crate::settings::Vendor;
use crate::token_endpoint::no_token;
use crate::upstream::{UpstreamError, is_ambiguous, target};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whose token goes in.
enum Access {
    Shared(Offered),
    Own(Arc<Vendor>, HeaderValue),
}

impl Access {
    fn vendor(&self) -> &Vendor {
        match self {
            Self::Shared(offered) => &offered.vendor,
            Self::Own(vendor, _) => vendor,
        }
    }
}

/// A request that can be sent once, or again.
struct Prepared {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Kept,
}

impl Gateway {
    /// Answers a request for the API.
    pub(crate) async fn resource(&self, request: Request<Incoming>) -> Answer {
        match self.try_resource(request).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.into(),
        }
    }

    async fn try_resource(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let (parts, body) = request.into_parts();
        if matches!(parts.method, Method::TRACE | Method::CONNECT) {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "TRACE and CONNECT are not passed on",
            ));
        }
        let path = parts.uri.path();
        let path = path.strip_prefix(self.settings.api_path.as_str()).unwrap_or(path);
        if is_ambiguous(path) {
            return Err(Refusal::invalid_request("the path could be read in more than one way"));
        }
        let is_anyones = |prefixes: &Vec<String>| prefixes.iter().any(|own| path.starts_with(own));
        if !self.api_prefixes.as_ref().is_none_or(is_anyones) {
            return Err(Refusal::not_found());
        }
        let access = self.access(&parts.headers)?;
        let vendor = access.vendor();
        let served = vendor.api_prefix.as_deref().is_none_or(|prefix| path.starts_with(prefix));
        let Some(resource_server) = vendor.resource_server.as_ref().filter(|_| served) else {
            return Err(Refusal::not_found());
        };
        let query = parts.uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let uri = target(resource_server, &format!("{path}{query}"))
            .ok_or_else(|| Refusal::invalid_request("the path cannot be sent on"))?;
        let prepared = self.prepare(parts, body, uri).await?;
        match access {
            Access::Shared(offered) => self.shared(&offered, prepared).await,
            Access::Own(_, authorization) => {
                let mut prepared = prepared;
                let response = self.send(&mut prepared, &authorization).await?;
                Ok(pass_back(response))
            }
        }
    }

    /// Whose token the caller may use: a key, or a token that was handed out here.
    fn access(&self, headers: &HeaderMap) -> Result<Access, Refusal> {
        let shown = bearer(headers).ok_or_else(Refusal::unauthorized)?;
        match self.passes.find(&shown) {
            Some(LeadsTo::Credential(offered)) => return Ok(Access::Shared(offered)),
            Some(LeadsTo::Itself(vendor)) => {
                let value = headers.get(AUTHORIZATION).cloned();
                return Ok(Access::Own(vendor, value.ok_or_else(Refusal::unauthorized)?));
            }
            None => {}
        }
        let caller = self.callers.with_key(shown.expose(), self.broker.keyring());
        let caller = caller.ok_or_else(Refusal::unauthorized)?;
        let mut all = headers.get_all(CREDENTIAL).iter();
        let (named, None) = (all.next(), all.next()) else {
            return Err(Refusal::invalid_request("Bellwether-Credential comes twice"));
        };
        let named = named.map(|value| value.to_str().unwrap_or_default());
        caller.credential(named).cloned().map(Access::Shared)
    }

    /// Strips what is between two hops, and keeps a small body for a replay.
    async fn prepare(&self, parts: Parts, body: Incoming, uri: Uri) -> Result<Prepared, Refusal> {
        let mut headers = parts.headers;
        strip(&mut headers);
        // A cookie would speak for somebody else than the token does.
        for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, EXPECT, HOST, CREDENTIAL] {
            headers.remove(name);
        }
        let kept = Kept::of(body, self.settings.replay_body);
        let body = timeout(self.settings.body_timeout, kept)
            .await
            .map_err(|_| Refusal::too_slow())?
            .map_err(|_| Refusal::invalid_request("the request body broke off"))?;
        // The connection frames the body by itself.
        headers.remove(CONTENT_LENGTH);
        Ok(Prepared { method: parts.method, uri, headers, body })
    }

    /// Sends with a shared token, and once more with a newer one if the first was refused.
    async fn shared(&self, offered: &Offered, mut prepared: Prepared) -> Result<Answer, Refusal> {
        let handle = &offered.handle;
        let (token, response) = self.attempt(offered, &mut prepared, None).await?;
        let response = match response.status() {
            StatusCode::UNAUTHORIZED => {
                let refused_at = token.1;
                match handle.refused(&token.0, refused_at).await {
                    Refused::Cure(newer) if prepared.body.can_be_sent() => {
                        drop(response);
                        let (newer, response) =
                            self.attempt(offered, &mut prepared, Some(newer)).await?;
                        if response.status() == StatusCode::UNAUTHORIZED {
                            // The cure failed: whoever decides must hear of it.
                            handle.replay_refused(&newer.0);
                        }
                        response
                    }
                    Refused::Cure(_) | Refused::Stands | Refused::NoToken(_) => response,
                }
            }
            StatusCode::TOO_MANY_REQUESTS if prepared.body.can_be_sent() => {
                // Its budget was spent elsewhere: another token of the pool may have room.
                let room = handle.budget_left().is_some_and(|left| left > 0);
                let again =
                    if room { self.attempt(offered, &mut prepared, None).await.ok() } else { None };
                again.map_or(response, |(_, response)| response)
            }
            _ => response,
        };
        Ok(pass_back(response))
    }

    /// One attempt, with the token it was made with and when.
    async fn attempt(
        &self,
        offered: &Offered,
        prepared: &mut Prepared,
        token: Option<Arc<Token>>,
    ) -> Result<((Arc<Token>, Timestamp), Response<Incoming>), Refusal> {
        let handle = &offered.handle;
        let token = match token {
            Some(token) => token,
            None => self.spend(offered).await?,
        };
        let sent_at = self.broker.clock().now();
        let response = self.send(prepared, token.authorization()).await?;
        note(handle, &token, sent_at, &response, self.broker.clock().wall().as_secs());
        Ok(((token, sent_at), response))
    }

    async fn spend(&self, offered: &Offered) -> Result<Arc<Token>, Refusal> {
        offered.handle.spend(PATIENCE).await.map_err(|none| {
            let throttled = none.error.is_none()
                && none.cause == bellwether_broker::lifecycle::Cause::Throttled;
            if throttled {
                let why = "every token of the pool has spent its budget at the API";
                Refusal::unavailable(StatusCode::TOO_MANY_REQUESTS, why, none.retry_after)
            } else {
                no_token(&none, &offered.vendor)
            }
        })
    }

    async fn send(
        &self,
        prepared: &mut Prepared,
        authorization: &HeaderValue,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut request = Request::new(prepared.body.take());
        *request.method_mut() = prepared.method.clone();
        *request.uri_mut() = prepared.uri.clone();
        *request.headers_mut() = prepared.headers.clone();
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        self.upstream.send(request).await.map_err(|error| {
            let why = match error {
                UpstreamError::Unreachable(why) => format!("the API cannot be reached: {why}"),
                UpstreamError::TimedOut => "the API gave no answer in time".to_owned(),
            };
            Refusal::unavailable(StatusCode::BAD_GATEWAY, &why, None)
        })
    }
}

/// Tells the credential what the API made of its token.
fn note<B>(handle: &Handle, token: &Token, sent_at: Timestamp, response: &Response<B>, wall: u64) {
    match response.status() {
        StatusCode::UNAUTHORIZED => {}
        StatusCode::TOO_MANY_REQUESTS => {
            let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let date = response.headers().get(DATE).and_then(|value| value.to_str().ok());
            let wait = retry_after(header, date, wall);
            handle.throttled(token, wait.unwrap_or(Duration::from_secs(1)));
        }
        status if status.is_server_error() => {}
        _ => handle.accepted(token, sent_at),
    }
}

/// Removes what concerns one connection alone (RFC 9110 §7.6.1), what `Connection` names included.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// The API's answer, streamed on.
fn pass_back(response: Response<Incoming>) -> Answer {
    let (mut parts, body) = response.into_parts();
    strip(&mut parts.headers);
    Response::from_parts(parts, streamed(body))
}
