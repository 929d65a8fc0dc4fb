//! What can be promised for the refresh tokens of an authorization server.

use std::time::Duration;

use bellwether_broker::provider::Rotation;
use serde::Serialize;

use crate::configuration::{AuthorizationServer, Configuration, Grant};

/// What a server's rotation class allows.
#[derive(Debug, Serialize)]
pub(super) struct Promise {
    authorization_server: String,
    rotation: &'static str,
    /// The window, in seconds.
    rotation_window: Option<f64>,
    /// What is promised, and what cannot be.
    promise: String,
    /// What in the configuration stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl Promise {
    /// One line for a person.
    pub(super) fn line(&self) -> String {
        let Self { authorization_server, rotation, promise, warning, .. } = self;
        let warning = warning.as_ref().map_or_else(String::new, |why| format!("; warning: {why}"));
        format!("{authorization_server}: rotation {rotation}: {promise}{warning}")
    }
}

/// One for each authorization server that has a `refresh_token` credential.
pub(super) fn promises(configuration: &Configuration) -> Vec<Promise> {
    let spends = |server: &&AuthorizationServer| {
        let mut own = configuration
            .credentials
            .iter()
            .filter(|credential| credential.authorization_server == server.name);
        own.any(|credential| credential.grant == Grant::RefreshToken)
    };
    let servers = configuration.authorization_servers.iter().filter(spends);
    let promise = |server: &AuthorizationServer| Promise {
        authorization_server: server.name.clone(),
        rotation: server.rotation.as_str(),
        rotation_window: server.rotation_window.map(|window| window.as_secs_f64()),
        promise: told(server.rotation, server.rotation_window),
        warning: warning(server.rotation_window, server.request_timeout),
    };
    servers.map(promise).collect()
}

fn told(rotation: Rotation, window: Option<Duration>) -> String {
    let seconds = window.unwrap_or_default().as_secs_f64();
    match rotation {
        Rotation::None => "a refresh token is not spent by use, so a lost answer is asked for again \
                           and nothing is lost"
            .to_owned(),
        Rotation::Strict => "a refresh token is good once, so an answer that is lost on the network, \
                             or with a process killed before it is on disk, cannot be asked for \
                             again; then the access token at hand serves to its end, the refresh \
                             token is tried once, and if that is refused somebody logs in again"
            .to_owned(),
        Rotation::NewPair => format!(
            "a lost answer is asked for again within {seconds} s of its request and brings another \
             pair, so nothing is lost; later than that as with strict"
        ),
        Rotation::SamePair => format!(
            "a lost answer is asked for again within {seconds} s of its request and comes as it \
             was, so nothing is lost; later than that as with strict"
        ),
        Rotation::UntilAcknowledged => "a refresh token stays good until a token that came after it \
                                        is used, so a lost answer is asked for again and nothing is \
                                        lost"
            .to_owned(),
        Rotation::LastPair => format!(
            "a lost answer is asked for again within {seconds} s of its request, and the pair in it \
             ends, so nothing is lost as long as Bellwether alone refreshes; later than that as \
             with strict"
        ),
    }
}

/// A request is repeated once its own time is over, and before the last quarter of the window.
fn warning(window: Option<Duration>, request_timeout: Duration) -> Option<String> {
    let safe = window?.mul_f64(0.75);
    let timeout = request_timeout.as_secs_f64();
    let safe_seconds = safe.as_secs_f64();
    (safe <= request_timeout).then(|| {
        format!(
            "a request that hangs is given up after request_timeout = {timeout} s, too late to \
             repeat it in the {safe_seconds} s that count of this window; make request_timeout \
             shorter"
        )
    })
}
