//! The snippet as it is usually pasted: a flag `isRefreshing` and a queue of those who wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use http::HeaderValue;
use tokio::sync::oneshot;

use super::{NoBearer, TokenStrategy};
use crate::login::{Login, OwnToken};

/// A worker that shares one token with all others. On a 401 the first sets a flag and logs in, and
/// the others queue until it is done. A login that fails never clears the flag: from then on
/// everybody who meets a 401 waits for ever.
#[derive(Clone, Debug)]
pub struct IsRefreshing {
    login: Login,
    shared: Arc<Mutex<Flagged>>,
}

#[derive(Debug, Default)]
struct Flagged {
    token: Option<Arc<OwnToken>>,
    is_refreshing: bool,
    queue: Vec<oneshot::Sender<()>>,
}

impl IsRefreshing {
    /// The first worker; the others are its clones.
    pub fn new(login: Login) -> Self {
        Self { login, shared: Arc::default() }
    }

    /// Workers that wait for a login.
    pub fn waiting(&self) -> usize {
        self.shared().queue.len()
    }

    async fn refresh(&self) -> Result<(), NoBearer> {
        let queued = {
            let mut shared = self.shared();
            if shared.is_refreshing {
                let (told, done) = oneshot::channel();
                shared.queue.push(told);
                Some(done)
            } else {
                shared.is_refreshing = true;
                None
            }
        };
        if let Some(done) = queued {
            // Whoever is not told waits on.
            return done.await.map_err(|_| NoBearer { retry_after: None });
        }
        let failed = |refused: crate::NoLogin| NoBearer { retry_after: refused.retry_after };
        let token = self.login.log_in().await.map_err(failed)?;
        let mut shared = self.shared();
        shared.token = Some(Arc::new(token));
        shared.is_refreshing = false;
        for waiting in shared.queue.drain(..) {
            // One that was stopped meanwhile needs nothing.
            let _ = waiting.send(());
        }
        Ok(())
    }

    fn shared(&self) -> MutexGuard<'_, Flagged> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenStrategy for IsRefreshing {
    type Bearer = Arc<OwnToken>;

    async fn bearer(&mut self, _patience: Duration) -> Result<Arc<OwnToken>, NoBearer> {
        let held = self.shared().token.clone();
        if let Some(token) = held {
            return Ok(token);
        }
        self.refresh().await?;
        self.shared().token.clone().ok_or(NoBearer { retry_after: None })
    }

    fn authorization(bearer: &Arc<OwnToken>) -> HeaderValue {
        bearer.authorization.clone()
    }

    fn accepted(&mut self, _bearer: &Arc<OwnToken>, _sent_at: Timestamp) {}

    async fn refused(&mut self, _bearer: &Arc<OwnToken>, _sent_at: Timestamp) {
        // A failed login shows at the next try, which is refused again.
        let _ = self.refresh().await;
    }

    fn throttled(&mut self, _bearer: &Arc<OwnToken>, retry_after: Duration) -> Option<Duration> {
        Some(retry_after)
    }
}
