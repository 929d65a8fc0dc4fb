//! Entries as lines of JSON in files of one directory, a new file when one is full.
//!
//! ```text
//! samples/presence-000001.ndjson      full
//! samples/presence-000002.ndjson      is written
//! samples/presence.cursor             where the synced part ends
//! samples/presence.lock               held by whoever writes
//! ```
//!
//! What lies beyond the cursor was written by a process that was killed: whole lines count, half a
//! line at the end is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cursor::Cursor;
use crate::entry::Entry;
use crate::lines::{append, lock, read_cursor, write_cursor};
use crate::output::{Output, OutputError, Resumed};

/// A directory of numbered files.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    rotate: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    poll: String,
    file: File,
    number: u64,
    inode: u64,
    /// Up to here the file has whole entries.
    length: u64,
    /// What was written since the last sync: after a failed one nobody knows what is on the disk.
    unsynced: Vec<u8>,
    /// Held while it is open.
    lock: File,
}

/// A cursor, and where the synced part ends.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    #[serde(flatten)]
    cursor: Cursor,
    file: u64,
    offset: u64,
}

/// What a line says of its slot.
#[derive(Deserialize)]
struct Told<'a> {
    series: u64,
    slot: u64,
    kind: &'a str,
    slots: Option<u64>,
    part: Option<(u32, u32)>,
}

impl Files {
    /// In this directory, which is made if it is missing; a file is full at `rotate` bytes.
    pub fn new(directory: PathBuf, rotate: u64) -> Self {
        Self { directory, rotate, current: None }
    }

    fn path(&self, poll: &str, number: u64) -> PathBuf {
        self.directory.join(format!("{poll}-{number:06}.ndjson"))
    }

    fn mark(&self, poll: &str) -> PathBuf {
        self.directory.join(format!("{poll}.cursor"))
    }

    /// The highest number that a file of this poll has.
    fn last(&self, poll: &str) -> io::Result<u64> {
        let mut last = 0;
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(poll)?.strip_prefix('-'));
            let number = number.and_then(|rest| rest.strip_suffix(".ndjson")?.parse().ok());
            last = last.max(number.unwrap_or(0));
        }
        Ok(last)
    }

    fn lock(&self, poll: &str) -> Result<File, OutputError> {
        let path = self.directory.join(format!("{poll}.lock"));
        lock(&path, "another process polls into this directory")
    }

    fn open(&self, poll: &str, number: u64, lock: File) -> Result<Current, OutputError> {
        let path = self.path(poll, number);
        let opened = || -> io::Result<(File, u64, u64)> {
            let mut options = OpenOptions::new();
            let mut file = options.create(true).truncate(false).write(true).open(&path)?;
            File::open(&self.directory)?.sync_all()?;
            let length = file.seek(SeekFrom::End(0))?;
            let inode = file.metadata()?.ino();
            Ok((file, length, inode))
        };
        let (file, length, inode) = opened().map_err(|error| OutputError::at(&path, error))?;
        Ok(Current {
            poll: poll.to_owned(),
            file,
            number,
            inode,
            length,
            unsynced: Vec::new(),
            lock,
        })
    }

    /// The file that is written. If somebody moved or removed it, what comes now goes to a new one.
    fn current(&mut self) -> Result<&mut Current, OutputError> {
        let lost = || OutputError::at(&self.directory, "is not open");
        let current = self.current.as_ref().ok_or_else(lost)?;
        let path = self.path(&current.poll, current.number);
        if fs::metadata(&path).map(|found| found.ino()).ok() != Some(current.inode) {
            // Wherever it is now, what it has is to stay there.
            current.file.sync_data().map_err(|error| OutputError::at(&path, error))?;
            let lock = current.lock.try_clone().map_err(|error| OutputError::at(&path, error))?;
            let (poll, number) = (current.poll.clone(), current.number);
            self.current = Some(self.open(&poll, number, lock)?);
        }
        let lost = || OutputError::at(&self.directory, "is not open");
        self.current.as_mut().ok_or_else(lost)
    }

    /// In the next file, with what may not be on the disk.
    fn begin_again(&mut self) -> Result<(), OutputError> {
        let Some(old) = &self.current else { return Ok(()) };
        let (poll, number) = (old.poll.clone(), old.number + 1);
        let path = self.path(&poll, number);
        let failed = |error: io::Error| OutputError::at(&path, error);
        let mut next = self.open(&poll, number, old.lock.try_clone().map_err(failed)?)?;
        next.file.write_all(&old.unsynced).map_err(failed)?;
        next.length += old.unsynced.len() as u64;
        next.unsynced.clone_from(&old.unsynced);
        self.current = Some(next);
        Ok(())
    }

    /// Slots that are written beyond the mark, and half a line cut off.
    fn beyond(&self, mark: &Mark, last: u64) -> Result<Beyond, OutputError> {
        let mut beyond = Beyond::default();
        for number in mark.file..=last {
            let path = self.path(&mark.cursor.plan.poll, number);
            let failed = |error: io::Error| OutputError::at(&path, error);
            let file = match File::options().read(true).write(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            // Shorter than the cursor says, it is another file under the same name.
            let length = file.metadata().map_err(failed)?.len();
            let is_marked = number == mark.file && mark.offset <= length;
            let from = if is_marked { mark.offset } else { 0 };
            beyond.read(file, from, &mark.cursor).map_err(failed)?;
        }
        Ok(beyond)
    }
}

/// What is found beyond the mark.
#[derive(Debug, Default)]
struct Beyond {
    settled: BTreeSet<u64>,
    gaps: BTreeSet<u64>,
    /// Parts of slots that have several, until all are there.
    parts: BTreeMap<u64, BTreeSet<u32>>,
}

impl Beyond {
    fn read(&mut self, file: File, from: u64, cursor: &Cursor) -> io::Result<()> {
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(from))?;
        let (mut whole, mut line) = (from, Vec::new());
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') {
                return reader.into_inner().set_len(whole);
            }
            whole += line.len() as u64;
            if let Ok(told) = serde_json::from_slice::<Told<'_>>(&line) {
                self.note(&told, cursor);
            }
        }
    }

    fn note(&mut self, told: &Told<'_>, cursor: &Cursor) {
        let slots = told.slots.unwrap_or(1);
        let end = told.slot.saturating_add(slots);
        if told.series != cursor.series || end <= cursor.watermark {
            return;
        }
        if slots > 1 {
            self.settled.extend(told.slot.max(cursor.watermark)..end);
            return;
        }
        let (part, of) = told.part.unwrap_or((1, 1));
        let parts = self.parts.entry(told.slot).or_default();
        parts.insert(part);
        if parts.len() >= of as usize {
            self.parts.remove(&told.slot);
            self.settled.insert(told.slot);
        }
        match told.kind {
            "gap" => drop(self.gaps.insert(told.slot)),
            "backfill" => drop(self.gaps.remove(&told.slot)),
            _ => {}
        }
    }
}

impl Output for Files {
    fn resume(&mut self, poll: &str) -> Result<Option<Resumed>, OutputError> {
        let failed = |error: io::Error| OutputError::at(&self.directory, error);
        fs::create_dir_all(&self.directory).map_err(failed)?;
        let lock = self.lock(poll)?;
        let last = self.last(poll).map_err(failed)?;
        let mark = read_cursor::<Mark>(&self.mark(poll))?;
        let resumed = match &mark {
            Some(mark) => {
                let Beyond { mut settled, gaps, .. } = self.beyond(mark, last)?;
                // What was synced ahead of the watermark lies before the mark.
                settled.extend(mark.cursor.settled_ahead());
                Some(Resumed { cursor: mark.cursor.clone(), settled, gaps })
            }
            None => None,
        };
        // Without a cursor nobody knows what the lines in older files mean.
        let number = mark.map_or(last + 1, |mark| last.max(mark.file).max(1));
        self.current = Some(self.open(poll, number, lock)?);
        Ok(resumed)
    }

    fn write(&mut self, cursor: &Cursor, entries: &[Entry]) -> Result<(), OutputError> {
        let directory = self.directory.clone();
        let current = self.current()?;
        let mut text = Vec::new();
        append(&mut text, cursor, entries);
        match current.file.write_all(&text) {
            Ok(()) => {
                current.length += text.len() as u64;
                current.unsynced.append(&mut text);
                Ok(())
            }
            Err(error) => {
                // What was written of it must not stand before what is written next.
                let cut = current.file.set_len(current.length);
                let back = current.file.seek(SeekFrom::Start(current.length));
                let what = match cut.and(back) {
                    Ok(_) => error.to_string(),
                    Err(second) => format!("{error}; half of it could not be taken back: {second}"),
                };
                let name = format!("{}-{:06}.ndjson", current.poll, current.number);
                Err(OutputError::at(&directory.join(name), what))
            }
        }
    }

    fn sync(&mut self, cursor: &Cursor) -> Result<(), OutputError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let (poll, number, offset) = (current.poll.clone(), current.number, current.length);
        if let Err(error) = current.file.sync_data() {
            let failed = OutputError::at(&self.path(&poll, number), error);
            self.begin_again()?;
            return Err(failed);
        }
        current.unsynced.clear();
        let mark = Mark { cursor: cursor.clone(), file: number, offset };
        let lock = current.lock.try_clone();
        write_cursor(&self.mark(&poll), &mark)?;
        if offset >= self.rotate {
            let lock = lock.map_err(|error| OutputError::at(&self.directory, error))?;
            self.current = Some(self.open(&poll, number + 1, lock)?);
        }
        Ok(())
    }
}
