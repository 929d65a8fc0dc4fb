//! Where entries go.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::cursor::Cursor;
use crate::entry::Entry;

/// Takes entries for good. Its calls may block: a [`Writer`](crate::Writer) has a thread for them.
pub trait Output: Send + fmt::Debug {
    /// What it has from before, of this poll.
    ///
    /// # Errors
    /// When it cannot be read, or another process writes to it.
    fn resume(&mut self, poll: &str) -> Result<Option<Resumed>, OutputError>;

    /// Writes entries. All of them or, if it fails, none that counts.
    ///
    /// # Errors
    /// When they are not written.
    fn write(&mut self, cursor: &Cursor, entries: &[Entry]) -> Result<(), OutputError>;

    /// Makes what was written durable, and then the cursor.
    ///
    /// # Errors
    /// When it is not known to be durable.
    fn sync(&mut self, cursor: &Cursor) -> Result<(), OutputError>;
}

/// What an output has from before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// As it was synced last.
    pub cursor: Cursor,
    /// Slots at or above its watermark that are written all the same.
    pub settled: BTreeSet<u64>,
    /// Those of them that ended as gaps.
    pub gaps: BTreeSet<u64>,
}

/// Why an output did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct OutputError {
    place: String,
    what: String,
    is_final: bool,
}

impl OutputError {
    /// At a place that a person can find.
    pub fn new(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self { place: place.to_string(), what: what.to_string(), is_final: false }
    }

    /// Trying again cannot help.
    #[must_use]
    pub fn for_good(self) -> Self {
        Self { is_final: true, ..self }
    }

    /// Whether trying again cannot help.
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    pub(crate) fn at(path: &Path, what: impl fmt::Display) -> Self {
        Self::new(path.display(), what)
    }
}
