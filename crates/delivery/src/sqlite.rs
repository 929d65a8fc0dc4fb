//! Entries as rows of a SQLite database: a slot written twice is there once.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::cursor::Cursor;
use crate::entry::{Entry, Row, seconds};
use crate::output::{Output, OutputError, Resumed};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS entries (
    poll TEXT NOT NULL, series INTEGER NOT NULL, slot INTEGER NOT NULL,
    slots INTEGER NOT NULL, part INTEGER NOT NULL, parts INTEGER NOT NULL,
    kind TEXT NOT NULL, agent TEXT, due_at REAL NOT NULL, at REAL,
    latency_ms REAL, late INTEGER, status INTEGER, data TEXT, why TEXT, tries INTEGER,
    PRIMARY KEY (poll, series, slot, part, kind)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_by_agent ON entries (poll, agent, due_at);
CREATE INDEX IF NOT EXISTS long_entries ON entries (poll, series, slot) WHERE slots > 1;
CREATE TABLE IF NOT EXISTS cursors (poll TEXT PRIMARY KEY, cursor TEXT NOT NULL);
";

/// A database file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    open: Option<Open>,
    lock: Option<File>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    inode: u64,
}

impl Sqlite {
    /// In this file, which is made if it is missing.
    pub fn new(path: PathBuf) -> Self {
        Self { path, open: None, lock: None }
    }

    fn error(&self, what: impl std::fmt::Display) -> OutputError {
        OutputError::at(&self.path, what)
    }

    /// The connection; a new one where the file is not the one that was opened.
    fn connection(&mut self) -> Result<&mut Connection, OutputError> {
        let inode = std::fs::metadata(&self.path).map(|found| found.ino()).ok();
        if self.open.as_ref().is_none_or(|open| Some(open.inode) != inode) {
            self.open = Some(self.opened().map_err(|error| self.error(error))?);
        }
        match &mut self.open {
            Some(open) => Ok(&mut open.connection),
            None => Err(OutputError::at(&self.path, "is not open")),
        }
    }

    fn opened(&self) -> rusqlite::Result<Open> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        let inode = std::fs::metadata(&self.path).map(|found| found.ino()).unwrap_or_default();
        Ok(Open { connection, inode })
    }

    /// One transaction, for good or not at all.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, OutputError> {
        let connection = self.connection()?;
        let done = || -> rusqlite::Result<T> {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        done().map_err(|error| {
            self.open = None;
            self.error(error)
        })
    }
}

impl Output for Sqlite {
    fn resume(&mut self, poll: &str) -> Result<Option<Resumed>, OutputError> {
        let mut lock = self.path.as_os_str().to_owned();
        lock.push(format!(".{poll}.lock"));
        let taken = "another process polls into this database";
        self.lock = Some(crate::lines::lock(lock.as_ref(), taken)?);
        let cursor: Option<String> = self.transact(|transaction| {
            let query = "SELECT cursor FROM cursors WHERE poll = ?1";
            transaction.query_row(query, [poll], |row| row.get(0)).optional()
        })?;
        let Some(cursor) = cursor else { return Ok(None) };
        let cursor: Cursor = serde_json::from_str(&cursor)
            .map_err(|error| self.error(format!("the cursor of {poll} cannot be read: {error}")))?;
        let beyond = |transaction: &Transaction<'_>, query: &str| {
            let mut statement = transaction.prepare(query)?;
            let from = params![poll, cursor.series, cursor.watermark];
            let slots = statement.query_map(from, |row| row.get(0))?;
            slots.collect::<rusqlite::Result<BTreeSet<u64>>>()
        };
        let long = "SELECT slot, slots FROM entries
             WHERE poll = ?1 AND series = ?2 AND slots > 1 AND slot + slots > ?3";
        let (settled, gaps) = self.transact(|transaction| {
            let mut statement = transaction.prepare(long)?;
            let from = params![poll, cursor.series, cursor.watermark];
            let ranges = statement.query_map(from, |row| {
                let (slot, slots): (u64, u64) = (row.get(0)?, row.get(1)?);
                Ok(slot.max(cursor.watermark)..slot + slots)
            })?;
            let ranges: Vec<_> = ranges.collect::<rusqlite::Result<_>>()?;
            let settled = "SELECT slot FROM entries WHERE poll = ?1 AND series = ?2 AND slot >= ?3
                 AND kind <> 'backfill' GROUP BY slot HAVING count(DISTINCT part) >= max(parts)";
            let gaps = "SELECT DISTINCT slot FROM entries AS gap
                 WHERE gap.slots = 1 AND poll = ?1 AND series = ?2 AND slot >= ?3 AND kind = 'gap' AND NOT EXISTS
                 (SELECT 1 FROM entries AS other WHERE other.poll = ?1 AND other.series = ?2
                  AND other.slot = gap.slot AND other.kind = 'backfill')";
            let mut settled = beyond(transaction, settled)?;
            settled.extend(ranges.into_iter().flatten());
            Ok((settled, beyond(transaction, gaps)?))
        })?;
        Ok(Some(Resumed { cursor, settled, gaps }))
    }

    fn write(&mut self, cursor: &Cursor, entries: &[Entry]) -> Result<(), OutputError> {
        self.transact(|transaction| {
            let mut statement = transaction.prepare_cached(
                "INSERT OR REPLACE INTO entries VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)",
            )?;
            for entry in entries {
                let Row { at, latency, late, status, data, why, tries } = Row::of(&entry.what);
                statement.execute(params![
                    cursor.plan.poll,
                    cursor.series,
                    entry.slot,
                    entry.slots,
                    entry.part.0,
                    entry.part.1,
                    entry.what.kind(),
                    entry.agent,
                    seconds(entry.due_at),
                    at,
                    latency,
                    late,
                    status,
                    data,
                    why,
                    tries,
                ])?;
            }
            Ok(())
        })
    }

    fn sync(&mut self, cursor: &Cursor) -> Result<(), OutputError> {
        let text = serde_json::to_string(cursor).map_err(|error| self.error(error))?;
        self.transact(|transaction| {
            let upsert = "INSERT OR REPLACE INTO cursors VALUES (?1, ?2)";
            transaction.execute(upsert, params![cursor.plan.poll, text])
        })?;
        Ok(())
    }
}
