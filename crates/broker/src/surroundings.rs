//! What every renewal of a broker needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether_oauth::Secret;
use bellwether_store::{
    Acquired, Clock, Digest, Escrow, HolderId, Key, Keyring, Store, StoreError,
};
use tokio::sync::{OnceCell, watch};

use crate::record::Record;

/// For a few writes.
const LEASE: Duration = Duration::from_secs(20);

/// What every renewal of a broker needs.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) escrow: Arc<dyn Escrow>,
    pub(crate) keyring: Keyring,
    /// Where the broker was started: what a caller begins outlives the caller's own runtime.
    pub(crate) runtime: tokio::runtime::Handle,
    /// True once the broker is to stop: nothing waits any longer than it must.
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) tally: Tally,
    epoch: OnceCell<u64>,
}

/// What concerns no credential more than another.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Renewals that ended in doubt.
    pub(crate) doubts: AtomicU64,
    /// What must never be, and was seen all the same.
    pub(crate) violations: AtomicU64,
}

impl Tally {
    /// Counts what must never be and says so; whoever sees it goes the safe way.
    pub(crate) fn violated(&self, credential: &str, what: &str) {
        self.violations.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            credential,
            what,
            "an invariant is violated; this is a defect of Bellwether"
        );
    }
}

impl Surroundings {
    /// Takes the lease on a key, for something that sends no token request.
    pub(crate) async fn acquire(&self, key: &Key) -> Result<Acquired, StoreError> {
        self.store.acquire(key, HolderId::random()?, LEASE).await
    }

    /// Around these on the current runtime, while nothing is to stop.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        store: Arc<dyn Store>,
        escrow: Arc<dyn Escrow>,
        keyring: Keyring,
    ) -> Self {
        let stopping = watch::Sender::new(false);
        let (tally, epoch) = (Tally::default(), OnceCell::new());
        let runtime = tokio::runtime::Handle::current();
        Self { clock, store, escrow, keyring, runtime, stopping, tally, epoch }
    }

    /// The store's epoch: one and the same for as long as it is open.
    pub(crate) async fn epoch(&self) -> Result<u64, StoreError> {
        let ask = async || Ok(self.store.origin().await?.epoch);
        self.epoch.get_or_try_init(ask).await.copied()
    }

    /// What the row of a key says, and its generation.
    pub(crate) async fn record(&self, key: &Key) -> Result<Option<(u64, Record)>, StoreError> {
        let Some(row) = self.store.load(key).await? else { return Ok(None) };
        let record = Record::open(&self.keyring, key, &row)
            .map_err(|error| StoreError::Corrupt { why: error.to_string() })?;
        Ok(Some((row.generation, record)))
    }

    pub(crate) fn access_digest(&self, access_token: &Secret) -> Digest {
        self.keyring.digest("access token", access_token.expose().as_bytes())
    }

    pub(crate) fn refresh_digest(&self, refresh_token: &Secret) -> Digest {
        self.keyring.digest("refresh token", refresh_token.expose().as_bytes())
    }
}
