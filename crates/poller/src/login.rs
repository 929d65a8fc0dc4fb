//! Logging in by oneself, as integrations do that have no broker.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use bellwether_broker::oauth::{Client, Grant, Message, Remedy, Scope, TokenRequest, read};
use bellwether_broker::store::Clock;
use bellwether_broker::{Outgoing, Transport};
use http::HeaderValue;
use url::Url;

/// How an integration logs in: `client_credentials` (RFC 6749 §4.4), once, without any retry.
#[derive(Clone, Debug)]
pub struct Login {
    /// Where token requests go (RFC 6749 §3.2).
    pub token_endpoint: Url,
    /// Who asks.
    pub client: Client,
    /// How the authorization server is reached.
    pub transport: Arc<dyn Transport>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// An access token that its owner looks after alone.
#[derive(Debug)]
pub struct OwnToken {
    pub(crate) authorization: HeaderValue,
    expires_at: Timestamp,
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLogin {
    /// How long the authorization server asks to wait.
    pub retry_after: Option<Duration>,
}

impl Login {
    /// Sends one token request.
    ///
    /// # Errors
    /// Whenever no usable token comes back.
    pub async fn log_in(&self) -> Result<OwnToken, NoLogin> {
        let request = TokenRequest {
            grant: Grant::ClientCredentials,
            scope: Scope::default(),
            parameters: Vec::new(),
        };
        let encoded = request.encode(&self.client);
        let outgoing = Outgoing {
            url: self.token_endpoint.clone(),
            authorization: encoded.authorization,
            form: Some(encoded.body),
        };
        let gone = NoLogin { retry_after: None };
        let received = self.transport.send(outgoing).await.map_err(|_| gone)?;
        let message = Message {
            status: received.status,
            content_type: received.content_type.as_deref(),
            retry_after: received.retry_after.as_deref(),
            body: &received.body,
            truncated: received.truncated,
            wall: self.clock.wall().as_secs(),
            ..Message::default()
        };
        let response = read(&message).outcome.map_err(|error| match error.remedy() {
            Remedy::Retry { after: retry_after } => NoLogin { retry_after },
            Remedy::Reauthorize | Remedy::FixConfiguration => gone,
        })?;
        let text = format!("Bearer {}", response.access_token.expose());
        let mut authorization = HeaderValue::try_from(text).map_err(|_| gone)?;
        authorization.set_sensitive(true);
        // Counted from the answer, as everybody does: a little too long.
        let ends = |lifetime| self.clock.now() + lifetime;
        let expires_at = response.expires_in.map_or(Timestamp::NEVER, ends);
        Ok(OwnToken { authorization, expires_at })
    }
}

impl OwnToken {
    /// Whether its owner sees it expired.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
}
