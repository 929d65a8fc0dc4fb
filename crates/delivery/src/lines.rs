//! Entries as lines of JSON, to standard output or whatever else takes bytes.
//!
//! What reads them is not asked whether it has them: they are delivered when they are written. A
//! cursor beside it lets a poll go on after a restart. A slot that was written shortly before a kill
//! may then be told once more.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cursor::Cursor;
use crate::entry::{Entry, Line};
use crate::output::{Output, OutputError, Resumed};

/// Lines of JSON.
pub struct Lines<W> {
    to: W,
    cursor: Option<PathBuf>,
    /// Held while it is open.
    lock: Option<File>,
    /// What a failed write has not written yet: a reader must not get half a line twice.
    left: Vec<u8>,
}

impl<W: Write + Send> Lines<W> {
    /// To `to`; with the path of a file, the cursor is kept there.
    pub fn new(to: W, cursor: Option<PathBuf>) -> Self {
        Self { to, cursor, lock: None, left: Vec::new() }
    }

    fn push(&mut self) -> io::Result<()> {
        while !self.left.is_empty() {
            match self.to.write(&self.left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.left.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.to.flush()
    }
}

impl<W: Write + Send> Output for Lines<W> {
    fn resume(&mut self, poll: &str) -> Result<Option<Resumed>, OutputError> {
        let Some(path) = &self.cursor else { return Ok(None) };
        self.lock = Some(lock(&path.with_extension("lock"), "another process keeps this cursor")?);
        let cursor = read_cursor::<Cursor>(path)?;
        if let Some(other) = cursor.as_ref().filter(|cursor| cursor.plan.poll != poll) {
            let what = format!("is the cursor of {}; name another for {poll}", other.plan.poll);
            return Err(OutputError::at(path, what));
        }
        Ok(cursor.map(|cursor| Resumed { cursor, settled: BTreeSet::new(), gaps: BTreeSet::new() }))
    }

    fn write(&mut self, cursor: &Cursor, entries: &[Entry]) -> Result<(), OutputError> {
        if self.left.is_empty() {
            append(&mut self.left, cursor, entries);
        }
        self.push().map_err(|error| {
            let failed = OutputError::new("standard output", &error);
            // Who read it has gone, and will not come back.
            if error.kind() == io::ErrorKind::BrokenPipe { failed.for_good() } else { failed }
        })
    }

    fn sync(&mut self, cursor: &Cursor) -> Result<(), OutputError> {
        match &self.cursor {
            Some(path) => write_cursor(path, cursor),
            None => Ok(()),
        }
    }
}

impl<W> fmt::Debug for Lines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

/// Appends a line for each entry.
pub(crate) fn append(to: &mut Vec<u8>, cursor: &Cursor, entries: &[Entry]) {
    for entry in entries {
        let line = Line { poll: &cursor.plan.poll, series: cursor.series, entry };
        // Numbers, texts and JSON that was read as such: nothing in a line cannot be written.
        if serde_json::to_writer(&mut *to, &line).is_ok() {
            to.push(b'\n');
        }
    }
}

/// Held by one process at a time.
pub(crate) fn lock(path: &Path, taken: &str) -> Result<File, OutputError> {
    let file = File::create(path).map_err(|error| OutputError::at(path, error))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| OutputError::at(path, format!("{taken}; stop it first")))?;
    Ok(file)
}

pub(crate) fn read_cursor<C: serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<Option<C>, OutputError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OutputError::at(path, error)),
    };
    let cursor = serde_json::from_slice(&text);
    let advice = "is no cursor of a poll; name another place, or move it away to begin anew";
    cursor.map(Some).map_err(|error| OutputError::at(path, format!("{advice} ({error})")))
}

/// Replaces the file whole: a kill leaves the old one or the new one.
pub(crate) fn write_cursor(path: &Path, cursor: &impl serde::Serialize) -> Result<(), OutputError> {
    let text = serde_json::to_vec(cursor).map_err(|error| OutputError::at(path, error))?;
    let beside = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    written().map_err(|error| OutputError::at(path, error))
}
