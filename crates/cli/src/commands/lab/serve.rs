//! `bellwether lab serve`: the simulated organisation over sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bellwether_simulation::{Client, NamedProfile, Organisation, Profile};
use bellwether_store::{Clock, SystemClock};
use clap::Args;
use clap::builder::PossibleValuesParser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::Failure;
use crate::configuration::{duration, parse_listen};
use crate::tell::tell;

/// The client that a lab knows without being told. Its secret guards nothing.
pub(super) const CLIENT: (&str, &str) = ("lab-client", "lab-client-secret");

/// Serve the simulated organisation: login and API on one address, until it is stopped
///
/// It knows the client `lab-client` with the secret `lab-client-secret`. `GET /lab/ledger` tells what
/// it saw; `POST /lab/revoke`, `/lab/faults`, `/lab/secret` and `/lab/refresh-token` change what it does.
#[derive(Debug, Args)]
pub(super) struct LabServe {
    /// How the organisation behaves
    #[arg(long, value_name = "NAME", default_value = "genesys", value_parser = profile_names())]
    profile: String,
    /// Where it listens; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8490", value_parser = parse_listen)]
    listen: SocketAddr,
    /// How long access tokens live
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    lifetime: Option<Duration>,
    /// Live access tokens of each client; one more ends the oldest
    #[arg(long, value_name = "N")]
    live_tokens: Option<usize>,
    /// Chooses latencies and tokens
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

impl LabServe {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::Failed(format!("{}: {error}", self.listen));
        if !self.listen.ip().is_loopback() {
            return Err(Failure::Usage(
                "a lab listens on loopback alone: it guards nothing".to_owned(),
            ));
        }
        // The parser knows no other names.
        let named = NamedProfile::find(&self.profile).map(NamedProfile::profile);
        let mut profile =
            named.unwrap_or_else(Profile::genesys).client(Client::new(CLIENT.0, CLIENT.1));
        if let Some(lifetime) = self.lifetime {
            profile.access_token_lifetime = lifetime;
        }
        if self.live_tokens.is_some() {
            profile.live_tokens_per_client = self.live_tokens;
        }
        let clock = SystemClock::new();
        let listener = TcpListener::bind(self.listen).await.map_err(failed)?;
        let now = Arc::new(move || (clock.now(), clock.wall()));
        let organisation = Organisation::new(profile, self.seed);
        let running = bellwether_lab::serve(organisation, listener, now).map_err(failed)?;
        let url = running.url("");
        tell!("ready login={url} api={url}");
        let listen = |kind| signal(kind).map_err(failed);
        let (mut terminate, mut interrupt) =
            (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        running.stop().await;
        Ok(())
    }
}

/// The names of all profiles.
pub(super) fn profile_names() -> PossibleValuesParser {
    PossibleValuesParser::new(NamedProfile::ALL.iter().map(|profile| profile.name))
}
