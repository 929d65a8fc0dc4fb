//! Grants that cannot be shared (a code, an assertion): forwarded once, never cached, never retried.

use std::sync::Arc;

use bellwether_broker::oauth::{Client, ClientAuthentication, Grant, Secret, TokenRequest};
use bellwether_broker::{Outgoing, TransportError};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use crate::answer::{Answer, Refusal, empty, full};
use crate::gateway::Gateway;
use crate::passes::LeadsTo;
use crate::settings::Vendor;
use crate::token_request::CallersRequest;

/// Sends the request on as it came, with the client's own authentication.
pub(crate) async fn once(
    vendor: &Arc<Vendor>,
    client: &Client,
    request: &CallersRequest,
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
    let status = StatusCode::from_u16(received.status).unwrap_or(StatusCode::BAD_GATEWAY);
    if status.is_redirection() || received.truncated {
        return Err(Refusal::unavailable(
            StatusCode::BAD_GATEWAY,
            "the authorization server gave no whole answer",
            None,
        ));
    }
    if status.is_success()
        && let Ok(body) = serde_json::from_slice::<serde_json::Value>(&received.body)
        && let Some(access_token) = body.get("access_token").and_then(|value| value.as_str())
    {
        let pass = Secret::from(access_token);
        gateway.passes.issue(&pass, || LeadsTo::Itself(Arc::clone(vendor)));
    }
    let mut answer = empty(status);
    *answer.body_mut() = full(received.body.to_vec());
    let headers = answer.headers_mut();
    let content_type = received.content_type.as_deref().unwrap_or("application/json");
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    if let Some(value) = received.retry_after.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(RETRY_AFTER, value);
    }
    Ok(answer)
}

/// The form as it came, with the client's authentication where the server is to see it.
fn encode(client: &Client, request: &CallersRequest) -> (Option<Secret>, Secret) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", &request.grant_type);
    if !request.scope.is_empty() {
        form.append_pair("scope", request.scope.as_str());
    }
    for (name, value) in &request.parameters {
        if !TokenRequest::is_reserved(name) {
            form.append_pair(name, value.expose());
        }
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
            form.append_pair("client_id", &client.id);
            None
        }
    };
    (authorization, Secret::from(form.finish()))
}
