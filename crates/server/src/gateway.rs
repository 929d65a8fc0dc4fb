//! The gateway listener: which path leads where.

use std::collections::HashMap;
use std::future::ready;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use bellwether_broker::oauth::Secret;
use bellwether_broker::{Broker, Exchange, Handle};
use futures_util::future::Either;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::alike::Alike;
use crate::answer::{Answer, Refusal};
use crate::apart::apart;
use crate::beside::{ext_authz, rest};
use crate::callers::remembered::Asked;
use crate::callers::{Callers, Clients, Connection, MAX_FORM, Offered, Passes};
use crate::listener::{Places, Service};
use crate::message::{
    Hosts, NotWhole, awaited, refuse_other_sites, refuse_secrets_in_query, strict, whole,
};
use crate::resource_server::Begun;
use crate::settings::{CallerSettings, GatewaySettings, HandOut, Vendor};
use crate::upstream::Pool;

/// What callers talk to.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) broker: Broker,
    pub(crate) settings: GatewaySettings,
    pub(crate) callers: Callers,
    pub(crate) clients: Option<Clients>,
    pub(crate) passes: Passes,
    pub(crate) exchange: Exchange,
    /// None if nothing is shared between requests.
    pub(crate) alike: Option<Alike>,
    pub(crate) hosts: Hosts,
    pub(crate) connections: Arc<Places>,
    /// Some vendor's SDK cannot bear a 401 from the token endpoint.
    pub(crate) refusals_are_400: bool,
    /// Where each vendor's API paths begin; none where one of them takes every path.
    pub(crate) api_prefixes: Option<Vec<String>>,
    configured: Vec<Offered>,
    token_paths: Vec<String>,
    revoke_path: String,
}

/// A configured credential and the vendor it belongs to.
#[derive(Debug)]
pub struct Configured {
    /// The credential.
    pub handle: Handle,
    /// Its vendor.
    pub vendor: Arc<Vendor>,
    /// Digests of tokens handed out before a restart.
    pub known_tokens: Vec<String>,
}

impl Gateway {
    /// Over a running broker. `listen` is where it will listen; nothing over a unix socket.
    pub async fn new(
        broker: Broker,
        mut settings: GatewaySettings,
        configured: Vec<Configured>,
        listen: &[IpAddr],
    ) -> Self {
        let passes = Passes::new(broker.clone());
        let mut offered = HashMap::new();
        for Configured { handle, vendor, known_tokens } in configured {
            let name = handle.name();
            let credential = Offered { handle, vendor };
            // Where tokens are local, nobody was given a real one.
            let known_tokens = match settings.hand_out {
                HandOut::Real => known_tokens,
                HandOut::Local => Vec::new(),
            };
            passes.know_of_callers(&credential, known_tokens);
            offered.insert(name, credential);
        }
        let callers = std::mem::take(&mut settings.callers);
        let callers = Callers::new(broker.clone(), &callers, &offered);
        let open = settings.open.take();
        let vendors = || offered.values().map(|offered| &*offered.vendor).chain(&open);
        let refusals_are_400 = vendors().any(|vendor| vendor.refusals_are_400);
        let mut token_paths: Vec<String> = vendors()
            .filter_map(|vendor| vendor.token_path.as_deref())
            .chain(["/oauth/token"])
            .flat_map(|path| [path.to_owned(), format!("{}{path}", settings.login_path)])
            .collect();
        let api_prefixes = vendors().map(|vendor| vendor.api_prefix.clone()).collect();
        token_paths.sort_unstable();
        token_paths.dedup();
        let clients = open.map(|vendor| Clients::new(broker.clone(), vendor));
        if let Some(clients) = &clients {
            clients.restore(&passes).await;
        }
        Self {
            exchange: Exchange::new(&broker),
            alike: Alike::new(&settings),
            hosts: Hosts::new(listen, &settings.hosts),
            connections: Places::new(settings.connections),
            revoke_path: format!("{}/oauth/revoke", settings.login_path),
            refusals_are_400,
            api_prefixes,
            configured: offered.into_values().collect(),
            broker,
            settings,
            callers,
            clients,
            passes,
            token_paths,
        }
    }

    /// Every credential, configured or brought by a caller.
    pub fn handles(&self) -> Vec<Handle> {
        let configured = self.configured.iter().map(|offered| offered.handle.clone());
        let brought = self.clients.iter().flat_map(Clients::handles);
        let mut handles: Vec<Handle> = configured.chain(brought).collect();
        handles.sort_by_key(Handle::name);
        handles
    }

    /// From now on these callers, and no others. Connections and tokens of those that are gone are
    /// worth nothing with their next request.
    pub fn replace_callers(&self, callers: &[CallerSettings]) {
        let offered = self.configured.iter();
        let offered = offered.map(|offered| (offered.handle.name(), offered.clone())).collect();
        self.callers.replace(callers, &offered);
    }

    /// The time by the broker's clock.
    pub fn now(&self) -> bellwether_broker::lifecycle::Timestamp {
        self.broker.clock().now()
    }

    /// A credential was forgotten by the broker.
    pub fn forget(&self, name: &str) {
        self.passes.forget(name);
        if let Some(clients) = &self.clients {
            clients.forget(name);
        }
    }

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

/// The one bearer token of a request (RFC 6750 §2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Secret::from(token))
}
