//! An escrow in a directory.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit};

use super::Escrow;
use super::directory::Directory;
use super::journal::Journal;
use super::workers::{Hurry, Workers};
use crate::key::Key;
use crate::store::{Row, StoreError, StoreFuture};

/// Keeps records in a directory, a file for each key; several processes of one user may share it.
///
/// A reservation takes 128 KiB of disk behind the end of the key's file and keeps them, so that the
/// next append needs no new block. A file system without `fallocate` is only asked whether it has
/// as much room; there another program may still take it.
///
/// Between reservation and append the file stays open, for up to an eighth of the process's limit
/// on open files; what goes beyond is opened again when it is needed.
///
/// Dropping it finishes what was asked.
pub struct FileEscrow {
    // First, so that dropping waits for the jobs.
    workers: Workers,
    directory: Arc<Directory>,
    journals: Mutex<Journals>,
}

impl FileEscrow {
    /// Opens the escrow in `directory`, which is made for its owner alone if there is none.
    ///
    /// Blocks on the disk, so for start-up.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the directory is a symbolic link, another user's or open to
    /// others; [`StoreError::Full`] or [`StoreError::Unavailable`] if it cannot be used just now.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let directory = Arc::new(Directory::open(directory)?);
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 8;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).clamp(16, 512);
        let journals = Journals { open: BTreeMap::new(), limit, uses: 0 };
        Ok(Self { workers: Workers::start()?, directory, journals: Mutex::new(journals) })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// No step leaves the journals half changed.
    fn journals(&self) -> MutexGuard<'_, Journals> {
        self.journals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T: Send + 'static>(
        &self,
        key: &Key,
        hurry: Hurry,
        reserves: bool,
        work: impl FnOnce(&mut Journal) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let journal = self.journals().get(key, &self.directory, reserves);
        Box::pin(
            self.workers.ask(hurry, move || {
                work(&mut journal.lock().unwrap_or_else(PoisonError::into_inner))
            }),
        )
    }
}

impl Escrow for FileEscrow {
    fn reserve(&self, key: &Key, needed: Vec<Row>) -> StoreFuture<'_, ()> {
        self.ask(key, Hurry::Rest, true, move |journal| journal.reserve(&needed))
    }

    fn append(&self, key: &Key, record: Row) -> StoreFuture<'_, ()> {
        self.ask(key, Hurry::Append, false, move |journal| journal.append(&record))
    }

    fn records(&self, key: &Key) -> StoreFuture<'_, Vec<Row>> {
        let journal = Journal::new(self.directory.clone(), key);
        Box::pin(self.workers.ask(Hurry::Rest, move || journal.records()))
    }

    fn remove(&self, key: &Key) -> StoreFuture<'_, ()> {
        let removed = self.ask(key, Hurry::Rest, false, Journal::remove);
        self.journals().open.remove(key);
        removed
    }
}

impl fmt::Debug for FileEscrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileEscrow").field("path", &self.path()).finish_non_exhaustive()
    }
}

/// The journals that are kept open.
struct Journals {
    open: BTreeMap<Key, Kept>,
    limit: usize,
    uses: u64,
}

struct Kept {
    journal: Arc<Mutex<Journal>>,
    /// An append is still to come.
    reserved: bool,
    /// Counts up with each use of any.
    used: u64,
}

impl Journals {
    fn get(
        &mut self,
        key: &Key,
        directory: &Arc<Directory>,
        reserved: bool,
    ) -> Arc<Mutex<Journal>> {
        self.uses += 1;
        let used = self.uses;
        if let Some(kept) = self.open.get_mut(key) {
            (kept.reserved, kept.used) = (reserved, used);
            return kept.journal.clone();
        }
        while self.open.len() >= self.limit {
            let least = self.open.iter().min_by_key(|(_, kept)| (kept.reserved, kept.used));
            let Some(least) = least.map(|(key, _)| key.clone()) else { break };
            self.open.remove(&least);
        }
        let journal = Arc::new(Mutex::new(Journal::new(directory.clone(), key)));
        self.open.insert(key.clone(), Kept { journal: journal.clone(), reserved, used });
        journal
    }
}
