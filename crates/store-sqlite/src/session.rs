//! What the store does inside a transaction.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use bellwether_store::{
    Acquired, Clock, Fence, HolderId, Key, Kind, Lease, Row, Saved, Sealed, StoreError,
};
use rusqlite::{Connection, OptionalExtension, Params, params};

use crate::fault::{RESTORE, fault};
use crate::origin::{self, Found, HighWater};
use crate::place::{Identity, Place};
use crate::presence::{self, Presence, PresenceName, Remains};
use crate::schema;

/// Leases that nobody released are forgotten this long after they ran out; until then a late
/// write is still accepted.
const LEASE_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Leases granted by the store between two looks for such leases.
const FORGET_EVERY: u64 = 1024;

/// One connection to the store.
///
/// Fields are dropped in order: the presence ends after the connection is closed.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    clock: Arc<dyn Clock>,
    place: Place,
    identity: Option<Identity>,
    found: Found,
    high_water: HighWater,
    /// Whether the open transaction granted a lease.
    granted: Cell<bool>,
    presence: Presence,
}

impl Session {
    /// Opens the store and frees what dead processes hold in it.
    pub(crate) fn open(place: Place, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let opening = presence::opening(&place.locks)?;
        place.prepare_database()?;
        let mut connection = schema::open(&place.database)?;
        let found = origin::examine(&mut connection, &place.database, &place.locks)?;
        let high_water = HighWater::open(&place.locks, found.origin.instance)?;
        let presence = Presence::begin(&place.locks)?;
        let identity = place.identity();
        let granted = Cell::new(false);
        let session =
            Self { connection, clock, place, identity, found, high_water, granted, presence };

        let remains = presence::remains(&session.place.locks)?;
        session.begin(true)?;
        session.check_counter()?;
        session.forget_leases(&remains)?;
        session.commit()?;
        drop((remains, opening));
        Ok(session)
    }

    /// The database.
    pub(crate) fn path(&self) -> &Path {
        &self.place.database
    }

    /// What was found out about the store when it was opened.
    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    /// Begins a transaction, one that writes or one that reads.
    pub(crate) fn begin(&self, writes: bool) -> Result<(), StoreError> {
        if self.identity != self.place.identity() {
            let path = self.path().display();
            let why = format!(
                "{path} or its log was moved, replaced or deleted while in use; put it back or \
                 restart bellwether"
            );
            return Err(StoreError::Unavailable { why });
        }
        self.granted.set(false);
        let sql = if writes { "BEGIN IMMEDIATE" } else { "BEGIN DEFERRED" };
        self.run(sql)
    }

    /// Ends the transaction; what was written is on disk when this returns.
    pub(crate) fn commit(&self) -> Result<(), StoreError> {
        // Read and not remembered: a grant may have been undone since.
        let last = if self.granted.get() { Some(self.last_fence()?) } else { None };
        let committed = self.run("COMMIT");
        if committed.is_err() {
            self.roll_back();
        } else if let Some(last) = last {
            // One that stays too low only notices less.
            let _ = self.high_water.note(last);
        }
        committed
    }

    /// Ends the transaction without a trace, if one is open.
    pub(crate) fn roll_back(&self) {
        if self.is_in_transaction() {
            // SQLite rolls back by itself when this fails, at the latest when it is closed.
            let _ = self.run("ROLLBACK");
        }
    }

    /// Whether a transaction is open; SQLite ends one by itself after some errors.
    pub(crate) fn is_in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Does `work` wholly or, if it fails, not at all.
    pub(crate) fn whole<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run("SAVEPOINT work")?;
        let result = work(self);
        if self.is_in_transaction() {
            if result.is_err() && self.run("ROLLBACK TO work").is_err() {
                self.roll_back();
                return result;
            }
            self.run("RELEASE work")?;
        }
        result
    }

    pub(crate) fn load(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        let sql = "SELECT generation, sealed FROM entry WHERE key = ?1";
        self.first(sql, [key.to_string()], row_from)
    }

    pub(crate) fn acquire(
        &self,
        key: &Key,
        holder: HolderId,
        ttl: Duration,
    ) -> Result<Acquired, StoreError> {
        let now = self.clock.now();
        let last_fence = self.last_fence()?;
        let held = self.held(key)?;
        if let Some(held) = &held {
            if held.fence > last_fence {
                return Err(self.counter_behind());
            }
            let remaining = held.remaining(now, &self.clock.boot_id().to_string());
            if held.holder != holder.to_string() && !remaining.is_zero() && !self.is_dead(held) {
                return Ok(Acquired::busy(remaining));
            }
        }
        let fence = last_fence.next()?;
        self.granted.set(true);
        self.change("UPDATE counter SET last_fence = ?1", [integer(fence.as_u64())])?;
        self.change(
            "INSERT OR REPLACE INTO lease
                 (key, fence, holder, presence, boot, granted_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                key.to_string(),
                integer(fence.as_u64()),
                holder.to_string(),
                self.presence.name().to_string(),
                self.clock.boot_id().to_string(),
                integer(now.as_nanos()),
                integer((now + ttl).as_nanos()),
            ],
        )?;
        if fence.as_u64() % FORGET_EVERY == 0 {
            self.forget_leases(&[])?;
        }
        Ok(Acquired::Lease(Lease { fence, valid_for: ttl }))
    }

    pub(crate) fn release(&self, key: &Key, fence: Fence) -> Result<(), StoreError> {
        let sql = "DELETE FROM lease WHERE key = ?1 AND fence = ?2";
        self.change(sql, params![key.to_string(), integer(fence.as_u64())])
    }

    pub(crate) fn save(&self, key: &Key, fence: Fence, row: &Row) -> Result<Saved, StoreError> {
        row.check()?;
        if !self.permits(key, fence)? {
            return Ok(Saved::Fenced);
        }
        if self.load(key)?.is_some_and(|stored| stored.generation > row.generation) {
            return Ok(Saved::Behind);
        }
        self.change(
            "INSERT INTO entry (key, kind, generation, sealed) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (key) DO UPDATE
                 SET generation = excluded.generation, sealed = excluded.sealed",
            params![
                key.to_string(),
                key.kind().as_str(),
                integer(row.generation),
                row.sealed.as_bytes()
            ],
        )?;
        Ok(Saved::Done)
    }

    pub(crate) fn remove(&self, key: &Key, fence: Fence) -> Result<Saved, StoreError> {
        if !self.permits(key, fence)? {
            return Ok(Saved::Fenced);
        }
        self.change("DELETE FROM entry WHERE key = ?1", [key.to_string()])?;
        Ok(Saved::Done)
    }

    pub(crate) fn list(&self, kind: &Kind) -> Result<Vec<(Key, Row)>, StoreError> {
        let sql = "SELECT generation, sealed, key FROM entry WHERE kind = ?1";
        let keyed = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(2)?, row_from(row)?));
        let read = || {
            let mut statement = self.connection.prepare(sql)?;
            statement.query_map([kind.as_str()], keyed)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(|error| self.fault(&error))?;
        let parsed = rows.into_iter().map(|(key, row)| match key.parse() {
            Ok(key) => Ok((key, row)),
            Err(error) => {
                let why = format!("{}: {error}", self.path().display());
                Err(StoreError::Corrupt { why })
            }
        });
        let mut rows = parsed.collect::<Result<Vec<(Key, Row)>, StoreError>>()?;
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(rows)
    }

    /// Gives back what this store still holds; for the end.
    pub(crate) fn give_back(&self) -> Result<(), StoreError> {
        self.begin(true)?;
        self.forget_presence(self.presence.name())?;
        self.commit()
    }

    /// Forgets the leases of the dead, of other boots, and those that ran out long ago.
    fn forget_leases(&self, remains: &[Remains]) -> Result<(), StoreError> {
        for dead in remains {
            self.forget_presence(&dead.name)?;
        }
        let old = self.clock.now() - LEASE_KEPT;
        let boot = self.clock.boot_id().to_string();
        let sql = "DELETE FROM lease WHERE boot <> ?1 OR expires_at < ?2";
        self.change(sql, params![boot, integer(old.as_nanos())])
    }

    fn forget_presence(&self, name: &PresenceName) -> Result<(), StoreError> {
        self.change("DELETE FROM lease WHERE presence = ?1", [name.to_string()])
    }

    fn last_fence(&self) -> Result<Fence, StoreError> {
        origin::last_fence(&self.connection, self.path())
    }

    /// Refuses a counter that would grant a fence once more.
    fn check_counter(&self) -> Result<(), StoreError> {
        let sql = "SELECT max(fence) FROM lease";
        let read = self.connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
        let highest = read.map_err(|error| self.fault(&error))?;
        let last = self.last_fence()?.as_u64().cast_signed();
        if highest.is_some_and(|highest| highest > last) {
            return Err(self.counter_behind());
        }
        Ok(())
    }

    fn counter_behind(&self) -> StoreError {
        let path = self.path().display();
        let why = format!("{path}: its lease counter is behind its leases; {RESTORE}");
        StoreError::Corrupt { why }
    }

    fn held(&self, key: &Key) -> Result<Option<Held>, StoreError> {
        let sql = "SELECT fence, holder, presence, boot, granted_at, expires_at
                   FROM lease WHERE key = ?1";
        self.first(sql, [key.to_string()], |row| {
            Ok(Held {
                fence: Fence::from_u64(unsigned(row, 0)?),
                holder: row.get(1)?,
                presence: row.get(2)?,
                boot: row.get(3)?,
                granted_at: Timestamp::from_nanos(unsigned(row, 4)?),
                expires_at: Timestamp::from_nanos(unsigned(row, 5)?),
            })
        })
    }

    fn permits(&self, key: &Key, fence: Fence) -> Result<bool, StoreError> {
        Ok(self.held(key)?.is_some_and(|held| held.fence == fence))
    }

    fn is_dead(&self, held: &Held) -> bool {
        let name = PresenceName::parse(&held.presence);
        name.is_some_and(|name| presence::is_dead(&self.place.locks, &name))
    }

    fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let first = self.connection.query_row(sql, params, read).optional();
        first.map_err(|error| self.fault(&error))
    }

    fn change(&self, sql: &str, params: impl Params) -> Result<(), StoreError> {
        self.connection.execute(sql, params).map(drop).map_err(|error| self.fault(&error))
    }

    fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &rusqlite::Error) -> StoreError {
        fault(self.path(), error)
    }
}

/// A lease as it is kept.
#[derive(Debug)]
struct Held {
    fence: Fence,
    holder: String,
    presence: String,
    boot: String,
    granted_at: Timestamp,
    expires_at: Timestamp,
}

impl Held {
    /// How long it still runs at `now`. A lease of another boot has run out, and so has one from
    /// the future, which another boot must have granted.
    fn remaining(&self, now: Timestamp, boot: &str) -> Duration {
        if self.boot == boot && self.granted_at <= now {
            now.until(self.expires_at)
        } else {
            Duration::ZERO
        }
    }
}

fn row_from(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let sealed = row.get_ref(1)?.as_blob()?;
    Ok(Row { generation: unsigned(row, 0)?, sealed: Sealed::from_bytes(sealed) })
}

/// SQLite's integers are signed; what is kept here never is negative.
fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// Fences and generations are far below; an instant beyond is as good as never.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bellwether_store::ManualClock;

    use super::*;

    #[test]
    fn a_full_disk_is_told_and_takes_nothing_away() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::prepare(&directory.path().join("store.db")).unwrap();
        let session = Session::open(place, Arc::new(ManualClock::new())).unwrap();
        let key = Key::credential("a", 0).unwrap();
        let row = |generation, size| Row { generation, sealed: Sealed::from_bytes(vec![7; size]) };
        let write = |row: &Row| {
            session.begin(true)?;
            let result = session.whole(|session| {
                let holder = HolderId::from_u128(1);
                let acquired = session.acquire(&key, holder, Duration::from_secs(9))?;
                session.save(&key, acquired.lease().unwrap().fence, row)
            });
            if session.is_in_transaction() { session.commit().and(result) } else { result }
        };
        assert_eq!(write(&row(1, 100)), Ok(Saved::Done));
        session.run("PRAGMA max_page_count = 20").unwrap();
        let full = write(&row(2, 1 << 20));
        assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
        assert_eq!(session.load(&key), Ok(Some(row(1, 100))));
        session.run("PRAGMA max_page_count = 100000").unwrap();
        assert_eq!(write(&row(2, 1 << 20)), Ok(Saved::Done));
        assert_eq!(session.load(&key), Ok(Some(row(2, 1 << 20))));
    }

    #[test]
    fn a_counter_behind_its_leases_or_used_up_grants_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::prepare(&directory.path().join("store.db")).unwrap();
        let session = Session::open(place, Arc::new(ManualClock::new())).unwrap();
        let key = Key::credential("a", 0).unwrap();
        let acquire = || session.acquire(&key, HolderId::from_u128(1), Duration::from_secs(9));
        acquire().unwrap();
        acquire().unwrap();
        session.run("UPDATE counter SET last_fence = 1").unwrap();
        assert!(matches!(acquire(), Err(StoreError::Corrupt { .. })));
        session.run(&format!("UPDATE counter SET last_fence = {}", Fence::LAST)).unwrap();
        assert!(matches!(acquire(), Err(StoreError::Refused { .. })));
        session.run("UPDATE counter SET last_fence = -1").unwrap();
        assert!(matches!(acquire(), Err(StoreError::Corrupt { .. })));
        session.run("DELETE FROM counter").unwrap();
        assert!(matches!(acquire(), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn a_lease_of_another_boot_has_run_out() {
        let at = Timestamp::from_secs;
        let held = |granted_at, expires_at| Held {
            fence: Fence::NONE,
            holder: String::new(),
            presence: String::new(),
            boot: "this".to_owned(),
            granted_at: at(granted_at),
            expires_at: at(expires_at),
        };
        // granted at, expires at, now, boot, remains
        let cases = [
            (10, 40, 10, "this", 30),
            (10, 40, 39, "this", 1),
            (10, 40, 40, "this", 0),
            (10, 40, 20, "another", 0),
            (10, 40, 9, "this", 0),
        ];
        for (granted_at, expires_at, now, boot, remains) in cases {
            let remaining = held(granted_at, expires_at).remaining(at(now), boot);
            assert_eq!(remaining, Duration::from_secs(remains), "at {now} in {boot} boot");
        }
    }
}
