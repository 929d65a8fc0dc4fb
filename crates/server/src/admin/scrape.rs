//! A listener for probes and scrapers alone, of a program that runs without the gateway.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::answer::{Answer, text, without_body};
use crate::callers::Connection;
use crate::listener::{ConnectionLimits, Crew, Places, Service, listen};
use crate::message::Hosts;
use crate::refusal::Refusal;

/// A scrape takes no longer.
const DRAIN: Duration = Duration::from_secs(1);

/// Writes what `/metrics` answers.
type Render = Box<dyn Fn(&mut String) -> fmt::Result + Send + Sync>;

/// `/metrics` and `/healthz`, running.
#[derive(Debug)]
pub struct Scrape {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct Scraped {
    hosts: Hosts,
    connections: Arc<Places>,
    render: Render,
}

impl Scrape {
    /// Serves until [`Scrape::stop`]. `render` writes all metrics in the exposition format.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn start(
        listener: TcpListener,
        render: impl Fn(&mut String) -> fmt::Result + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let hosts = Hosts::new(&[listener.local_addr()?.ip()], &[]);
        let connections = Places::new(ConnectionLimits::default());
        let scraped = Arc::new(Scraped { hosts, connections, render: Box::new(render) });
        let (stop, stopped) = watch::channel(false);
        let places = Arc::clone(&scraped.connections);
        let crew = Crew::here(listen::carry(scraped, None));
        let serving = listen::serve(vec![listener.into()], places, crew, stopped, DRAIN);
        let task = tokio::spawn(serving);
        Ok(Self { stop, task })
    }

    /// Accepts nothing more.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a listener ended badly");
        }
    }
}

impl Service for Scraped {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, _: Arc<Connection>) -> Answer {
        if !self.hosts.allow(request.headers(), request.uri()) {
            return Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "the Host is not this listener's",
            )
            .into();
        }
        let answer = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => {
                text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
            }
            (&Method::GET | &Method::HEAD, "/metrics") => exposition(&self.render),
            _ => Refusal::not_found().into(),
        };
        if request.method() == Method::HEAD { without_body(answer) } else { answer }
    }

    fn places(&self) -> &Arc<Places> {
        &self.connections
    }
}

/// An answer to a scraper.
pub(crate) fn exposition(render: impl Fn(&mut String) -> fmt::Result) -> Answer {
    let mut body = String::new();
    match render(&mut body) {
        Ok(()) => {
            text(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body)
        }
        Err(fmt::Error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", ""),
    }
}
