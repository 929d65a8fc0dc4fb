//! The report's strategy: every worker its own token, renewed when it looks after it.

use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use http::HeaderValue;
use tokio::time::sleep;

use super::{NoBearer, TokenStrategy};
use crate::login::{Login, OwnToken};

/// The random delay that is meant to spread renewals, in milliseconds.
const JITTER: std::ops::RangeInclusive<u64> = 100..=500;

/// A worker with a token of its own: it logs in when it sees the token expire, and on a 401.
#[derive(Debug)]
pub struct PerWorker {
    login: Login,
    token: Option<OwnToken>,
    jitter: Option<fastrand::Rng>,
}

impl PerWorker {
    /// Logs in as soon as it has to.
    pub fn new(login: Login) -> Self {
        Self { login, token: None, jitter: None }
    }

    /// Waits for a random time before it logs in; `seed` chooses which.
    pub fn with_jitter(login: Login, seed: u64) -> Self {
        Self { jitter: Some(fastrand::Rng::with_seed(seed)), ..Self::new(login) }
    }
}

impl TokenStrategy for PerWorker {
    type Bearer = HeaderValue;

    async fn bearer(&mut self, _patience: Duration) -> Result<HeaderValue, NoBearer> {
        let now = self.login.clock.now();
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_expired(now)) {
            return Ok(token.authorization.clone());
        }
        if let Some(random) = &mut self.jitter {
            sleep(Duration::from_millis(random.u64(JITTER))).await;
        }
        match self.login.log_in().await {
            Ok(token) => Ok(self.token.insert(token).authorization.clone()),
            Err(refused) => Err(NoBearer { retry_after: refused.retry_after }),
        }
    }

    fn authorization(bearer: &HeaderValue) -> HeaderValue {
        bearer.clone()
    }

    fn accepted(&mut self, _bearer: &HeaderValue, _sent_at: Timestamp) {}

    async fn refused(&mut self, _bearer: &HeaderValue, _sent_at: Timestamp) {
        self.token = None;
    }

    fn throttled(&mut self, _bearer: &HeaderValue, retry_after: Duration) -> Option<Duration> {
        Some(retry_after)
    }
}
