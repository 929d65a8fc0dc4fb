//! One worker's way to the API: a kept connection, a token from its strategy, and what it does with
//! a refusal.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use bellwether_broker::oauth::retry_after;
use bellwether_broker::store::Clock;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use tokio::time::timeout;

use crate::connector::{Connection, Connector};
use crate::observed::Observed;
use crate::strategy::TokenStrategy;

/// From the request to the last byte of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A larger answer is no sample.
pub(crate) const MAX_BODY: usize = 4 << 20;
/// What a 429 without a readable `Retry-After` is taken to ask for.
const UNTOLD_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Asks the API with the tokens of a [`TokenStrategy`].
#[derive(Debug)]
pub(crate) struct Caller<S> {
    strategy: S,
    connection: Connection,
    clock: Arc<dyn Clock>,
    observed: Arc<Observed>,
}

/// The API's answer to a GET: 2xx, or 304 where that was asked for.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why a try brought nothing, and how long the server asks to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Why.
    pub why: Why,
    /// Without it the worker pauses as it sees fit.
    pub retry_after: Option<Duration>,
}

/// Why a try brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody was free to try while the slot was open.
    NobodyFree,
    /// The poller was not running.
    NotRunning,
    /// There was no access token.
    NoToken,
    /// No connection, or one that broke.
    Unreachable,
    /// The API did not answer in time.
    TooSlow,
    /// The API answered so.
    Status(u16),
    /// The answer was larger than a sample may be, or could not be read as what was asked for.
    Unusable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyFree => f.write_str("no worker was free"),
            Self::NotRunning => f.write_str("the poller was not running"),
            Self::NoToken => f.write_str("no access token"),
            Self::Unreachable => f.write_str("the API could not be reached"),
            Self::TooSlow => f.write_str("the API did not answer in time"),
            Self::Status(status) => write!(f, "the API answered {status}"),
            Self::Unusable => f.write_str("the answer could not be used"),
        }
    }
}

impl Miss {
    /// Without a word on when to try again.
    pub const fn new(why: Why) -> Self {
        Self { why, retry_after: None }
    }
}

impl<S: TokenStrategy> Caller<S> {
    /// With a connection of its own.
    pub(crate) fn new(
        strategy: S,
        connector: &Connector,
        clock: Arc<dyn Clock>,
        observed: Arc<Observed>,
    ) -> Self {
        Self { strategy, connection: connector.connection(), clock, observed }
    }

    /// The clock that it goes by.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Asks once. Where a token is not at hand it may wait for one, `patience` at most.
    pub(crate) async fn get(
        &mut self,
        target: Uri,
        further: &HeaderMap,
        patience: Duration,
    ) -> Result<Got, Miss> {
        let bearer = self.strategy.bearer(patience).await;
        let bearer =
            bearer.map_err(|none| Miss { why: Why::NoToken, retry_after: none.retry_after })?;
        let sent_at = self.clock.now();
        let got = self.ask(target, further, &bearer).await?;
        self.strategy.heard(&bearer, sent_at, got.status, &got.headers);
        let is_good = got.status.is_success()
            || got.status == StatusCode::NOT_MODIFIED && !further.is_empty();
        if is_good {
            self.strategy.accepted(&bearer, sent_at);
            return Ok(got);
        }
        let retry_after = self.refused(&got, &bearer, sent_at).await;
        Err(Miss { why: Why::Status(got.status.as_u16()), retry_after })
    }

    async fn ask(&self, target: Uri, further: &HeaderMap, bearer: &S::Bearer) -> Result<Got, Miss> {
        let mut request = Request::get(target)
            .header(AUTHORIZATION, S::authorization(bearer))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("bellwether/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|_| Miss::new(Why::Unreachable))?;
        request.headers_mut().extend(further.clone());
        let answer = async {
            let answer = self.connection.request(request).await;
            let (head, body) = answer.map_err(|_| Miss::new(Why::Unreachable))?.into_parts();
            self.observed.note_status(head.status.as_u16());
            let body = Limited::new(body, MAX_BODY).collect().await;
            let body = body.map_err(|_| Miss::new(Why::Unusable))?.to_bytes();
            Ok(Got { status: head.status, headers: head.headers, body })
        };
        timeout(ANSWER_TIMEOUT, answer).await.unwrap_or(Err(Miss::new(Why::TooSlow)))
    }

    /// How long the server asks to wait.
    async fn refused(
        &mut self,
        got: &Got,
        bearer: &S::Bearer,
        sent_at: Timestamp,
    ) -> Option<Duration> {
        match got.status {
            StatusCode::UNAUTHORIZED => {
                self.strategy.refused(bearer, sent_at).await;
                None
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let asked = self.asked_to_wait(&got.headers).unwrap_or(UNTOLD_RETRY_AFTER);
                self.strategy.throttled(bearer, asked)
            }
            StatusCode::SERVICE_UNAVAILABLE => self.asked_to_wait(&got.headers),
            _ => None,
        }
    }

    fn asked_to_wait(&self, headers: &HeaderMap) -> Option<Duration> {
        let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
        retry_after(Some(value), None, self.clock.wall().as_secs())
    }
}
