//! Where a worker's access token comes from, and what it does with a refusal.

mod is_refreshing;
mod one_token;
mod per_worker;
mod shared_lock;
mod through_broker;
mod with_key;

use std::future::Future;
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use http::{HeaderMap, HeaderValue, StatusCode};

pub use is_refreshing::IsRefreshing;
pub use one_token::OneToken;
pub use per_worker::PerWorker;
pub use shared_lock::SharedLock;
pub use through_broker::ThroughBroker;
pub use with_key::WithKey;

/// One worker's way to its tokens.
pub trait TokenStrategy: Send + Sync + 'static {
    /// An access token, as this strategy keeps it.
    type Bearer: Send + Sync;

    /// A token for one API request.
    ///
    /// # Errors
    /// When there is none within `patience`, where the strategy waits at all.
    fn bearer(
        &mut self,
        patience: Duration,
    ) -> impl Future<Output = Result<Self::Bearer, NoBearer>> + Send;

    /// The value of the header `Authorization` (RFC 6750 §2.1).
    fn authorization(bearer: &Self::Bearer) -> HeaderValue;

    /// The API took it in a request sent at `sent_at`.
    fn accepted(&mut self, bearer: &Self::Bearer, sent_at: Timestamp);

    /// The API's answer to a request sent at `sent_at`; it may tell of a limit.
    fn heard(
        &mut self,
        _bearer: &Self::Bearer,
        _sent_at: Timestamp,
        _status: StatusCode,
        _fields: &HeaderMap,
    ) {
    }

    /// The API answered 401 to a request sent at `sent_at`; the next token must be another one.
    fn refused(
        &mut self,
        bearer: &Self::Bearer,
        sent_at: Timestamp,
    ) -> impl Future<Output = ()> + Send;

    /// The API answered 429. Says how long this worker has to wait; `None` if another token will do.
    fn throttled(&mut self, bearer: &Self::Bearer, retry_after: Duration) -> Option<Duration>;
}

/// There is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBearer {
    /// How long the authorization server asks to wait.
    pub retry_after: Option<Duration>,
}
