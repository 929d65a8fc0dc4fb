//! `bellwether logout NAME`: gives the grant back to the authorization server, and forgets it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::oauth::{
    RevocationRequest, Secret, TokenError, TokenTypeHint, read_revocation,
};
use bellwether_broker::{CredentialSettings, CustodyError, Outgoing, TransportError};
use bellwether_store::{Clock, SystemClock};
use clap::Args;
use serde::Serialize;
use url::Url;

use super::endpoints::Endpoints;
use super::grants::{self, Held, Place};
use super::{Failure, load_configuration, print_result};
use crate::configuration::{AuthorizationServer, Environment};
use crate::local_socket::Ask;
use crate::tell::tell;

/// A renewal under way ends well within this.
const CUSTODY_WITHIN: Duration = Duration::from_secs(60);

/// Revoke a credential's refresh token at the authorization server, and forget it
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// The credential's name in the configuration
    name: String,
    /// Forget it even if the authorization server does not revoke it
    #[arg(long)]
    forget: bool,
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

/// What is true after a logout.
#[derive(Debug, Serialize)]
struct LoggedOut {
    name: String,
    /// The authorization server takes the refresh token no more.
    revoked: bool,
    /// Nothing of it is kept here.
    forgotten: bool,
    /// Why it was not revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Logout {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        crate::log::start_quiet(environment);
        let configuration = load_configuration(self.config.as_deref(), environment)?;
        let (_, server) = grants::credential(&configuration, &self.name)?;
        let place = Place::find(self.store.as_deref(), &configuration, environment)?;
        let logged_out = super::runtime()?.block_on(async {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let held = place.open(&configuration, &self.name, &clock)?;
            let logged_out = self.end(server, &held, &*clock).await?;
            held.broker.stop().await;
            if logged_out.forgotten {
                let told = place.tell_running(Ask::GrantEnded { name: self.name.clone() }).await;
                told.map_err(|error| {
                    Failure::Failed(format!("the running broker may still use it: {error}"))
                })?;
            }
            Ok(logged_out)
        })?;
        self.tell(&logged_out)
    }

    async fn end(
        &self,
        server: &AuthorizationServer,
        held: &Held,
        clock: &dyn Clock,
    ) -> Result<LoggedOut, Failure> {
        let transport = &held.settings.authorization_server.transport;
        let endpoints = Endpoints::find(server, &**transport, clock).await;
        let endpoint = endpoints.and_then(|endpoints| {
            endpoints.revocation.ok_or_else(|| {
                format!(
                    "no revocation_endpoint is known for authorization_server {:?}; add it, or \
                     issuer",
                    server.name
                )
            })
        });
        let unsaved = |error: CustodyError| Failure::Failed(format!("{}: {error}", self.name));
        let custody = held.broker.custody(held.settings.clone(), CUSTODY_WITHIN).await;
        let mut custody = custody.map_err(unsaved)?;
        let outcome = |revoked, forgotten, why| LoggedOut {
            name: self.name.clone(),
            revoked,
            forgotten,
            why,
        };
        let token = custody.refresh_token();
        let revoked = match (&token, &endpoint) {
            (None, _) => Err("no refresh token is held".to_owned()),
            (Some(_), Err(why)) => Err(why.clone()),
            (Some(token), Ok(endpoint)) => {
                revoke(&held.settings, endpoint, token, TokenTypeHint::RefreshToken, clock).await
            }
        };
        if let Err(why) = &revoked
            && token.is_some()
            && !self.forget
        {
            let released = custody.release().await;
            released.map_err(unsaved)?;
            return Ok(outcome(false, false, Some(why.clone())));
        }
        if let (Some(token), Ok(endpoint)) = (custody.access_token().cloned(), &endpoint) {
            custody.extend().await.map_err(unsaved)?;
            // Most servers ended it with the grant; some know no such thing, and then it runs out.
            let ended =
                revoke(&held.settings, endpoint, &token, TokenTypeHint::AccessToken, clock).await;
            if let (Err(why), true) = (ended, revoked.is_ok()) {
                tell!("{}: the access token was not revoked: {why}", self.name);
            }
        }
        custody.clear().await.map_err(unsaved)?;
        Ok(outcome(revoked.is_ok(), true, revoked.err()))
    }

    fn tell(&self, logged_out: &LoggedOut) -> Result<(), Failure> {
        let LoggedOut { name, revoked, forgotten, why } = logged_out;
        if self.json {
            print_result(&serde_json::to_string(logged_out).unwrap_or_default())?;
        }
        let why = why.as_deref().unwrap_or_default();
        match (revoked, forgotten) {
            (_, false) if self.json => Err(Failure::Told { exit_status: 1 }),
            (_, false) => Err(Failure::Failed(format!(
                "{name}: the refresh token could not be revoked and is kept: {why}\nTry again, or \
                 forget it all the same with `bellwether logout {name} --forget`"
            ))),
            (_, true) if self.json => Ok(()),
            (true, true) => print_result(&format!("{name}: revoked and forgotten")),
            (false, true) => {
                tell!("{name}: nothing was revoked: {why}");
                print_result(&format!("{name}: forgotten"))
            }
        }
    }
}

/// Has the server end a token (RFC 7009).
async fn revoke(
    settings: &CredentialSettings,
    endpoint: &Url,
    token: &Secret,
    hint: TokenTypeHint,
    clock: &dyn Clock,
) -> Result<(), String> {
    let encoded = RevocationRequest { token, hint }.encode(&settings.client);
    let outgoing = Outgoing {
        url: endpoint.clone(),
        authorization: encoded.authorization,
        form: Some(encoded.body),
    };
    let received = settings.authorization_server.transport.send(outgoing).await;
    let received = received.map_err(|error| {
        let (TransportError::NotSent(why) | TransportError::MaybeSent(why)) = error;
        format!("the authorization server cannot be reached: {why}")
    })?;
    let secrets: Vec<&Secret> =
        settings.client.authentication.secret().into_iter().chain([token]).collect();
    let message = received.message(clock.wall(), &secrets);
    read_revocation(&message).map_err(|error: TokenError| error.to_string())
}
