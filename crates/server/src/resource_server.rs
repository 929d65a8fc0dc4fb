//! The API with a good token injected: a 401 that a newer token cures is cured and replayed, once.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use bellwether_broker::oauth::retry_after;
use bellwether_broker::{Handle, PATIENCE, Refusal as Refused, Token};
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, HOST, RETRY_AFTER, TRAILER,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::timeout;

use crate::access::CREDENTIAL;
use crate::answer::{Answer, Body, Refusal};
use crate::callers::Offered;
use crate::connection::Peer;
use crate::gateway::Gateway;
use crate::hop;
use crate::passes::LeadsTo;
use crate::replay::Kept;
use crate::settings::Vendor;
use crate::strict;
use crate::token_endpoint::no_token;
use crate::upstream::{
    AnswerBody, Over, Pool, RequestBody, ResourceServer, SendError, is_ambiguous, join,
};

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
    server: Arc<ResourceServer>,
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Kept,
    /// The caller's connection, where it wants to go on with another protocol.
    upgrade: Option<OnUpgrade>,
}

impl Gateway {
    /// Answers a request for the API.
    pub(crate) async fn resource(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        pool: &Arc<Pool>,
    ) -> Answer {
        match self.try_resource(request, peer, pool).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.into(),
        }
    }

    async fn try_resource(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        pool: &Arc<Pool>,
    ) -> Result<Answer, Refusal> {
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
        let access = self.access(&parts, path, peer)?;
        let vendor = access.vendor();
        let served = vendor.api_prefix.as_deref().is_none_or(|prefix| path.starts_with(prefix));
        let Some(resource_server) = vendor.resource_server.as_ref().filter(|_| served) else {
            return Err(Refusal::not_found());
        };
        let asked = parts.uri.path_and_query();
        let target = asked.and_then(|asked| resource_server.target(asked, path));
        let target =
            target.ok_or_else(|| Refusal::invalid_request("the path cannot be sent on"))?;
        let server = Arc::clone(resource_server);
        let mut prepared = self.prepare(parts, body, server, target).await?;
        let response = match access {
            Access::Shared(offered) => self.shared(&offered, &mut prepared, pool).await?,
            Access::Own(_, authorization) => self.send(&mut prepared, &authorization, pool).await?,
        };
        self.pass_back(response, prepared.upgrade)
    }

    /// Whose token the caller may use for this path of the API.
    fn access(&self, parts: &Parts, path: &str, peer: &Peer) -> Result<Access, Refusal> {
        let admitted = self.admit(&parts.headers, peer)?;
        match admitted.leads_to(&parts.method, path, &parts.headers)? {
            LeadsTo::Credential(offered) => Ok(Access::Shared(offered)),
            LeadsTo::Itself(vendor) => {
                let value = parts.headers.get(AUTHORIZATION).cloned();
                Ok(Access::Own(vendor, value.ok_or_else(Refusal::unauthorized)?))
            }
        }
    }

    /// Strips what is between two hops, and keeps a small body for a replay.
    async fn prepare(
        &self,
        mut parts: Parts,
        body: Incoming,
        server: Arc<ResourceServer>,
        target: PathAndQuery,
    ) -> Result<Prepared, Refusal> {
        let mut headers = parts.headers;
        let mut asked = hop::strip(&mut headers);
        // A cookie would speak for somebody else than the token does.
        for name in [AUTHORIZATION, COOKIE, EXPECT, HOST, CREDENTIAL] {
            headers.remove(name);
        }
        let kept = Kept::of(body, self.settings.replay_body);
        let body = timeout(self.settings.body_timeout, kept)
            .await
            .map_err(|_| Refusal::too_slow())?
            .map_err(|_| Refusal::invalid_request("the request body broke off"))?;
        // The connection frames the body by itself.
        headers.remove(CONTENT_LENGTH);
        if body.is_at_hand() {
            // Its trailers, if it had any, are gone.
            headers.remove(TRAILER);
        }
        // To HTTP/2 nobody is upgraded any more (RFC 9113 §3.1), and nobody in the middle of a body.
        let is_fit = |protocol: &HeaderValue| protocol != "h2c" && body.is_empty();
        asked.upgrade = asked.upgrade.filter(is_fit);
        let upgrade = asked.upgrade.as_ref().and_then(|_| parts.extensions.remove::<OnUpgrade>());
        if upgrade.is_none() {
            asked.upgrade = None;
        }
        asked.ask_again(&mut headers);
        Ok(Prepared { server, method: parts.method, target, headers, body, upgrade })
    }

    /// Sends with a shared token, and once more with a newer one if the first was refused.
    async fn shared(
        &self,
        offered: &Offered,
        prepared: &mut Prepared,
        pool: &Arc<Pool>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let handle = &offered.handle;
        let (token, response) = self.attempt(offered, prepared, None, pool).await?;
        let response = match response.status() {
            StatusCode::UNAUTHORIZED => {
                let refused_at = token.1;
                match handle.refused(&token.0, refused_at).await {
                    Refused::Cure(newer) if prepared.body.can_be_sent() => {
                        drop(response);
                        let (newer, response) =
                            self.attempt(offered, prepared, Some(newer), pool).await?;
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
                let again = if room {
                    self.attempt(offered, prepared, None, pool).await.ok()
                } else {
                    None
                };
                again.map_or(response, |(_, response)| response)
            }
            _ => response,
        };
        Ok(response)
    }

    /// One attempt, with the token it was made with and when.
    async fn attempt(
        &self,
        offered: &Offered,
        prepared: &mut Prepared,
        token: Option<Arc<Token>>,
        pool: &Arc<Pool>,
    ) -> Result<((Arc<Token>, Timestamp), Response<AnswerBody>), Refusal> {
        let handle = &offered.handle;
        let token = match token {
            Some(token) => token,
            None => self.spend(offered).await?,
        };
        let sent_at = self.broker.clock().now();
        let response = self.send(prepared, token.authorization(), pool).await?;
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
        pool: &Arc<Pool>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let over = if prepared.upgrade.is_some() { Over::Upgradable } else { Over::Any };
        let request = prepared.request(authorization);
        let sent = pool.send(&prepared.server, request, over).await;
        let sent = match sent {
            // The API closed a kept connection just then (RFC 9110 §9.2.2).
            Err(SendError::Broken { is_reused: true, .. })
                if prepared.method.is_idempotent() && prepared.body.can_be_sent() =>
            {
                let request = prepared.request(authorization);
                pool.send(&prepared.server, request, Over::Fresh).await
            }
            sent => sent,
        };
        sent.map_err(|error| {
            let (status, why) = match error {
                SendError::Unreachable(why) => {
                    (StatusCode::BAD_GATEWAY, format!("the API cannot be reached: {why}"))
                }
                SendError::Broken { why, .. } => {
                    (StatusCode::BAD_GATEWAY, format!("the API broke off: {why}"))
                }
                SendError::TimedOut => {
                    (StatusCode::BAD_GATEWAY, "the API gave no answer in time".to_owned())
                }
                SendError::Busy => {
                    (StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way".to_owned())
                }
            };
            Refusal::unavailable(status, &why, None)
        })
    }

    /// The API's answer, streamed on.
    fn pass_back(
        &self,
        mut response: Response<AnswerBody>,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Answer, Refusal> {
        strict::settle_length(response.headers_mut())
            .map_err(|why| Refusal::unavailable(StatusCode::BAD_GATEWAY, why, None))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(caller) = upgrade else {
                let why = "the API changed the protocol, and nobody had asked for it";
                return Err(Refusal::unavailable(StatusCode::BAD_GATEWAY, why, None));
            };
            join(caller, hyper::upgrade::on(&mut response), self.settings.silence, ());
            let asked = hop::strip(response.headers_mut());
            asked.ask_again(response.headers_mut());
        } else {
            hop::strip(response.headers_mut());
        }
        Ok(response.map(Body::Api))
    }
}

impl Prepared {
    /// The request to send now.
    fn request(&mut self, authorization: &HeaderValue) -> Request<RequestBody> {
        let mut request = Request::new(self.body.take());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        request
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
