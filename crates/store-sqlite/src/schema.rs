//! How the file is recognised, set up and kept.

use std::path::Path;
use std::time::Duration;

use bellwether_store::StoreError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::fault::{RESTORE, fault};
use crate::origin::{self, Birth};

/// Marks the file as ours: "Bwth".
const APPLICATION_ID: i32 = 0x4277_7468;
/// Goes up with each change that an earlier release could not read.
const SCHEMA_VERSION: i32 = 2;
/// The oldest that is brought up to date.
const OLDEST_SCHEMA: i32 = 1;
/// The first without the corruption of a write-ahead log that several connections share.
const OLDEST_SQLITE: i32 = 3_051_003;
/// How long one process waits for another's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A larger file is not read through at start-up, only where it is used.
const CHECKED_SIZE: u64 = 64 << 20;

/// `entry` holds the rows, `lease` the leases, whether run out or not, until they are released:
/// the fence there is the one that may write. One counter orders all leases, so that a removed key
/// leaves nothing behind. Instants are nanoseconds since the boot named beside them.
const SCHEMA: &str = "
CREATE TABLE counter (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    last_fence INTEGER NOT NULL
) STRICT;
INSERT INTO counter (only, last_fence) VALUES (1, 0);
CREATE TABLE entry (
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    generation INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX entry_by_kind ON entry (kind);
CREATE TABLE lease (
    key TEXT NOT NULL PRIMARY KEY,
    fence INTEGER NOT NULL,
    holder TEXT NOT NULL,
    presence TEXT NOT NULL,
    boot TEXT NOT NULL,
    granted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_by_presence ON lease (presence);
";

/// Refuses an SQLite that could corrupt the file.
pub(crate) fn check_library(version: i32) -> Result<(), StoreError> {
    if version >= OLDEST_SQLITE {
        return Ok(());
    }
    let (major, minor, patch) = (version / 1_000_000, version / 1000 % 1000, version % 1000);
    let why = format!(
        "the linked SQLite {major}.{minor}.{patch} can corrupt a file that several processes \
         share; build with the bundled one, or link 3.51.3 or newer"
    );
    Err(StoreError::Refused { why })
}

/// Opens the database at `path`, which is there and perhaps empty, and sets it up. The caller
/// makes sure that nobody else does so at the same time.
pub(crate) fn open(path: &Path) -> Result<Connection, StoreError> {
    check_library(rusqlite::version_number())?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(|error| fault(path, &error))?;
    recognise(&connection).map_err(|error| fault(path, &error))??;
    let birth = Birth::of(path)?;
    set_up(&mut connection, path, birth).map_err(|error| fault(path, &error))??;
    Ok(connection)
}

/// Refuses another program's database and a later release's.
fn recognise(connection: &Connection) -> rusqlite::Result<Result<(), StoreError>> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let path = connection.path().unwrap_or_default();
    let why = match (application, version, tables) {
        (0, 0, 0) | (APPLICATION_ID, OLDEST_SCHEMA..=SCHEMA_VERSION, _) => return Ok(Ok(())),
        (APPLICATION_ID, _, _) => format!(
            "{path} was written by another release of bellwether (schema {version}, this one \
             reads {OLDEST_SCHEMA} to {SCHEMA_VERSION}); run that release, or choose another path"
        ),
        _ => format!("{path} is another program's database; choose another path"),
    };
    Ok(Err(StoreError::Refused { why }))
}

fn set_up(
    connection: &mut Connection,
    path: &Path,
    birth: Birth,
) -> rusqlite::Result<Result<(), StoreError>> {
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA mmap_size = 0;
         PRAGMA temp_store = MEMORY;
         PRAGMA secure_delete = ON;
         PRAGMA synchronous = FULL;
         PRAGMA journal_size_limit = 4194304;",
    )?;
    let text = |connection: &Connection, sql: &str| {
        connection.query_row(sql, [], |row| row.get::<_, String>(0))
    };
    let mode = text(connection, "PRAGMA journal_mode = WAL")?;
    if mode != "wal" {
        let path = path.display();
        let why = format!("{path} is on a file system without shared memory; choose a local path");
        return Ok(Err(StoreError::Refused { why }));
    }
    if std::fs::metadata(path).is_ok_and(|data| data.len() <= CHECKED_SIZE) {
        let verdict = text(connection, "PRAGMA quick_check(1)")?;
        if verdict != "ok" {
            let path = path.display();
            let why = format!("{path} is damaged ({verdict}); {RESTORE}");
            return Ok(Err(StoreError::Corrupt { why }));
        }
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let number = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i32>(0));
    let version = number("PRAGMA user_version")?;
    if number("PRAGMA application_id")? == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    if version < SCHEMA_VERSION {
        transaction.execute_batch(origin::TABLE)?;
        origin::begin(&transaction, birth)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sqlite_that_corrupts_is_refused() {
        assert_eq!(check_library(3_051_003), Ok(()));
        let error = check_library(3_051_002).unwrap_err().to_string();
        assert!(error.contains("3.51.2"), "{error}");
        assert!(check_library(3_007_000).is_err());
    }

    #[test]
    fn what_is_set_stays_set() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        std::fs::write(&path, "").unwrap();
        let connection = open(&path).unwrap();
        let cases = [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("secure_delete", "1"),
            ("mmap_size", "0"),
            ("busy_timeout", "5000"),
            ("trusted_schema", "0"),
        ];
        for (name, expected) in cases {
            let value = connection.query_row(&format!("PRAGMA {name}"), [], |row| {
                let value = row.get_ref(0)?;
                value
                    .as_i64()
                    .map(|number| number.to_string())
                    .or_else(|_| value.as_str().map(str::to_owned).map_err(rusqlite::Error::from))
            });
            assert_eq!(value.unwrap(), expected, "{name}");
        }
        assert!(rusqlite::version_number() >= OLDEST_SQLITE);
    }

    #[test]
    fn other_databases_are_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let cases = [
            ("tables", "CREATE TABLE t (x)", "another program's"),
            ("application", "PRAGMA application_id = 7", "another program's"),
            ("later", "PRAGMA application_id = 0x42777468; PRAGMA user_version = 3", "schema 3"),
        ];
        for (name, sql, says) in cases {
            let path = directory.path().join(name);
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            let before = std::fs::read(&path).unwrap();
            let error = open(&path).unwrap_err();
            assert!(matches!(&error, StoreError::Refused { why } if why.contains(says)), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), before, "{name}");
        }
    }
}
