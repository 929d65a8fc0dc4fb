//! A store that lives as long as its process.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use crate::clock::Clock;
use crate::key::{Key, Kind};
use crate::lease::{Acquired, Fence, HolderId, Lease};
use crate::origin::{InstanceId, Origin};
use crate::store::{Row, Saved, Store, StoreFuture};

/// Keeps rows in memory: for tests, simulations, and brokers that hold nothing worth keeping.
///
/// Clones share their content, as handles of several processes would.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    last_fence: Fence,
    rows: BTreeMap<Key, Row>,
    leases: BTreeMap<Key, Held>,
}

#[derive(Debug)]
struct Held {
    fence: Fence,
    holder: HolderId,
    until: Timestamp,
}

impl Content {
    fn permits(&self, key: &Key, fence: Fence) -> bool {
        self.leases.get(key).is_some_and(|held| held.fence == fence)
    }
}

impl MemoryStore {
    /// An empty store whose leases run by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, content: Arc::default() }
    }

    /// No step leaves the content half changed, so a panic elsewhere does not spoil it.
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&self, key: &Key) -> StoreFuture<'_, Option<Row>> {
        let key = key.clone();
        Box::pin(async move { Ok(self.content().rows.get(&key).cloned()) })
    }

    fn acquire(&self, key: &Key, holder: HolderId, ttl: Duration) -> StoreFuture<'_, Acquired> {
        let key = key.clone();
        Box::pin(async move {
            let mut content = self.content();
            let now = self.clock.now();
            if let Some(held) = content.leases.get(&key)
                && held.holder != holder
                && now < held.until
            {
                return Ok(Acquired::busy(now.until(held.until)));
            }
            let fence = content.last_fence.next()?;
            content.last_fence = fence;
            content.leases.insert(key, Held { fence, holder, until: now + ttl });
            Ok(Acquired::Lease(Lease { fence, valid_for: ttl }))
        })
    }

    fn release(&self, key: &Key, fence: Fence) -> StoreFuture<'_, ()> {
        let key = key.clone();
        Box::pin(async move {
            let mut content = self.content();
            if content.permits(&key, fence) {
                content.leases.remove(&key);
            }
            Ok(())
        })
    }

    fn save(&self, key: &Key, fence: Fence, row: Row) -> StoreFuture<'_, Saved> {
        let key = key.clone();
        Box::pin(async move {
            row.check()?;
            let mut content = self.content();
            if !content.permits(&key, fence) {
                return Ok(Saved::Fenced);
            }
            if content.rows.get(&key).is_some_and(|stored| stored.generation > row.generation) {
                return Ok(Saved::Behind);
            }
            content.rows.insert(key, row);
            Ok(Saved::Done)
        })
    }

    fn remove(&self, key: &Key, fence: Fence) -> StoreFuture<'_, Saved> {
        let key = key.clone();
        Box::pin(async move {
            let mut content = self.content();
            if !content.permits(&key, fence) {
                return Ok(Saved::Fenced);
            }
            content.rows.remove(&key);
            Ok(Saved::Done)
        })
    }

    fn list(&self, kind: &Kind) -> StoreFuture<'_, Vec<(Key, Row)>> {
        let kind = kind.clone();
        Box::pin(async move {
            let content = self.content();
            let of_kind = content.rows.iter().filter(|(key, _)| *key.kind() == kind);
            Ok(of_kind.map(|(key, row)| (key.clone(), row.clone())).collect())
        })
    }

    /// Always the same: nobody can copy it, and it forgets all at once.
    fn origin(&self) -> StoreFuture<'_, Origin> {
        Box::pin(ready(Ok(Origin { instance: InstanceId::from_u128(0), epoch: 0 })))
    }

    fn durable(&self) -> bool {
        false
    }
}
