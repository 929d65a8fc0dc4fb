//! A sample over HTTP: one worker, one kept connection, a token from its strategy.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::oauth::retry_after;
use bellwether_broker::store::Clock;
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use tokio::time::timeout;

use crate::connector::{Connection, Connector};
use crate::observed::Observed;
use crate::resource::Resource;
use crate::sampler::{Sampled, Sampler};
use crate::strategy::TokenStrategy;

/// From the request to the last byte of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A larger answer is no sample.
const MAX_BODY: usize = 4 << 20;
/// What a 429 without a readable `Retry-After` is taken to ask for.
const UNTOLD_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Polls a [`Resource`] with the tokens of a [`TokenStrategy`].
#[derive(Debug)]
pub struct ApiSampler<S> {
    strategy: S,
    resource: Resource,
    connection: Connection,
    clock: Arc<dyn Clock>,
    observed: Arc<Observed>,
}

impl<S: TokenStrategy> ApiSampler<S> {
    /// One worker, with a connection of its own.
    pub fn new(
        strategy: S,
        resource: Resource,
        connector: &Connector,
        clock: Arc<dyn Clock>,
        observed: Arc<Observed>,
    ) -> Self {
        Self { strategy, resource, connection: connector.connection(), clock, observed }
    }

    async fn get(&self, agent: u32, bearer: &S::Bearer) -> Option<(StatusCode, HeaderMap)> {
        let request = Request::get(self.resource.target(agent))
            .header(AUTHORIZATION, S::authorization(bearer))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("bellwether/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .ok()?;
        let answer = async {
            let (head, body) = self.connection.request(request).await.ok()?.into_parts();
            self.observed.note_status(head.status.as_u16());
            Limited::new(body, MAX_BODY).collect().await.ok()?;
            Some((head.status, head.headers))
        };
        timeout(ANSWER_TIMEOUT, answer).await.ok()?
    }
}

impl<S: TokenStrategy> Sampler for ApiSampler<S> {
    async fn sample(&mut self, agent: u32, patience: Duration) -> Sampled {
        let bearer = match self.strategy.bearer(patience).await {
            Ok(bearer) => bearer,
            Err(none) => return Sampled::Failed { retry_after: none.retry_after },
        };
        let sent_at = self.clock.now();
        let Some((status, headers)) = self.get(agent, &bearer).await else {
            return Sampled::Failed { retry_after: None };
        };
        if status.is_success() {
            self.strategy.accepted(&bearer, sent_at);
            return Sampled::Good;
        }
        let retry_after = match status {
            StatusCode::UNAUTHORIZED => {
                self.strategy.refused(&bearer, sent_at).await;
                None
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let asked = self.asked_to_wait(&headers).unwrap_or(UNTOLD_RETRY_AFTER);
                self.strategy.throttled(&bearer, asked)
            }
            StatusCode::SERVICE_UNAVAILABLE => self.asked_to_wait(&headers),
            _ => None,
        };
        Sampled::Failed { retry_after }
    }
}

impl<S> ApiSampler<S> {
    fn asked_to_wait(&self, headers: &HeaderMap) -> Option<Duration> {
        let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
        retry_after(Some(value), None, self.clock.wall().as_secs())
    }
}
