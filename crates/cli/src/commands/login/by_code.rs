//! The authorization code grant with PKCE (RFC 6749 §4.1, RFC 7636) for a native client (RFC 8252).

use std::time::Duration;

use bellwether_broker::oauth::{
    AuthorizationRequest, CodeVerifier, Grant, Scope, Secret, TokenRequest,
};
use bellwether_broker::{NewGrant, TransportError};
use ring::rand::{SecureRandom, SystemRandom};
use url::Url;

use super::callback::{Awaited, Callbacks};
use super::{Asking, browser};
use crate::commands::Failure;
use crate::tell::tell;

/// A person may have to find a password first.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Sends the user to the authorization endpoint and waits for the answer.
pub(super) async fn obtain(
    asking: &Asking<'_>,
    authorization_endpoint: &Url,
    issuer_is_promised: bool,
    opens_browser: bool,
) -> Result<NewGrant, Failure> {
    let failed = |error: String| Failure::Failed(error);
    let credential = asking.credential;
    let verifier = CodeVerifier::from_random(random()?);
    // As good a secret as any, and in the same characters.
    let state = Secret::from(CodeVerifier::from_random(random()?).expose());
    let callbacks = Callbacks::listen(credential.redirect_port).await.map_err(failed)?;
    let redirect_uri = callbacks.redirect_uri();
    let parameters: Vec<(String, String)> =
        credential.parameters.iter().chain(&credential.authorization_parameters).cloned().collect();
    let request = AuthorizationRequest {
        client_id: &asking.client.id,
        redirect_uri: &redirect_uri,
        scope: &credential.scope,
        state: &state,
        verifier: &verifier,
        parameters: &parameters,
    };
    let mut url = authorization_endpoint.clone();
    url.set_query(Some(&request.query()));
    tell!("Open this address in a browser and log in:\n\n  {url}\n");
    if opens_browser && let Err(error) = browser::open(url.as_str(), &asking.secret_variables) {
        tell!("No browser opens by itself ({error}).");
    }
    tell!("Waiting for the answer at {redirect_uri} …");

    let awaited = Awaited { state, issuer: asking.server.issuer.clone(), issuer_is_promised };
    let code = callbacks.wait(awaited, PATIENCE).await.map_err(failed)?;
    let grant = Grant::AuthorizationCode { code: code.clone(), redirect_uri, verifier };
    let token_request = TokenRequest {
        grant,
        // What was authorized is what the code stands for.
        scope: Scope::default(),
        parameters: credential.parameters.clone(),
    };
    let sent_at = asking.clock.now();
    let encoded = token_request.encode(&asking.client);
    let received = asking.send(&asking.server.token_endpoint, encoded).await;
    let received = received.map_err(|error| {
        let (TransportError::NotSent(why) | TransportError::MaybeSent(why)) = error;
        failed(format!("the code could not be exchanged: {why}; log in again"))
    })?;
    asking.grant(asking.reading(&received, &[&code]), sent_at)
}

fn random() -> Result<[u8; 32], Failure> {
    let mut bits = [0; 32];
    match SystemRandom::new().fill(&mut bits) {
        Ok(()) => Ok(bits),
        Err(_) => Err(Failure::Failed("the kernel gives no random bytes; try again".to_owned())),
    }
}
