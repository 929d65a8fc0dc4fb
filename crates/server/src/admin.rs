//! The admin listener: what operators, probes and scrapers see. Never a token.

mod dashboard;
mod metrics;
mod scrape;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::{Held, State, Timestamp, UnixTime};
use bellwether_broker::oauth::Secret;
use bellwether_broker::store::{Clock, Stamp};
use bellwether_broker::{Handle, News};
use futures_util::stream;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::answer::{Answer, json, streamed, text, without_body};
use crate::callers::{Guesses, Peer, too_many_wrong_keys};
use crate::gateway::Gateway;
use crate::listener::{ConnectionLimits, Places};
use crate::message::{Hosts, bearer, is_json, refuse_other_sites, refuse_secrets_in_query};
use crate::refusal::Refusal;
use crate::settings::AdminSettings;

pub use scrape::Scrape;

/// An operator sends an empty object.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Dashboards, probes and scrapers are few.
const OPERATORS: ConnectionLimits =
    ConnectionLimits { most: 512, most_per_peer: None, keep_alive: ConnectionLimits::KEEP_ALIVE };

/// What operators talk to.
#[derive(Debug)]
pub struct Admin {
    gateway: Arc<Gateway>,
    settings: AdminSettings,
    hosts: Hosts,
    guesses: Guesses,
    pub(crate) connections: Arc<Places>,
    /// What `/` shows beside the credentials.
    version: &'static str,
    /// True once the listener stops.
    ending: watch::Sender<bool>,
}

/// A credential as `/v1/credentials` shows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct CredentialView {
    /// Its name.
    pub name: String,
    /// One of the public contract's states.
    pub state: String,
    /// What led to it.
    pub why: String,
    /// When it began, in Unix seconds.
    pub since: f64,
    /// What comes next.
    pub next_action: String,
    /// When, in Unix seconds.
    pub next_at: Option<f64>,
    /// Goes up by one with each accepted token response.
    pub generation: u64,
    /// Tokens held now, of how many.
    pub held: usize,
    /// Size of the pool.
    pub pool: usize,
    /// When the first held token ends, in Unix seconds.
    pub expires_at: Option<f64>,
    /// API requests that could be sent now.
    pub budget_left: Option<u64>,
    /// Token requests sent since the start.
    pub token_requests: u64,
    /// Failures since the start.
    pub failures: u64,
}

#[derive(Serialize)]
struct Credentials {
    credentials: Vec<CredentialView>,
}

impl Admin {
    /// Beside a gateway. `listen` is where it will listen.
    pub fn new(gateway: Arc<Gateway>, settings: AdminSettings, listen: &[IpAddr]) -> Self {
        let hosts = Hosts::new(listen, &settings.hosts);
        let ending = watch::Sender::new(false);
        let connections = Places::new(OPERATORS);
        let (guesses, version) = (Guesses::default(), env!("CARGO_PKG_VERSION"));
        Self { gateway, settings, hosts, guesses, connections, version, ending }
    }

    /// Ends the streams of events, which would go on for ever.
    pub(crate) fn end_events(&self) {
        self.ending.send_replace(true);
    }

    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: &Peer) -> Answer {
        if !self.hosts.allow(request.headers(), request.uri()) {
            return Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "the Host is not one of this listener's; add it to [admin] hosts",
            )
            .into();
        }
        if let Err(refusal) = refuse_secrets_in_query(request.uri()) {
            return refusal.into();
        }
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let answer = match (&method, path.as_str()) {
            (&Method::GET | &Method::HEAD, path) => self.read(path),
            (&Method::POST, path) => {
                self.change(path, request, peer).await.unwrap_or_else(Answer::from)
            }
            _ => Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "read with GET, change with POST",
            )
            .into(),
        };
        if method == Method::HEAD { without_body(answer) } else { answer }
    }

    fn read(self: &Arc<Self>, path: &str) -> Answer {
        match path {
            "/" | "/dashboard.css" | "/dashboard.js" => dashboard::file(path),
            "/healthz" => text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
            "/readyz" => self.ready(),
            "/metrics" => {
                let listeners = [
                    ("gateway", Arc::clone(&self.gateway.connections)),
                    ("admin", Arc::clone(&self.connections)),
                ];
                let handles = self.gateway.handles();
                metrics::answer(&self.gateway.broker, &handles, self.version, listeners)
            }
            "/v1/credentials" => json(StatusCode::OK, &Credentials { credentials: self.views() }),
            "/v1/events" => self.events(),
            _ => Refusal::not_found().into(),
        }
    }

    /// Ready while every credential has a token, or nothing stands in the way of its first.
    fn ready(&self) -> Answer {
        let stuck = |handle: &Handle| {
            let holds = handle.held().iter().flatten().next().is_some();
            let configured =
                handle.settings().demand == bellwether_broker::lifecycle::Demand::Always;
            configured && !holds
        };
        let waiting: Vec<String> = self
            .gateway
            .handles()
            .iter()
            .filter(|handle| stuck(handle))
            .map(Handle::name)
            .collect();
        let kind = "text/plain; charset=utf-8";
        if waiting.is_empty() {
            text(StatusCode::OK, kind, "ready\n")
        } else {
            let body = format!("no token yet: {}\n", waiting.join(", "));
            text(StatusCode::SERVICE_UNAVAILABLE, kind, body)
        }
    }

    async fn change(
        &self,
        path: &str,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Answer, Refusal> {
        let name = path
            .strip_prefix("/v1/credentials/")
            .and_then(|rest| rest.strip_suffix("/renew"))
            .ok_or_else(Refusal::not_found)?;
        refuse_other_sites(request.headers())?;
        self.authorize(request.headers(), peer)?;
        if !is_json(request.headers()) {
            return Err(Refusal::invalid_request("the body must be application/json"));
        }
        let body = timeout(BODY_TIMEOUT, Limited::new(request.into_body(), 1024).collect()).await;
        let body = body.map_err(|_| Refusal::too_slow())?;
        let body = body.map_err(|_| Refusal::invalid_request("the body is larger than 1 KiB"))?;
        let _: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&body.to_bytes())
                .map_err(|_| Refusal::invalid_request("the body must be a JSON object"))?;
        let handles = self.gateway.handles();
        let handle = handles.iter().find(|handle| handle.name() == name);
        let handle = handle.ok_or_else(Refusal::not_found)?;
        handle.renew();
        Ok(json(StatusCode::ACCEPTED, &self.view(handle)))
    }

    fn authorize(&self, headers: &HeaderMap, peer: &Peer) -> Result<(), Refusal> {
        let key: &Secret = self.settings.key.as_ref().ok_or_else(|| {
            Refusal::new(
                StatusCode::FORBIDDEN,
                "no_operator_key",
                "nothing can be changed here: configure [admin] key",
            )
        })?;
        let shown = bearer(headers).ok_or_else(Refusal::unauthorized)?;
        if shown == *key {
            return Ok(());
        }
        let keyring = self.gateway.broker.keyring();
        let digest = keyring.digest("operator key", shown.expose().as_bytes());
        let noted = self.guesses.wrong(peer, digest.as_bytes(), self.clock().now());
        Err(noted.map_or_else(too_many_wrong_keys, |()| Refusal::unauthorized()))
    }

    /// Every credential, by name.
    pub fn views(&self) -> Vec<CredentialView> {
        self.gateway.handles().iter().map(|handle| self.view(handle)).collect()
    }

    fn view(&self, handle: &Handle) -> CredentialView {
        let clock = self.clock();
        let wall = |at: Timestamp| seconds(Stamp::new(at, clock).wall());
        let status = handle.status();
        let held = handle.held();
        let ends = held.iter().flatten().filter(|held| held.lifetime.is_some());
        let first_end = ends.map(Held::expires_at).min();
        let count = |counter: &std::sync::atomic::AtomicU32| {
            u64::from(counter.load(std::sync::atomic::Ordering::Relaxed))
        };
        let counters = handle.counters();
        CredentialView {
            name: handle.name(),
            state: status.state.as_str().to_owned(),
            why: why(handle),
            since: wall(status.since),
            next_action: status.next_action.as_str().to_owned(),
            next_at: status.next_at.map(wall),
            generation: handle.generation(),
            held: held.iter().flatten().count(),
            pool: held.len(),
            expires_at: first_end.map(wall),
            budget_left: handle.budget_left(),
            token_requests: count(&counters.token_requests),
            failures: count(&counters.failures),
        }
    }

    /// Every change of state as server-sent events; the first ones say how things stand.
    fn events(self: &Arc<Self>) -> Answer {
        let receiver = self.gateway.broker.news();
        let first: Vec<String> = self.views().iter().map(event).collect();
        let (viewer, ending) = (Arc::clone(self), self.ending.subscribe());
        let later =
            stream::unfold((receiver, ending, viewer), |(mut news, mut end, viewer)| async move {
                loop {
                    let said = tokio::select! {
                        said = news.recv() => said,
                        _ = end.wait_for(|ending| *ending) => return None,
                    };
                    let name = match said {
                        Ok(News::Status { name, .. }) => name,
                        Ok(News::Forgotten { .. }) | Err(RecvError::Lagged(_)) => continue,
                        Err(RecvError::Closed) => return None,
                    };
                    let handles = viewer.gateway.handles();
                    let Some(handle) = handles.iter().find(|handle| handle.name() == name) else {
                        continue;
                    };
                    let event = event(&viewer.view(handle));
                    return Some((event, (news, end, viewer)));
                }
            });
        let all = futures_util::StreamExt::chain(stream::iter(first), later);
        let frames = futures_util::StreamExt::map(all, |event| {
            Ok::<_, std::convert::Infallible>(Frame::data(event.into()))
        });
        let mut answer = text(StatusCode::OK, "text/event-stream", "");
        *answer.body_mut() = streamed(StreamBody::new(frames));
        answer
    }

    fn clock(&self) -> &dyn Clock {
        &**self.gateway.broker.clock()
    }
}

fn event(view: &CredentialView) -> String {
    format!("event: credential\ndata: {}\n\n", serde_json::to_string(view).unwrap_or_default())
}

fn seconds(wall: UnixTime) -> f64 {
    wall.as_millis() as f64 / 1000.0
}

/// One sentence on what a credential is doing.
fn why(handle: &Handle) -> String {
    let status = handle.status();
    let error = handle.last_error().map(|error| error.to_string());
    let failures = match status.failures {
        0 => String::new(),
        1 => " (1 failure)".to_owned(),
        count => format!(" ({count} failures in a row)"),
    };
    match (status.state, error) {
        (State::Fresh, _) if handle.held().iter().flatten().next().is_none() => {
            "no token was asked for yet".to_owned()
        }
        (State::Fresh, _) => "a good token is held".to_owned(),
        (State::Renewing, _) => "a token request is under way".to_owned(),
        (State::BackingOff | State::InDoubt | State::NeedsReauth | State::Misconfigured, error) => {
            let error = error.unwrap_or_else(|| "the last renewal failed".to_owned());
            let advice = match status.state {
                State::NeedsReauth => format!("; run `bellwether login {}`", handle.name()),
                State::Fresh
                | State::Renewing
                | State::BackingOff
                | State::InDoubt
                | State::Misconfigured => String::new(),
            };
            format!("{error}{failures}{advice}")
        }
    }
}
