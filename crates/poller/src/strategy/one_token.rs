//! One token for all, renewed without a lock by whoever sees it end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use http::HeaderValue;

use super::{NoBearer, TokenStrategy};
use crate::login::{Login, OwnToken};

/// A worker that shares one token with all others, and logs in when it finds none that is good, or
/// after a 401, whatever others did meanwhile; the last answer stays.
#[derive(Clone, Debug)]
pub struct OneToken {
    login: Login,
    shared: Arc<Mutex<Option<Arc<OwnToken>>>>,
    refused: bool,
}

impl OneToken {
    /// The first worker; the others are its clones.
    pub fn new(login: Login) -> Self {
        Self { login, shared: Arc::default(), refused: false }
    }

    fn shared(&self) -> MutexGuard<'_, Option<Arc<OwnToken>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenStrategy for OneToken {
    type Bearer = Arc<OwnToken>;

    async fn bearer(&mut self, _patience: Duration) -> Result<Arc<OwnToken>, NoBearer> {
        let refused = std::mem::take(&mut self.refused);
        let now = self.login.clock.now();
        let held = self.shared().clone();
        if let Some(token) = held.filter(|token| !refused && !token.is_expired(now)) {
            return Ok(token);
        }
        match self.login.log_in().await {
            Ok(token) => Ok(Arc::clone(self.shared().insert(Arc::new(token)))),
            Err(failed) => Err(NoBearer { retry_after: failed.retry_after }),
        }
    }

    fn authorization(bearer: &Arc<OwnToken>) -> HeaderValue {
        bearer.authorization.clone()
    }

    fn accepted(&mut self, _bearer: &Arc<OwnToken>, _sent_at: Timestamp) {}

    async fn refused(&mut self, _bearer: &Arc<OwnToken>, _sent_at: Timestamp) {
        self.refused = true;
    }

    fn throttled(&mut self, _bearer: &Arc<OwnToken>, retry_after: Duration) -> Option<Duration> {
        Some(retry_after)
    }
}
