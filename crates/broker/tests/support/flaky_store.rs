//! A store that can be away: it takes no write, or answers nothing at all.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bellwether_broker::store::{
    Acquired, Fence, HolderId, Key, Kind, MemoryStore, Origin, Row, Saved, Store, StoreError,
    StoreFuture,
};

/// How much of it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Works {
    /// Everything.
    Fully,
    /// It is read, and not written.
    Reading,
    /// Nothing.
    NotAtAll,
}

/// A memory store with a switch.
#[derive(Debug)]
pub struct FlakyStore {
    store: Arc<MemoryStore>,
    works: AtomicU8,
}

impl FlakyStore {
    pub fn over(store: &Arc<MemoryStore>) -> Self {
        Self { store: Arc::clone(store), works: AtomicU8::new(Works::Fully as u8) }
    }

    pub fn set(&self, works: Works) {
        self.works.store(works as u8, Ordering::Relaxed);
    }

    fn is_worse_than(&self, works: Works) -> bool {
        self.works.load(Ordering::Relaxed) > works as u8
    }
}

fn away<'a, T: Send + 'a>() -> StoreFuture<'a, T> {
    Box::pin(ready(Err(StoreError::Unavailable { why: "it is away".to_owned() })))
}

impl Store for FlakyStore {
    fn load(&self, key: &Key) -> StoreFuture<'_, Option<Row>> {
        if self.is_worse_than(Works::Reading) { away() } else { self.store.load(key) }
    }

    fn acquire(&self, key: &Key, holder: HolderId, ttl: Duration) -> StoreFuture<'_, Acquired> {
        if self.is_worse_than(Works::Fully) { away() } else { self.store.acquire(key, holder, ttl) }
    }

    fn release(&self, key: &Key, fence: Fence) -> StoreFuture<'_, ()> {
        if self.is_worse_than(Works::Fully) { away() } else { self.store.release(key, fence) }
    }

    fn save(&self, key: &Key, fence: Fence, row: Row) -> StoreFuture<'_, Saved> {
        if self.is_worse_than(Works::Fully) { away() } else { self.store.save(key, fence, row) }
    }

    fn remove(&self, key: &Key, fence: Fence) -> StoreFuture<'_, Saved> {
        if self.is_worse_than(Works::Fully) { away() } else { self.store.remove(key, fence) }
    }

    fn list(&self, kind: &Kind) -> StoreFuture<'_, Vec<(Key, Row)>> {
        if self.is_worse_than(Works::Reading) { away() } else { self.store.list(kind) }
    }

    fn origin(&self) -> StoreFuture<'_, Origin> {
        if self.is_worse_than(Works::Reading) { away() } else { self.store.origin() }
    }

    fn durable(&self) -> bool {
        self.store.durable()
    }
}
