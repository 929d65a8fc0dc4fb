//! The store as its callers see it.

use std::fmt;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bellwether_store::{
    Acquired, Clock, Fence, HolderId, Key, Kind, Origin, Row, Saved, Store, StoreError, StoreFuture,
};
use tokio::sync::mpsc;

use crate::place::Place;
use crate::session::Session;
use crate::worker::{self, Job, QUEUE};

/// One process's way into an SQLite file. Any number may be open on the same file.
///
/// Dropping it finishes what was asked, gives its leases back and closes the file.
pub struct SqliteStore {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
    volatile: bool,
    origin: Origin,
    copied: Option<String>,
}

impl SqliteStore {
    /// Opens the store at `path`, an empty one if there is none. Leases go by `clock`.
    ///
    /// Blocks for as long as another process is opening the same store, so for start-up alone.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the file, its directory, its file system or the linked SQLite
    /// cannot be used, [`StoreError::Corrupt`] if the file is damaged, [`StoreError::Full`] or
    /// [`StoreError::Unavailable`] if it cannot be written just now.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let place = Place::prepare(path)?;
        let volatile = place.volatile;
        let session = Session::open(place, clock)?;
        let path = session.path().to_owned();
        let (origin, copied) = (session.found().origin, session.found().warning.clone());
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || worker::serve(&session, queue))
            .map_err(|error| StoreError::Unavailable {
                why: format!("no thread for the store ({error}); raise the limit on threads"),
            })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), path, volatile, origin, copied })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file lies on a tmpfs, and so is gone after a reboot: worth a warning.
    pub fn is_volatile(&self) -> bool {
        self.volatile
    }

    /// What to tell a person if the file was found to be a copy or a restored backup when it was
    /// opened here; its [`origin`](Store::origin) then has a new epoch.
    pub fn was_copied(&self) -> Option<&str> {
        self.copied.as_deref()
    }

    fn ask<T, F>(&self, writes: bool, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
    {
        Box::pin(async move {
            let (job, answered) = worker::job(writes, work);
            let jobs = self.jobs.as_ref().ok_or_else(closed)?;
            jobs.send(job).await.map_err(|_| closed())?;
            answered.await.map_err(|_| closed())?
        })
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable { why: "its thread has ended; restart bellwether".to_owned() }
}

impl Store for SqliteStore {
    fn load(&self, key: &Key) -> StoreFuture<'_, Option<Row>> {
        let key = key.clone();
        self.ask(false, move |session| session.load(&key))
    }

    fn acquire(&self, key: &Key, holder: HolderId, ttl: Duration) -> StoreFuture<'_, Acquired> {
        let key = key.clone();
        self.ask(true, move |session| session.acquire(&key, holder, ttl))
    }

    fn release(&self, key: &Key, fence: Fence) -> StoreFuture<'_, ()> {
        let key = key.clone();
        self.ask(true, move |session| session.release(&key, fence))
    }

    fn save(&self, key: &Key, fence: Fence, row: Row) -> StoreFuture<'_, Saved> {
        let key = key.clone();
        self.ask(true, move |session| session.save(&key, fence, &row))
    }

    fn remove(&self, key: &Key, fence: Fence) -> StoreFuture<'_, Saved> {
        let key = key.clone();
        self.ask(true, move |session| session.remove(&key, fence))
    }

    fn list(&self, kind: &Kind) -> StoreFuture<'_, Vec<(Key, Row)>> {
        let kind = kind.clone();
        self.ask(false, move |session| session.list(&kind))
    }

    fn origin(&self) -> StoreFuture<'_, Origin> {
        Box::pin(ready(Ok(self.origin)))
    }

    fn durable(&self) -> bool {
        true
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told so by itself.
            let _ = thread.join();
        }
    }
}
