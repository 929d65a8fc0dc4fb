//! Grants that cannot be shared (a code, an assertion): forwarded once, never cached, never retried.

use std::sync::Arc;

use bellwether_broker::oauth::{
    Client, ClientAuthentication, Grant, Message, Secret, TokenError, TokenRequest, read,
};
use bellwether_broker::{Outgoing, Received, TransportError};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use crate::answer::{Answer, empty, full};
use crate::callers::{CallersRequest, LeadsTo, Mark};
use crate::gateway::Gateway;
use crate::no_token::no_pair;
use crate::refusal::Refusal;
use crate::settings::Vendor;

/// Sends the request on as it came, with the client's own authentication.
pub(crate) async fn once(
    vendor: &Arc<Vendor>,
    client: &Client,
    request: &CallersRequest,
    caller: Option<Mark>,
    gateway: &Gateway,
) -> Result<Answer, Refusal> {
    let (authorization, form) = encode(client, request);
    let outgoing = Outgoing {
        url: vendor.authorization_server.token_endpoint.clone(),
        authorization,
        form: Some(form),
    };
    let received = vendor.authorization_server.transport.send(outgoing).await.map_err(|error| {
        let (TransportError::NotSent(why) | TransportError::MaybeSent(why)) = error;
        Refusal::unavailable(StatusCode::SERVICE_UNAVAILABLE, &why, None)
    })?;
    let sent: Vec<&Secret> = client
        .authentication
        .secret()
        .into_iter()
        .chain(request.parameters.iter().map(|(_, value)| value))
        .collect();
    let wall = gateway.broker.clock().wall().as_secs();
    match read(&message(&received, wall, &sent)).outcome {
        Ok(response) => {
            let leads_to = || LeadsTo::Itself(Arc::clone(vendor));
            gateway.passes.issue(&response.access_token, caller, leads_to);
        }
        // A token exchange may give what is no bearer token (RFC 8693 §2.2.1).
        Err(TokenError::UnsupportedTokenType { .. }) => {}
        // Not a throttle of ours to wait for: the device asks again (RFC 8628 §3.5).
        Err(TokenError::Throttled { details, .. }) if details.code() == Some("slow_down") => {}
        Err(error) => return Err(no_pair(&error, vendor)),
    }
    // Who asked for it knows what else is in it.
    let status = StatusCode::from_u16(received.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut answer = empty(status);
    *answer.body_mut() = full(received.body.to_vec());
    let content_type = received.content_type.as_deref().unwrap_or("application/json");
    if let Ok(value) = HeaderValue::from_str(content_type) {
        answer.headers_mut().insert(CONTENT_TYPE, value);
    }
    Ok(answer)
}

fn message<'a>(received: &'a Received, wall: u64, secrets: &'a [&'a Secret]) -> Message<'a> {
    Message {
        status: received.status,
        content_type: received.content_type.as_deref(),
        retry_after: received.retry_after.as_deref(),
        date: None,
        www_authenticate: received.www_authenticate.as_deref(),
        location: received.location,
        body: &received.body,
        truncated: received.truncated,
        wall,
        secrets,
    }
}

/// The form as it came, with the client's authentication where the server is to see it.
fn encode(client: &Client, request: &CallersRequest) -> (Option<Secret>, Secret) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", &request.grant_type);
    if !request.scope.is_empty() {
        form.append_pair("scope", request.scope.as_str());
    }
    if let Some(refresh_token) = &request.refresh_token {
        form.append_pair("refresh_token", refresh_token.expose());
    }
    // What stands above was taken out of them when the request was read.
    for (name, value) in &request.parameters {
        form.append_pair(name, value.expose());
    }
    let authorization = match &client.authentication {
        ClientAuthentication::Basic(_) => {
            TokenRequest::new(Grant::ClientCredentials).encode(client).authorization
        }
        ClientAuthentication::Post(secret) => {
            form.append_pair("client_id", &client.id).append_pair("client_secret", secret.expose());
            None
        }
        ClientAuthentication::None => {
            if !client.id.is_empty() {
                form.append_pair("client_id", &client.id);
            }
            None
        }
    };
    (authorization, Secret::from(form.finish()))
}
