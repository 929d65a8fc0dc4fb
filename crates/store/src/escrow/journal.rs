//! The file of one key.
//!
//! Whoever appends holds the file's lock shared; whoever thins it out holds it alone, writes what
//! is left into a draft and puts that in the file's place. An appender that got its lock on a file
//! that is no longer in place opens the one that is. Should the one who thins out be stopped in the
//! middle, what must not wait goes into a second file beside, and is merged later.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use super::directory::{Directory, Opened, fault};
use super::frame::{self, Found, Frames};
use super::{MANY, thin_out};
use crate::key::Key;
use crate::store::{Row, StoreError};

/// What is reserved, in bytes: a token response of 64 KiB with its headers, sealed, has room.
pub(crate) const ROOM: u64 = 128 << 10;
/// A longer file is thinned out.
const LONG: u64 = 512 << 10;
/// A file that is longer still, and cannot be thinned out, takes no further reservation.
const LONGEST: u64 = 16 << 20;

/// A key's file, kept open between reservation and append: an append needs no new descriptor.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: Arc<Directory>,
    name: String,
    /// What is appended while the file itself is locked by somebody who does not go on.
    aside: String,
    draft: String,
    opened: Option<Opened>,
}

impl Journal {
    pub(crate) fn new(directory: Arc<Directory>, key: &Key) -> Self {
        let name: String = digest(&SHA256, key.to_string().as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (aside, draft) = (format!("{name}.aside"), format!("{name}.draft"));
        Self { directory, name, aside, draft, opened: None }
    }

    pub(crate) fn reserve(&mut self, needed: &[Row]) -> Result<(), StoreError> {
        self.directory.check_current()?;
        let mut opened = self.current()?;
        let length = self.length(&opened)?;
        let kept = self.read(&opened)?;
        if length > LONG || kept.len() > MANY {
            match self.thin_out(&opened, needed) {
                Ok(Some(replaced)) => opened = replaced,
                Ok(None) => {
                    self.opened = Some(opened);
                    opened = self.current()?;
                }
                // Only tidying failed, and perhaps for want of room: that is found out below.
                Err(_) if length <= LONGEST => {}
                Err(error) => return Err(error),
            }
        }
        self.make_room(&opened)?;
        self.opened = Some(opened);
        Ok(())
    }

    pub(crate) fn append(&mut self, record: &Row) -> Result<(), StoreError> {
        record.check()?;
        let frame = frame::encode(record);
        let mut opened = self.opened()?;
        loop {
            if !self.lock_for_append(&opened)? {
                let name = &self.aside;
                if self.append_aside(&frame).is_ok() {
                    self.opened = Some(opened);
                    return Ok(());
                }
                let locked = opened.file.lock_shared();
                locked.map_err(|error| fault(&self.directory.at(name), &error))?;
            }
            if self.directory.is_current(&self.name, &opened)? {
                break;
            }
            opened = self.open()?;
        }
        // After a failure the descriptor is not used again: what the kernel could not write it may
        // have dropped, and would call written the next time.
        self.write(&opened, &self.name, &frame)?;
        self.unlock(&opened)?;
        self.opened = Some(opened);
        Ok(())
    }

    pub(crate) fn records(&self) -> Result<Vec<Row>, StoreError> {
        // In this order: what is merged in between is then seen twice, not missed.
        let aside = self.kept_in(&self.aside)?;
        let mut records = self.kept_in(&self.name)?;
        add_missing(&mut records, aside);
        Ok(records)
    }

    pub(crate) fn remove(&mut self) -> Result<(), StoreError> {
        self.opened = None;
        for name in [&self.name, &self.aside, &self.draft] {
            self.directory.unlink(name)?;
        }
        self.directory.sync()
    }

    /// The file, open, be it in place or not.
    fn opened(&mut self) -> Result<Opened, StoreError> {
        self.opened.take().map_or_else(|| self.open(), Ok)
    }

    /// The file in place, open.
    fn current(&mut self) -> Result<Opened, StoreError> {
        let opened = self.opened()?;
        if self.directory.is_current(&self.name, &opened)? { Ok(opened) } else { self.open() }
    }

    fn open(&self) -> Result<Opened, StoreError> {
        self.open_durably(&self.name)
    }

    /// Opens the file `name`, a new one if need be, and makes sure that its name is durable:
    /// whoever made it may have died before.
    fn open_durably(&self, name: &str) -> Result<Opened, StoreError> {
        let missing = || fault(&self.directory.at(name), &io::ErrorKind::NotFound.into());
        let opened = self.directory.file(name, true)?.ok_or_else(missing)?;
        if self.length(&opened)? == 0 {
            opened.file.sync_all().map_err(|error| fault(&self.directory.at(name), &error))?;
        }
        self.directory.sync()?;
        Ok(opened)
    }

    /// Whether the lock was to be had without waiting.
    fn lock_for_append(&self, opened: &Opened) -> Result<bool, StoreError> {
        match opened.file.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(self.fault(&error)),
        }
    }

    fn append_aside(&self, frame: &[u8]) -> Result<(), StoreError> {
        loop {
            let aside = self.open_durably(&self.aside)?;
            let busy = |error: TryLockError| self.fault(&error.into());
            aside.file.try_lock_shared().map_err(busy)?;
            if self.directory.is_current(&self.aside, &aside)? {
                return self.write(&aside, &self.aside, frame);
            }
        }
    }

    /// Writes `frame` at the end, at once and durably. What a failure left of it is skipped by
    /// whoever reads.
    fn write(&self, opened: &Opened, name: &str, frame: &[u8]) -> Result<(), StoreError> {
        let failed = |error: io::Error| fault(&self.directory.at(name), &error);
        loop {
            match (&opened.file).write(frame) {
                Ok(written) if written == frame.len() => break,
                // The next attempt tells why it was short.
                Ok(1..) => {}
                Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        opened.file.sync_data().map_err(failed)
    }

    /// Makes sure that the largest record fits after the end.
    fn make_room(&self, opened: &Opened) -> Result<(), StoreError> {
        let end = self.length(opened)?;
        match fallocate(&opened.file, FallocateFlags::KEEP_SIZE, end, ROOM) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let free = fstatvfs(&opened.file).map_err(|error| self.fault(&error.into()))?;
                if free.f_bavail.saturating_mul(free.f_frsize) < ROOM {
                    return Err(self.fault(&io::ErrorKind::StorageFull.into()));
                }
                Ok(())
            }
            Err(error) => Err(self.fault(&error.into())),
        }
    }

    /// Puts what is worth keeping in the file's place, unless somebody else holds it; returns what
    /// is in place then.
    fn thin_out(&self, opened: &Opened, needed: &[Row]) -> Result<Option<Opened>, StoreError> {
        match opened.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(self.fault(&error)),
        }
        let replaced = self.replace(opened, needed);
        self.unlock(opened)?;
        replaced
    }

    /// The caller has the file's lock alone.
    fn replace(&self, opened: &Opened, needed: &[Row]) -> Result<Option<Opened>, StoreError> {
        if !self.directory.is_current(&self.name, opened)? {
            return Ok(None);
        }
        let mut records = self.read(opened)?;
        let aside = self.directory.file(&self.aside, false)?;
        // One that is locked is in use, one that is not in place is gone.
        let aside = aside.filter(|aside| aside.file.try_lock().is_ok());
        let aside = match aside {
            Some(aside) if self.directory.is_current(&self.aside, &aside)? => Some(aside),
            Some(_) | None => None,
        };
        if let Some(aside) = &aside {
            add_missing(&mut records, self.read(aside)?);
        }
        thin_out(&mut records, needed);

        let draft = self.write_draft(&records).inspect_err(|_| {
            // It takes up room that may be wanting; what is wrong with the disk is told already.
            let _ = self.directory.unlink(&self.draft);
        })?;
        self.directory.rename(&self.draft, &self.name)?;
        self.directory.sync()?;
        if aside.is_some() {
            self.directory.unlink(&self.aside)?;
        }
        Ok(Some(draft))
    }

    /// With room for the next record: what the file has reserved goes with it.
    fn write_draft(&self, records: &[Row]) -> Result<Opened, StoreError> {
        let draft = self.directory.draft(&self.draft)?;
        let failed = |error: io::Error| fault(&self.directory.at(&self.draft), &error);
        for record in records {
            (&draft.file).write_all(&frame::encode(record)).map_err(failed)?;
        }
        self.make_room(&draft)?;
        draft.file.sync_all().map_err(failed)?;
        Ok(draft)
    }

    fn kept_in(&self, name: &str) -> Result<Vec<Row>, StoreError> {
        let opened = self.directory.file(name, false)?;
        opened.map_or_else(|| Ok(Vec::new()), |opened| self.read(&opened))
    }

    /// The records of an open file; memory is bounded whatever it holds.
    fn read(&self, opened: &Opened) -> Result<Vec<Row>, StoreError> {
        let mut records = Vec::new();
        let mut size = 0;
        for found in Frames::new(From { file: &opened.file, at: 0 }) {
            match found.map_err(|error| self.fault(&error))? {
                Found::Record(record) => {
                    size += length_of(&record);
                    records.push(record);
                    if size > LONGEST {
                        thin_out(&mut records, &[]);
                        size = records.iter().map(length_of).sum();
                    }
                    // Nobody appends as much of one generation; the last are the best guess.
                    while size > LONGEST {
                        size -= length_of(&records.remove(0));
                    }
                }
                Found::Later { version } => {
                    let why = format!(
                        "{} was written by a later release of bellwether (version {version}); run \
                         that release, or choose another path",
                        self.directory.at(&self.name).display()
                    );
                    return Err(StoreError::Refused { why });
                }
            }
        }
        Ok(records)
    }

    fn length(&self, opened: &Opened) -> Result<u64, StoreError> {
        opened.file.metadata().map(|data| data.len()).map_err(|error| self.fault(&error))
    }

    fn unlock(&self, opened: &Opened) -> Result<(), StoreError> {
        opened.file.unlock().map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &io::Error) -> StoreError {
        fault(&self.directory.at(&self.name), error)
    }
}

/// Adds those of `more` that are not there.
fn add_missing(records: &mut Vec<Row>, more: Vec<Row>) {
    for record in more {
        if !records.contains(&record) {
            records.push(record);
        }
    }
}

fn length_of(record: &Row) -> u64 {
    record.sealed.as_bytes().len() as u64
}

/// Reads a file from a place of its own, whoever else reads or appends.
struct From<'a> {
    file: &'a File,
    at: u64,
}

impl Read for From<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
