//! The two listeners: gateway for callers, admin for operators.
//!
//! A room for each concept. A connection comes in by `listener`; `message` is what every request is
//! held to; `front` says which path leads where, and `gateway` is what all surfaces know. Who a
//! caller is, is decided in three places of `callers` and nowhere else: `configured` (by key and
//! peer), `clients` (their own client, verified by the authorization server) and `passes` (tokens
//! that were handed out here); `access` puts them together for the API. The surfaces are
//! `token_endpoint`, with revocation, for OAuth clients; `beside` for whoever sends to the API
//! itself; and `resource_server` for the API behind, to which `upstream` is the way. `admin` is the
//! other listener.
//!
//! There is no token in anything the admin listener answers.

mod admin;
mod alike;
mod answer;
mod apart;
mod beside;
mod callers;
mod front;
mod gateway;
mod gathered;
mod listener;
mod message;
mod no_token;
mod refusal;
mod resource_server;
mod settings;
mod token_endpoint;
mod upstream;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::News;
use http::Request;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use admin::{Admin, CredentialView, Scrape};
pub use callers::TrustedProxy;
pub use gateway::{Configured, Gateway};
pub use listener::{
    ClientAuth, ConnectionLimits, Listeners, Socket, Tls, TlsError, TlsMaterial, bind,
};
pub use settings::{AdminSettings, CallerKey, CallerSettings, GatewaySettings, HandOut, Vendor};
pub use upstream::{ResourceServer, ResourceServerError};

use answer::Answer;
use callers::Connection;
use front::Front;
use listener::{Crew, Places, Service, listen};

/// Both listeners, running.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    admin: Arc<Admin>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Serves both until [`Running::stop`].
    ///
    /// # Errors
    /// When the gateway's workers cannot be started.
    pub fn start(
        gateway: Arc<Gateway>,
        callers: impl Into<Listeners>,
        admin: Arc<Admin>,
        operators: impl Into<Listeners>,
        drain: Duration,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let news = tokio::spawn(forget_unused(Arc::clone(&gateway), stopped.clone()));
        let (places, workers) = (Arc::clone(&gateway.connections), gateway.settings.workers);
        let Listeners { sockets, tls } = callers.into();
        let crew = Crew::hire(workers, move || {
            listen::carry(Arc::new(Front::new(Arc::clone(&gateway))), tls.clone())
        });
        let gateway = listen::serve(sockets, places, crew?, stopped.clone(), drain);
        let Listeners { sockets, tls } = operators.into();
        let crew = Crew::here(listen::carry(Arc::clone(&admin), tls));
        let places = Arc::clone(&admin.connections);
        let operators = listen::serve(sockets, places, crew, stopped, drain);
        let tasks = vec![tokio::spawn(gateway), tokio::spawn(operators), news];
        Ok(Self { stop, admin, tasks })
    }

    /// Accepts nothing more and lets what is under way finish, within the time to drain.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // Whoever only listens would hold it up.
        self.admin.end_events();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a listener ended badly");
            }
        }
    }
}

async fn forget_unused(gateway: Arc<Gateway>, mut stop: watch::Receiver<bool>) {
    let mut news = gateway.broker.news();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            said = news.recv() => match said {
                Ok(News::Forgotten { name }) => gateway.forget(&name),
                Ok(News::Status { .. }) => {}
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

impl Service for Admin {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Answer {
        Self::answer(self, request, &connection.peer).await
    }

    fn places(&self) -> &Arc<Places> {
        &self.connections
    }
}
