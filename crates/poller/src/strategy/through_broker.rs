//! Bellwether's own: the broker's pool, spent within the API's limit.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use bellwether_broker::{Handle, Refusal, Token};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::timeout;

use super::{NoBearer, TokenStrategy};

/// The broker hears of a refusal at once; the cure is waited for no longer than this, since another
/// token of the pool may serve meanwhile.
const WAIT_FOR_CURE: Duration = Duration::from_secs(1);

/// A worker that takes each request's token from a broker.
#[derive(Clone, Debug)]
pub struct ThroughBroker {
    handle: Handle,
    /// Stands in for a token that the API does not know yet.
    stand_in: Option<Arc<Token>>,
}

impl ThroughBroker {
    /// All workers share the credential behind `handle`.
    pub fn new(handle: Handle) -> Self {
        Self { handle, stand_in: None }
    }
}

impl TokenStrategy for ThroughBroker {
    type Bearer = Arc<Token>;

    async fn bearer(&mut self, patience: Duration) -> Result<Arc<Token>, NoBearer> {
        if let Some(token) = self.stand_in.take() {
            return Ok(token);
        }
        // The time until there is room again is no reason to rest: a new token brings its own.
        let none = NoBearer { retry_after: None };
        let spent = timeout(patience, self.handle.spend(patience)).await;
        spent.map_err(|_| none)?.map_err(|_| none)
    }

    fn authorization(bearer: &Arc<Token>) -> HeaderValue {
        bearer.authorization().clone()
    }

    fn accepted(&mut self, bearer: &Arc<Token>, sent_at: Timestamp) {
        self.handle.accepted(bearer, sent_at);
    }

    fn heard(
        &mut self,
        bearer: &Arc<Token>,
        sent_at: Timestamp,
        status: StatusCode,
        fields: &HeaderMap,
    ) {
        self.handle.heard(bearer, sent_at, status, fields);
    }

    async fn refused(&mut self, bearer: &Arc<Token>, sent_at: Timestamp) {
        // With a newer token the next try spends afresh; an older one stands in, once.
        let cure = timeout(WAIT_FOR_CURE, self.handle.refused(bearer, sent_at)).await;
        if let Ok(Refusal::Cure(token)) = cure
            && token.member() == bearer.member()
            && token.generation() < bearer.generation()
        {
            self.stand_in = Some(token);
        }
    }

    fn throttled(&mut self, bearer: &Arc<Token>, retry_after: Duration) -> Option<Duration> {
        self.handle.throttled(bearer, retry_after);
        None
    }
}
