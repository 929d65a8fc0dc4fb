//! A presented refresh token's row: what it gave, or that it was refused.

use bellwether_lifecycle::Timestamp;
use bellwether_oauth::{Scope, Secret, TokenResponse};
use bellwether_store::{Clock, Fence, Key, Row, Saved, Stamp, StoreError};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::Pair;
use crate::flight::Surroundings;
use crate::stored_failure::StoredFailure;

/// What became of a presented refresh token.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Exchanged {
    /// Digest of the scope and the parameters it was exchanged with.
    pub(super) identity: String,
    /// Digest of the client's secret.
    pub(super) secret: String,
    pub(super) at: Option<Stamp>,
    pub(super) refused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pair: Option<StoredPair>,
    /// What the latest request met, for those who wait for it in other processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<StoredFailure>,
}

/// The pair it gave.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredPair {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    pub(super) scope: Option<String>,
    pub(super) sent_at: Stamp,
    pub(super) expires_at: Option<Stamp>,
}

impl StoredPair {
    pub(super) fn of(
        response: TokenResponse,
        presented: &Secret,
        sent_at: Timestamp,
        clock: &dyn Clock,
    ) -> Self {
        let refresh_token = response.refresh_token.as_ref().unwrap_or(presented);
        Self {
            access_token: response.access_token.expose().to_owned(),
            refresh_token: refresh_token.expose().to_owned(),
            scope: response.scope.map(|scope| scope.to_string()),
            sent_at: Stamp::new(sent_at, clock),
            expires_at: response.expires_in.map(|life| Stamp::new(sent_at + life, clock)),
        }
    }

    pub(super) fn resolve(&self, clock: &dyn Clock) -> Pair {
        let (sent_at, expires_at) =
            (self.sent_at.resolve(clock), self.expires_at.map(|end| end.resolve(clock)));
        Pair {
            access_token: Secret::from(self.access_token.as_str()),
            refresh_token: Secret::from(self.refresh_token.as_str()),
            scope: self.scope.as_deref().and_then(|scope| Scope::parse(scope).ok()),
            expires_at,
            lifetime: expires_at.map(|end| sent_at.until(end)),
        }
    }
}

impl Drop for StoredPair {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

impl Exchanged {
    pub(super) fn open(
        surroundings: &Surroundings,
        key: &Key,
        row: &Row,
    ) -> Result<Self, StoreError> {
        let corrupt = |why: String| StoreError::Corrupt { why };
        let plain = surroundings.keyring.open(key, row.generation, &row.sealed);
        let plain = plain.map_err(|error| corrupt(error.to_string()))?;
        serde_json::from_slice(&plain).map_err(|_| corrupt("its content is not ours".to_owned()))
    }

    pub(super) async fn save(
        &self,
        surroundings: &Surroundings,
        key: &Key,
        fence: Fence,
        generation: u64,
    ) {
        let plain = Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        let sealed = surroundings.keyring.seal(key, generation, &plain);
        match surroundings.store.save(key, fence, Row { generation, sealed }).await {
            Ok(Saved::Done) => {}
            Ok(Saved::Fenced | Saved::Behind) => {
                tracing::warn!("a later holder has exchanged the same refresh token");
            }
            Err(error) => tracing::error!(%error, "an exchanged refresh token was not saved"),
        }
    }
}
