//! The API with a good token injected: a 401 that a newer token cures is cured and replayed, once.
//!
//! What nearly every request does is done in place. What few do (wait for a token, for a body, for a
//! cure) is kept apart, so that the others do not carry its state about.

mod prepared;
mod replay;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::{CallerId, Cause, Timestamp};
use bellwether_broker::oauth::retry_after;
use bellwether_broker::{PATIENCE, Refusal as Refused, Token};
use http::header::{AUTHORIZATION, DATE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use self::prepared::Prepared;
use self::replay::Kept;
use crate::alike::Asked;
use crate::answer::{Answer, Body};
use crate::apart::apart;
use crate::callers::{Connection, LeadsTo, Offered};
use crate::gateway::Gateway;
use crate::message::{awaited, copied_value, copy_head, hop, strict};
use crate::no_token::no_token;
use crate::refusal::Refusal;
use crate::settings::Vendor;
use crate::upstream::{
    AnswerBody, Over, Pool, ResourceServer, SendError, Unsent, is_ambiguous, join,
};

/// Where a request goes, and with whose token.
struct Route {
    access: Access,
    server: Arc<ResourceServer>,
}

/// Whose token goes in.
enum Access {
    Shared(Offered, CallerId),
    Own(Arc<Vendor>, HeaderValue),
}

impl Access {
    fn vendor(&self) -> &Vendor {
        match self {
            Self::Shared(offered, _) => &offered.vendor,
            Self::Own(vendor, _) => vendor,
        }
    }
}

/// A token, and when a request was sent with it.
struct Sent {
    token: Arc<Token>,
    at: Timestamp,
}

/// A request for the API, after a first look.
pub(crate) enum Begun {
    /// It needs nothing but an answer.
    Ready(Ready),
    /// Its body is waited for, or its answer may be another's.
    Waiting(Waiting),
}

/// A request that is sent with the next token.
pub(crate) struct Ready {
    access: Access,
    prepared: Prepared,
}

/// A request that something else comes before.
pub(crate) struct Waiting {
    route: Route,
    parts: Parts,
    body: Result<Kept, Incoming>,
}

impl Gateway {
    /// Takes a first look at a request for the API.
    pub(crate) fn begin(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Result<Begun, Refusal> {
        let (mut parts, body) = request.into_parts();
        let route = self.route(&mut parts, connection)?;
        match Kept::none(body) {
            Ok(none) if self.alike.is_none() || matches!(route.access, Access::Own(..)) => {
                let Route { access, server } = route;
                let prepared = Prepared::new(parts, none, server);
                Ok(Begun::Ready(Ready { access, prepared }))
            }
            body => Ok(Begun::Waiting(Waiting { route, parts, body })),
        }
    }

    /// Answers a request for the API.
    pub(crate) async fn resource(&self, ready: &mut Ready, pool: &Arc<Pool>) -> Answer {
        self.ask(&ready.access, &mut ready.prepared, pool).await.unwrap_or_else(Answer::from)
    }

    /// Answers a request for the API once its body is here, or with the answer to another.
    pub(crate) async fn resource_later(&self, waiting: Waiting, pool: &Arc<Pool>) -> Answer {
        self.try_resource_later(waiting, pool).await.unwrap_or_else(Answer::from)
    }

    async fn try_resource_later(
        &self,
        waiting: Waiting,
        pool: &Arc<Pool>,
    ) -> Result<Answer, Refusal> {
        let Waiting { route: Route { access, server }, mut parts, body } = waiting;
        let shared = self.alike.as_ref().zip(match &access {
            Access::Shared(offered, _) => Some(offered),
            Access::Own(..) => None,
        });
        let shared =
            shared.map(|(alike, offered)| (alike, Asked::of(&offered.handle.name(), &parts)));
        let body = match body {
            Ok(none) => none,
            Err(body) => self.keep(body, &mut parts).await?,
        };
        let mut prepared = Prepared::new(parts, body, server);
        let prepared = &mut prepared;
        let Some((alike, asked)) = shared else {
            return apart(|| self.ask(&access, prepared, pool)).await;
        };
        let asking = self.ask(&access, prepared, pool);
        apart(|| alike.answer(asked, self.broker.clock().as_ref(), asking)).await
    }

    /// Where a request goes, whose target becomes the API's.
    fn route(&self, parts: &mut Parts, connection: &Connection) -> Result<Route, Refusal> {
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
        let access = match self
            .known()
            .access((&connection.peer, &connection.latest), (&parts.method, path, &parts.headers))?
        {
            (LeadsTo::Credential(offered), caller) => Access::Shared(offered, caller),
            (LeadsTo::Itself(vendor), _) => {
                let value = parts.headers.get(AUTHORIZATION).map(copied_value);
                Access::Own(vendor, value.ok_or_else(Refusal::unauthorized)?)
            }
        };
        let vendor = access.vendor();
        let served = vendor.api_prefix.as_deref().is_none_or(|prefix| path.starts_with(prefix));
        let Some(server) = vendor.resource_server.as_ref().filter(|_| served).cloned() else {
            return Err(Refusal::not_found());
        };
        let asked = parts.uri.path_and_query();
        let target = asked.and_then(|asked| server.target(asked, path));
        let target =
            target.ok_or_else(|| Refusal::invalid_request("the path cannot be sent on"))?;
        parts.uri = Uri::from(target);
        Ok(Route { access, server })
    }

    /// Keeps a small body for a replay.
    async fn keep(&self, body: Incoming, head: &mut Parts) -> Result<Kept, Refusal> {
        let keeping = pin!(Kept::of(body, self.settings.replay_body));
        let kept = awaited(keeping, head, self.settings.body_timeout).await;
        let kept = kept
            .map_err(|_| Refusal::too_slow())?
            .map_err(|_| Refusal::invalid_request("the request body broke off"))?;
        if !kept.is_at_hand() {
            copy_head(head);
        }
        Ok(kept)
    }

    /// Asks the API, and once more where that helps.
    async fn ask(
        &self,
        access: &Access,
        prepared: &mut Prepared,
        pool: &Arc<Pool>,
    ) -> Result<Answer, Refusal> {
        let response = match access {
            Access::Shared(offered, caller) => {
                let at = self.broker.clock().now();
                let token = match offered.handle.spend_at_once(at) {
                    Some(token) => token,
                    None => apart(|| self.spend(offered, *caller)).await?,
                };
                let response = self.send(prepared, token.authorization(), pool).await?;
                self.note(offered, &token, at, &response);
                match response.status() {
                    StatusCode::UNAUTHORIZED => {
                        let refused = Sent { token, at };
                        apart(|| self.cure(offered, prepared, pool, refused, response)).await?
                    }
                    // Its budget was spent elsewhere: another token of the pool may have room.
                    StatusCode::TOO_MANY_REQUESTS
                        if prepared.body.can_be_sent() && offered.handle.has_room() =>
                    {
                        let again = apart(|| self.attempt(offered, *caller, prepared, pool));
                        again.await.unwrap_or(response)
                    }
                    _ => response,
                }
            }
            Access::Own(_, authorization) => self.send(prepared, authorization, pool).await?,
        };
        self.pass_back(response, prepared.upgrade.take())
    }

    /// A refused request, sent once more with a token that cures it, if there is one.
    async fn cure(
        &self,
        offered: &Offered,
        prepared: &mut Prepared,
        pool: &Arc<Pool>,
        refused: Sent,
        response: Response<AnswerBody>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let handle = &offered.handle;
        let cure = match handle.refused(&refused.token, refused.at).await {
            Refused::Cure(cure) if prepared.body.can_be_sent() => cure,
            Refused::Cure(_) | Refused::Stands | Refused::NoToken(_) => return Ok(response),
        };
        drop(response);
        let response = self.replay(offered, prepared, pool, &cure).await?;
        let is_stand_in = cure.generation() < refused.token.generation();
        if response.status() != StatusCode::UNAUTHORIZED || !is_stand_in {
            return Ok(response);
        }
        // What was to stand in for a young token has died with it.
        match handle.stand_in_refused(&cure, &refused.token, refused.at).await {
            Refused::Cure(newer) if prepared.body.can_be_sent() => {
                drop(response);
                self.replay(offered, prepared, pool, &newer).await
            }
            Refused::Cure(_) | Refused::Stands | Refused::NoToken(_) => Ok(response),
        }
    }

    async fn replay(
        &self,
        offered: &Offered,
        prepared: &mut Prepared,
        pool: &Arc<Pool>,
        token: &Token,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let at = self.broker.clock().now();
        let response = self.send(prepared, token.authorization(), pool).await?;
        self.note(offered, token, at, &response);
        if response.status() == StatusCode::UNAUTHORIZED {
            // The cure failed: whoever decides must hear of it.
            offered.handle.replay_refused(token);
        }
        Ok(response)
    }

    /// One more attempt, with whichever token has room.
    async fn attempt(
        &self,
        offered: &Offered,
        caller: CallerId,
        prepared: &mut Prepared,
        pool: &Arc<Pool>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let token = self.spend(offered, caller).await?;
        let at = self.broker.clock().now();
        let response = self.send(prepared, token.authorization(), pool).await?;
        self.note(offered, &token, at, &response);
        Ok(response)
    }

    async fn spend(&self, offered: &Offered, caller: CallerId) -> Result<Arc<Token>, Refusal> {
        offered.handle.spend_for(caller, PATIENCE).await.map_err(|none| {
            if none.error.is_none() && none.cause == Cause::Throttled {
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
        let kept = if prepared.upgrade.is_none() { pool.kept(&prepared.server) } else { None };
        let tried = match kept {
            Some(line) => {
                let sending = line.send(prepared.request(authorization), pool);
                match sending.await {
                    Ok(response) => return Ok(response),
                    Err(unsent) => Some(unsent),
                }
            }
            None => None,
        };
        apart(|| self.send_otherwise(prepared, authorization, pool, tried)).await
    }

    /// Sends what could not be sent over a kept connection.
    async fn send_otherwise(
        &self,
        prepared: &mut Prepared,
        authorization: &HeaderValue,
        pool: &Arc<Pool>,
        tried: Option<Unsent>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let over = if prepared.upgrade.is_some() { Over::Upgradable } else { Over::Any };
        let server = Arc::clone(&prepared.server);
        let sent = match tried {
            None => pool.send(&server, prepared.request(authorization), over).await,
            Some(Unsent::Request(request)) => pool.send(&server, *request, over).await,
            Some(Unsent::Error(error)) => Err(error),
        };
        match sent {
            Ok(response) => Ok(response),
            // The API closed a kept connection just then (RFC 9110 §9.2.2).
            Err(SendError::Broken { is_reused: true, .. })
                if prepared.method.is_idempotent() && prepared.body.can_be_sent() =>
            {
                let request = prepared.request(authorization);
                pool.send(&server, request, Over::Fresh).await.map_err(unanswered)
            }
            Err(error) => Err(unanswered(error)),
        }
    }

    /// Tells the credential what the API made of its token.
    fn note(
        &self,
        offered: &Offered,
        token: &Token,
        sent_at: Timestamp,
        response: &Response<AnswerBody>,
    ) {
        let (handle, headers, status) = (&offered.handle, response.headers(), response.status());
        let limit = handle.heard(token, sent_at, status, headers);
        match status {
            StatusCode::UNAUTHORIZED => {}
            StatusCode::TOO_MANY_REQUESTS => {
                let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let date = headers.get(DATE).and_then(|value| value.to_str().ok());
                let told = limit.filter(|limit| limit.remaining == 0).map(|limit| limit.resets_in);
                let wall = self.broker.clock().wall().as_secs();
                let wait = retry_after(header, date, wall).or(told);
                handle.throttled(token, wait.unwrap_or(Duration::from_secs(1)));
            }
            status if status.is_server_error() => {}
            _ => handle.accepted(token, sent_at),
        }
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

fn unanswered(error: SendError) -> Refusal {
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
}
