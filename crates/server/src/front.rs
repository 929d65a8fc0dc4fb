//! Which path leads where.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::Either;
use http::header::HOST;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::apart::apart;
use crate::beside::{ext_authz, rest};
use crate::callers::remembered::Asked;
use crate::callers::{Connection, MAX_FORM};
use crate::gateway::Gateway;
use crate::listener::{Places, Service};
use crate::message::{
    NotWhole, awaited, refuse_other_sites, refuse_secrets_in_query, strict, whole,
};
use crate::refusal::Refusal;
use crate::resource_server::Begun;
use crate::settings::GatewaySettings;
use crate::upstream::Pool;

/// The gateway as one worker serves it, over connections of its own to the APIs.
#[derive(Debug)]
pub(crate) struct Front {
    gateway: Arc<Gateway>,
    pool: Arc<Pool>,
}

impl Front {
    /// On the current runtime.
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        let GatewaySettings { answer_timeout, silence, .. } = gateway.settings;
        Self { gateway, pool: Pool::start(answer_timeout, silence) }
    }
}

impl Service for Front {
    /// What nearly every request needs is carried about by its connection, the rest is apart. The
    /// first look is taken at once: a future has room for all that it was made of, for good.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Answer> + Send {
        let gateway = &self.gateway;
        let begun = match gateway.way(&request, &connection) {
            Err(refusal) => Err(refusal),
            Ok(Way::ResourceServer) => gateway.begin(request, &connection),
            Ok(Way::Check) => {
                let check = async move { self.gateway.check(request, &connection.peer).await };
                return Either::Right(apart(|| check));
            }
            Ok(Way::Form(endpoint)) => {
                let form = async move { self.gateway.form(request, endpoint, &connection).await };
                return Either::Right(apart(|| form));
            }
        };
        match begun {
            Ok(Begun::Ready(mut ready)) => {
                Either::Left(async move { self.gateway.resource(&mut ready, &self.pool).await })
            }
            Ok(Begun::Waiting(waiting)) => Either::Right(apart(|| async move {
                self.gateway.resource_later(waiting, &self.pool).await
            })),
            Err(refusal) => Either::Right(apart(|| ready(refusal.into()))),
        }
    }

    fn places(&self) -> &Arc<Places> {
        &self.gateway.connections
    }
}

enum Way {
    Form(Endpoint),
    Check,
    ResourceServer,
}

enum Endpoint {
    Token,
    Revocation,
    Credential(String),
}

impl Gateway {
    /// Where a request leads.
    ///
    /// # Errors
    /// When it leads nowhere.
    fn way(&self, request: &Request<Incoming>, connection: &Connection) -> Result<Way, Refusal> {
        if !self.is_ours(request, connection) {
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "the Host is not one of this listener's; add it to [gateway] hosts",
            ));
        }
        // Who frames a body oddly may have meant another end of it.
        strict::check(request).map_err(Refusal::and_close)?;
        let path = request.uri().path();
        if self.token_paths.iter().any(|token_path| token_path == path) {
            Ok(Way::Form(Endpoint::Token))
        } else if path == self.revoke_path || path == "/oauth/revoke" {
            Ok(Way::Form(Endpoint::Revocation))
        } else if path == ext_authz::CHECK {
            Ok(Way::Check)
        } else if path.starts_with("/bellwether/") {
            let rest = path.strip_prefix(rest::PREFIX).ok_or_else(Refusal::not_found)?;
            Ok(Way::Form(Endpoint::Credential(rest.to_owned())))
        } else {
            Ok(Way::ResourceServer)
        }
    }

    /// Whether its `Host` names us; a connection that was asked for one mostly goes on with it.
    fn is_ours<B>(&self, request: &Request<B>, connection: &Connection) -> bool {
        let mut named = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else { return false };
        let is_plain = request.uri().authority().is_none();
        if is_plain && connection.host.get().is_some_and(|known| known == host) {
            return true;
        }
        let is_ours = self.hosts.allow(request.headers(), request.uri());
        if is_ours && is_plain {
            // A copy: the original would hold the bytes that it was read from.
            let _ = HeaderValue::from_bytes(host.as_bytes()).map(|host| connection.host.set(host));
        }
        is_ours
    }

    async fn form(
        &self,
        request: Request<Incoming>,
        endpoint: Endpoint,
        connection: &Connection,
    ) -> Answer {
        let Connection { peer, memory, .. } = connection;
        let (mut parts, body) = request.into_parts();
        // What Envoy puts behind its question is the address of another request.
        let about_another = matches!(&endpoint, Endpoint::Credential(rest) if rest::is_about(rest));
        let ours = if about_another { Ok(()) } else { refuse_secrets_in_query(&parts.uri) };
        if let Err(refusal) = ours.and_then(|()| refuse_other_sites(&parts.headers)) {
            return refusal.into();
        }
        let post_only = !matches!(endpoint, Endpoint::Credential(_));
        if post_only && parts.method != Method::POST {
            let mut answer: Answer = Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this endpoint takes POST (RFC 6749 §3.2)",
            )
            .into();
            let allowed = HeaderValue::from_static("POST");
            answer.headers_mut().insert(http::header::ALLOW, allowed);
            return answer;
        }
        let body = pin!(whole(body, MAX_FORM));
        let body = match awaited(body, &mut parts, self.settings.body_timeout).await {
            Ok(Ok(body)) => body,
            Err(_) => return Refusal::too_slow().into(),
            Ok(Err(NotWhole::TooLong | NotWhole::Broken(_))) => {
                return Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "invalid_request",
                    "the body is larger than 64 KiB, or broke off",
                )
                .into();
            }
        };
        match endpoint {
            Endpoint::Token => {
                let asked = Asked { uri: &parts.uri, headers: &parts.headers, body: &body };
                self.token(asked, memory, peer).await
            }
            Endpoint::Revocation => self.revoke(&parts.uri, &parts.headers, &body, peer).await,
            Endpoint::Credential(rest) => {
                self.credential(&parts.method, &rest, &parts.headers, &body, peer).await
            }
        }
    }
}
