//! `bellwether login NAME`: obtains a refresh token, with a person's consent.

mod browser;
mod by_code;
mod by_device;
mod callback;
mod import;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::{Timestamp, UnixTime};
use bellwether_broker::oauth::{
    Client, EncodedRequest, Reading, Scope, Secret, TokenError, TokenResponse, read,
};
use bellwether_broker::{NewGrant, Outgoing, Received, Token, Transport, TransportError};
use bellwether_store::{Clock, SystemClock};
use clap::Args;
use serde::Serialize;
use url::Url;

use super::endpoints::Endpoints;
use super::grants::{self, Place};
use super::{Failure, load_configuration, print_result};
use crate::configuration::{self as file, Environment};
use crate::local_socket::Ask;
use crate::tell::tell;

/// A renewal under way ends well within this.
const CUSTODY_WITHIN: Duration = Duration::from_secs(60);

/// Obtain a refresh token for a credential, in a browser or by a code typed on another device
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The credential's name in the configuration; its grant is refresh_token
    name: String,
    /// Show a code to type on another device, instead of waiting for a browser on this one
    #[arg(long)]
    device: bool,
    /// Print the address and open no browser
    #[arg(long, conflicts_with = "device")]
    no_browser: bool,
    /// Take an existing refresh token from standard input, as it is
    #[arg(long, visible_alias = "stdin", conflicts_with_all = ["device", "no_browser"])]
    import: bool,
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
    /// The configuration; else $BELLWETHER_CONFIG, ./bellwether.toml, or the user's own
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The store; else the configuration's
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

/// What is true after a login; holds no token.
#[derive(Debug, Serialize)]
struct LoggedIn {
    name: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What the access token is good for, where the server or the configuration says so.
    scope: Option<String>,
    /// When the access token ends, in Unix seconds.
    expires_at: Option<u64>,
}

/// What the ways to a grant have in common.
struct Asking<'a> {
    credential: &'a file::Credential,
    server: &'a file::AuthorizationServer,
    client: Client,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    /// What no child process is to inherit.
    secret_variables: Vec<&'a str>,
}

impl Login {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        crate::log::start_quiet(environment);
        let configuration = load_configuration(self.config.as_deref(), environment)?;
        let (credential, server) = grants::credential(&configuration, &self.name)?;
        let place = Place::find(self.store.as_deref(), &configuration, environment)?;
        let logged_in = super::runtime()?.block_on(async {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            // Opened first: a person is not troubled for what cannot be kept.
            let held = place.open(&configuration, &self.name, &clock)?;
            let transport = Arc::clone(&held.settings.authorization_server.transport);
            let client = credential.client();
            let secret_variables = browser::secret_variables(&configuration);
            let asking = Asking { credential, server, client, transport, clock, secret_variables };
            let grant = if self.import {
                NewGrant::Imported(import::from_standard_input()?)
            } else {
                self.obtain(&asking, environment).await?
            };
            let custody = held.broker.custody(held.settings.clone(), CUSTODY_WITHIN).await;
            let token = match custody {
                Ok(custody) => custody.deposit(grant).await,
                Err(error) => Err(error),
            };
            let token = token.map_err(|error| {
                Failure::Failed(format!("the refresh token was not saved: {error}"))
            })?;
            held.broker.stop().await;
            self.outcome(&place, credential, token).await
        })?;
        self.tell(&logged_in)
    }

    async fn obtain(
        &self,
        asking: &Asking<'_>,
        environment: Environment<'_>,
    ) -> Result<NewGrant, Failure> {
        let endpoints = Endpoints::find(asking.server, &*asking.transport, &*asking.clock).await;
        let endpoints = endpoints.map_err(Failure::Failed)?;
        let has_browser = self.no_browser || browser::can_open(environment);
        let missing = |key: &str| {
            Failure::Usage(format!(
                "no {key} is known for authorization_server {:?}; add {key} or issuer to it",
                asking.server.name
            ))
        };
        match (endpoints.authorization, endpoints.device_authorization) {
            (_, Some(device)) if self.device => by_device::obtain(asking, &device).await,
            (_, None) if self.device => Err(missing("device_authorization_endpoint")),
            (Some(_), Some(device)) if !has_browser => by_device::obtain(asking, &device).await,
            (Some(authorization), _) => {
                let opens = has_browser && !self.no_browser;
                let promised = endpoints.issuer_is_promised;
                by_code::obtain(asking, &authorization, promised, opens).await
            }
            (None, Some(device)) => by_device::obtain(asking, &device).await,
            (None, None) => Err(missing("authorization_endpoint")),
        }
    }

    /// How things stand now, by the running broker if there is one.
    async fn outcome(
        &self,
        place: &Place,
        credential: &file::Credential,
        token: Option<Token>,
    ) -> Result<LoggedIn, Failure> {
        let asked_for = (!credential.scope.is_empty()).then(|| credential.scope.to_string());
        let granted = token.as_ref().and_then(Token::scope).map(Scope::to_string);
        let mut logged_in = LoggedIn {
            name: self.name.clone(),
            // An access token comes with the first use of an imported refresh token.
            state: if token.is_some() { "fresh" } else { "renewing" }.to_owned(),
            why: None,
            scope: granted.or(asked_for),
            expires_at: token.as_ref().and_then(Token::expires_at).map(UnixTime::as_secs),
        };
        match place.tell_running(Ask::GrantReplaced { name: self.name.clone() }).await {
            Ok(Some(view)) => {
                logged_in.expires_at = view.expires_at.map(|end| end as u64);
                logged_in.why = (view.state != "fresh").then_some(view.why);
                logged_in.state = view.state;
            }
            Ok(None) => {}
            Err(error) => {
                tell!("the running broker was not told and takes notice by itself: {error}");
            }
        }
        Ok(logged_in)
    }

    fn tell(&self, logged_in: &LoggedIn) -> Result<(), Failure> {
        let LoggedIn { name, state, why, scope, expires_at: _ } = logged_in;
        let is_good = matches!(state.as_str(), "fresh" | "renewing");
        if self.json {
            print_result(&serde_json::to_string(logged_in).unwrap_or_default())?;
        } else {
            let scope = scope.as_ref().map_or_else(String::new, |scope| format!(", scope {scope}"));
            let verb = if self.import { "imported" } else { "logged in" };
            print_result(&format!("{name}: {verb}; {state}{scope}"))?;
        }
        match (is_good, why) {
            (true, _) => Ok(()),
            (false, Some(why)) if !self.json => Err(Failure::Failed(format!("{name}: {why}"))),
            (false, _) => Err(Failure::Told { exit_status: 1 }),
        }
    }
}

impl Asking<'_> {
    /// Sends a form to the authorization server, once.
    async fn send(&self, url: &Url, request: EncodedRequest) -> Result<Received, TransportError> {
        let EncodedRequest { authorization, body } = request;
        self.transport.send(Outgoing { url: url.clone(), authorization, form: Some(body) }).await
    }

    fn reading(&self, received: &Received, sent: &[&Secret]) -> Reading {
        let secrets: Vec<&Secret> =
            self.client.authentication.secret().into_iter().chain(sent.iter().copied()).collect();
        read(&received.message(self.clock.wall(), &secrets))
    }

    /// The grant in a token response, if it holds one that lasts.
    fn grant(&self, reading: Reading, sent_at: Timestamp) -> Result<NewGrant, Failure> {
        match reading {
            Reading {
                outcome: Ok(response @ TokenResponse { refresh_token: Some(_), .. }),
                ..
            } => Ok(NewGrant::Issued { response, sent_at }),
            Reading { outcome: Ok(_), .. } => Err(Failure::Failed(
                "the authorization server gave an access token and no refresh token; ask for one \
                 by scope (often offline_access) or authorization_parameters, and allow it for \
                 this client at the server"
                    .to_owned(),
            )),
            // An answer that is broken elsewhere still brings what counts.
            Reading { refresh_token: Some(refresh_token), .. } => {
                Ok(NewGrant::Imported(refresh_token))
            }
            Reading { outcome: Err(error), .. } => Err(refused(&error)),
        }
    }
}

fn refused(error: &TokenError) -> Failure {
    Failure::Failed(error.to_string())
}
