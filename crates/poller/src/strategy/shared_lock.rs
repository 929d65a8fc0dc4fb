//! The advice: one token for all, behind a lock.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use http::HeaderValue;
use tokio::sync::Mutex;

use super::{NoBearer, TokenStrategy};
use crate::login::{Login, OwnToken};

/// A worker that shares one token with all others. On a 401 the first renews it and the others
/// wait; whoever comes with a token that was replaced meanwhile takes the new one.
#[derive(Clone, Debug)]
pub struct SharedLock {
    login: Login,
    shared: Arc<Mutex<Option<Arc<OwnToken>>>>,
}

impl SharedLock {
    /// The first worker; the others are its clones.
    pub fn new(login: Login) -> Self {
        Self { login, shared: Arc::default() }
    }
}

impl TokenStrategy for SharedLock {
    type Bearer = Arc<OwnToken>;

    async fn bearer(&mut self, _patience: Duration) -> Result<Arc<OwnToken>, NoBearer> {
        let mut shared = self.shared.lock().await;
        let now = self.login.clock.now();
        if let Some(token) = shared.as_ref().filter(|token| !token.is_expired(now)) {
            return Ok(Arc::clone(token));
        }
        match self.login.log_in().await {
            Ok(token) => Ok(Arc::clone(shared.insert(Arc::new(token)))),
            Err(refused) => Err(NoBearer { retry_after: refused.retry_after }),
        }
    }

    fn authorization(bearer: &Arc<OwnToken>) -> HeaderValue {
        bearer.authorization.clone()
    }

    fn accepted(&mut self, _bearer: &Arc<OwnToken>, _sent_at: Timestamp) {}

    async fn refused(&mut self, bearer: &Arc<OwnToken>, _sent_at: Timestamp) {
        let mut shared = self.shared.lock().await;
        if shared.as_ref().is_some_and(|held| Arc::ptr_eq(held, bearer)) {
            *shared = None;
        }
    }

    fn throttled(&mut self, _bearer: &Arc<OwnToken>, retry_after: Duration) -> Option<Duration> {
        Some(retry_after)
    }
}
