//! An escrow that lives as long as its process.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Escrow, MANY, thin_out};
use crate::key::Key;
use crate::store::{Row, StoreFuture};

/// Keeps records in memory: for tests, and beside stores that keep nothing either.
///
/// Clones share their content, as several processes would.
#[derive(Clone, Debug, Default)]
pub struct MemoryEscrow(Arc<Mutex<BTreeMap<Key, Vec<Row>>>>);

impl MemoryEscrow {
    /// An empty escrow.
    pub fn new() -> Self {
        Self::default()
    }

    /// No step leaves the content half changed, so a panic elsewhere does not spoil it.
    fn content(&self) -> MutexGuard<'_, BTreeMap<Key, Vec<Row>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Escrow for MemoryEscrow {
    fn reserve(&self, key: &Key, needed: Vec<Row>) -> StoreFuture<'_, ()> {
        if let Some(records) = self.content().get_mut(key).filter(|kept| kept.len() > MANY) {
            thin_out(records, &needed);
        }
        Box::pin(ready(Ok(())))
    }

    fn append(&self, key: &Key, record: Row) -> StoreFuture<'_, ()> {
        let checked = record.check();
        if checked.is_ok() {
            self.content().entry(key.clone()).or_default().push(record);
        }
        Box::pin(ready(checked))
    }

    fn records(&self, key: &Key) -> StoreFuture<'_, Vec<Row>> {
        let records = self.content().get(key).cloned().unwrap_or_default();
        Box::pin(ready(Ok(records)))
    }

    fn remove(&self, key: &Key) -> StoreFuture<'_, ()> {
        self.content().remove(key);
        Box::pin(ready(Ok(())))
    }
}
