//! The device authorization grant (RFC 8628): the user decides on another device.

use bellwether_broker::oauth::{
    DeviceAuthorizationRequest, Grant, Poll, Polling, Scope, TokenRequest,
    read_device_authorization,
};
use bellwether_broker::{NewGrant, TransportError};
use tokio::time::sleep;
use url::Url;

use super::{Asking, refused};
use crate::commands::Failure;
use crate::tell::tell;

/// Shows the user's code and asks until the user has decided.
pub(super) async fn obtain(
    asking: &Asking<'_>,
    device_authorization_endpoint: &Url,
) -> Result<NewGrant, Failure> {
    let failed = |error: String| Failure::Failed(error);
    let credential = asking.credential;
    let request =
        DeviceAuthorizationRequest { scope: &credential.scope, parameters: &credential.parameters };
    let encoded = request.encode(&asking.client);
    let received = asking.send(device_authorization_endpoint, encoded).await;
    let received = received.map_err(|error| {
        let (TransportError::NotSent(why) | TransportError::MaybeSent(why)) = error;
        failed(format!("the authorization server cannot be asked for a code: {why}"))
    })?;
    let secrets: Vec<_> = asking.client.authentication.secret().into_iter().collect();
    let message = received.message(asking.clock.wall(), &secrets);
    let authorization = read_device_authorization(&message).map_err(|error| refused(&error))?;
    tell!(
        "Open this address on any device and type the code:\n\n  {}\n  {}\n",
        authorization.verification_uri,
        authorization.user_code
    );
    if let Some(complete) = &authorization.verification_uri_complete {
        tell!("Or this one, which has the code in it:\n\n  {complete}\n");
    }
    tell!("Waiting; the code is good for {} min …", authorization.expires_in.as_secs() / 60);

    let token_request = TokenRequest {
        grant: Grant::DeviceCode(authorization.device_code.clone()),
        scope: Scope::default(),
        parameters: credential.parameters.clone(),
    };
    let mut polling = Polling::new(&authorization);
    loop {
        let asked_at = asking.clock.now();
        sleep(polling.interval()).await;
        let sent_at = asking.clock.now();
        let encoded = token_request.encode(&asking.client);
        let reading = match asking.send(&asking.server.token_endpoint, encoded).await {
            Ok(received) => {
                let reading = asking.reading(&received, &[&authorization.device_code]);
                if reading.outcome.is_ok() || reading.refresh_token.is_some() {
                    return asking.grant(reading, sent_at);
                }
                reading.outcome.err()
            }
            Err(TransportError::NotSent(_) | TransportError::MaybeSent(_)) => None,
        };
        match polling.after(asking.clock.now().since(asked_at), reading.as_ref()) {
            Poll::Again(_) => {}
            Poll::Denied => return Err(failed("access was denied".to_owned())),
            Poll::Expired => {
                return Err(failed(
                    "nobody decided while the code was good; log in again".to_owned(),
                ));
            }
            Poll::Failed => {
                return Err(reading.map_or_else(
                    || failed("the authorization server answers oddly".to_owned()),
                    |error| refused(&error),
                ));
            }
        }
    }
}
