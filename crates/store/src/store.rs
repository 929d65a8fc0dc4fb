//! What every backend offers.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use crate::key::{Key, Kind};
use crate::lease::{Acquired, Fence, HolderId};
use crate::origin::Origin;
use crate::seal::Sealed;

/// What a store's methods return, boxed so that configuration can choose the backend.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps rows between processes, one writer at a time per key.
///
/// A write that fails may still have landed, and one whose future is dropped is carried out or
/// not: load before trying again.
pub trait Store: Send + Sync + fmt::Debug {
    /// The row, as the last successful write left it.
    fn load(&self, key: &Key) -> StoreFuture<'_, Option<Row>>;

    /// Takes the lease on `key` for `ttl` by the store's own clock, unless somebody else has it.
    fn acquire(&self, key: &Key, holder: HolderId, ttl: Duration) -> StoreFuture<'_, Acquired>;

    /// Gives the lease back, and with it the right to write. Does nothing if `fence` is not that
    /// of the key's lease.
    fn release(&self, key: &Key, fence: Fence) -> StoreFuture<'_, ()>;

    /// Writes `row`, durably if the store is durable.
    ///
    /// A lease that has run out still allows it as long as nobody took the next one: what came
    /// late is better kept than lost.
    fn save(&self, key: &Key, fence: Fence, row: Row) -> StoreFuture<'_, Saved>;

    /// Removes the row, if there is one; the lease stays until it is released or runs out.
    fn remove(&self, key: &Key, fence: Fence) -> StoreFuture<'_, Saved>;

    /// All rows of a kind, in the order of their keys.
    fn list(&self, kind: &Kind) -> StoreFuture<'_, Vec<(Key, Row)>>;

    /// Which store this is. It stays the same for as long as the store is open.
    fn origin(&self) -> StoreFuture<'_, Origin>;

    /// Whether an acknowledged write survives the process and the machine.
    fn durable(&self) -> bool;
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Goes up by one with each accepted token response; never down.
    pub generation: u64,
    /// What the [`Keyring`](crate::Keyring) sealed for this key and generation.
    pub sealed: Sealed,
}

impl Row {
    /// The largest sealed content, in bytes.
    pub const SIZE_LIMIT: usize = 1 << 20;
    /// The highest generation, for the same reason as [`Fence::LAST`].
    pub const LAST_GENERATION: u64 = Fence::LAST.as_u64();

    /// Whether a backend may take this row; each asks before it writes.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the row is too large or its generation too high.
    pub fn check(&self) -> Result<(), StoreError> {
        let refused = |why: &str| Err(StoreError::Refused { why: why.to_owned() });
        if self.sealed.as_bytes().len() > Self::SIZE_LIMIT {
            return refused("a row has at most 1 MiB; keep less in it");
        }
        if self.generation > Self::LAST_GENERATION {
            return refused("its generations are used up; remove the row and start anew");
        }
        Ok(())
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is done.
    Done,
    /// Refused: the fence is not that of the key's latest lease, or that lease was given back.
    /// Nothing changed; load, and acquire again if a write is still due.
    Fenced,
    /// Refused: the store has a higher generation. Nothing changed; load the newer row.
    Behind,
}

/// Why a store did not do its work; says what to do.
///
/// Never shows a row's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Busy, out of reach or failing just now; time or a repair outside may cure it.
    #[error("the store is unavailable: {why}")]
    Unavailable {
        /// What happened and what to do.
        why: String,
    },
    /// No room to write; reads still work.
    #[error("the store is full: {why}")]
    Full {
        /// What happened and what to do.
        why: String,
    },
    /// What it holds cannot be what was written.
    #[error("the store is damaged: {why}")]
    Corrupt {
        /// What happened and what to do.
        why: String,
    },
    /// It must not or cannot be used like this; a person has to change something.
    #[error("the store refuses: {why}")]
    Refused {
        /// What is wrong and what to do.
        why: String,
    },
}

impl StoreError {
    /// Whether trying again later may help without anybody changing the configuration.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Full { .. } => true,
            Self::Corrupt { .. } | Self::Refused { .. } => false,
        }
    }
}
