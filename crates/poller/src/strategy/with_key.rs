//! A caller of a gateway that looks after the tokens: it shows its key.

use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use http::HeaderValue;
use http::header::InvalidHeaderValue;

use super::{NoBearer, TokenStrategy};

/// A worker that shows the same bearer with every request.
#[derive(Clone, Debug)]
pub struct WithKey {
    authorization: HeaderValue,
}

impl WithKey {
    /// Shows this key.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn new(key: &str) -> Result<Self, InvalidHeaderValue> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}"))?;
        authorization.set_sensitive(true);
        Ok(Self { authorization })
    }
}

impl TokenStrategy for WithKey {
    type Bearer = HeaderValue;

    async fn bearer(&mut self, _patience: Duration) -> Result<HeaderValue, NoBearer> {
        Ok(self.authorization.clone())
    }

    fn authorization(bearer: &HeaderValue) -> HeaderValue {
        bearer.clone()
    }

    fn accepted(&mut self, _bearer: &HeaderValue, _sent_at: Timestamp) {}

    async fn refused(&mut self, _bearer: &HeaderValue, _sent_at: Timestamp) {}

    fn throttled(&mut self, _bearer: &HeaderValue, retry_after: Duration) -> Option<Duration> {
        Some(retry_after)
    }
}
