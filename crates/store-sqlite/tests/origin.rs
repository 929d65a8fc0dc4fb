//! A store knows itself, and its copies know that they are copies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bellwether_store::{
    Fence, HolderId, Key, ManualClock, Origin, Row, Saved, Sealed, Store, StoreError,
};
use bellwether_store_sqlite::SqliteStore;
use rusqlite::Connection;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn try_open(&self, name: &str) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.at(name), Arc::new(ManualClock::new()))
    }

    fn open(&self, name: &str) -> SqliteStore {
        self.try_open(name).unwrap()
    }

    /// What `cp` makes: a new file, or new content for one that is there.
    fn copy(&self, from: &str, to: &str) {
        let mut command = Command::new("cp");
        assert!(command.arg(self.at(from)).arg(self.at(to)).status().unwrap().success());
    }

    fn sql(&self, name: &str, sql: &str) {
        Connection::open(self.at(name)).unwrap().execute_batch(sql).unwrap();
    }
}

async fn origin(store: &SqliteStore) -> Origin {
    store.origin().await.unwrap()
}

/// Writes the next generation under a lease of its own.
async fn write(store: &SqliteStore) -> Fence {
    let key = Key::credential("a", 0).unwrap();
    let asked = store.acquire(&key, HolderId::random().unwrap(), HOUR).await.unwrap();
    let fence = asked.lease().expect("the lease is free").fence;
    let row = store.load(&key).await.unwrap();
    let generation = row.map_or(1, |row| row.generation + 1);
    let row = Row { generation, sealed: Sealed::from_bytes(b"sealed".as_slice()) };
    assert_eq!(store.save(&key, fence, row).await, Ok(Saved::Done));
    store.release(&key, fence).await.unwrap();
    fence
}

#[tokio::test]
async fn a_store_that_stays_where_it_is_stays_itself() {
    let disk = Disk::new();
    let store = disk.open("a.db");
    let first = origin(&store).await;
    assert_eq!((first.epoch, store.was_copied()), (0, None));
    let beside = disk.open("a.db");
    assert_eq!((origin(&beside).await, beside.was_copied()), (first, None));
    write(&store).await;
    drop((store, beside));
    for _ in 0..3 {
        let store = disk.open("a.db");
        assert_eq!((origin(&store).await, store.was_copied()), (first, None));
        write(&store).await;
    }
    let other = disk.open("b.db");
    assert_ne!(origin(&other).await.instance, first.instance);
}

#[tokio::test]
async fn a_store_that_was_moved_stays_itself() {
    let disk = Disk::new();
    let first = disk.open("a.db");
    write(&first).await;
    let expected = origin(&first).await;
    drop(first);
    fs::rename(disk.at("a.db"), disk.at("b.db")).unwrap();
    let moved = disk.open("b.db");
    assert_eq!((origin(&moved).await, moved.was_copied()), (expected, None));
    drop(moved);
    // Over another store, whose high water is not its own.
    for _ in 0..9 {
        write(&disk.open("c.db")).await;
    }
    fs::rename(disk.at("b.db"), disk.at("c.db")).unwrap();
    let moved = disk.open("c.db");
    assert_eq!((origin(&moved).await, moved.was_copied()), (expected, None));
}

#[tokio::test]
async fn a_copy_begins_another_epoch_and_the_original_does_not() {
    let disk = Disk::new();
    let store = disk.open("a.db");
    write(&store).await;
    let first = origin(&store).await;
    disk.sql("a.db", &format!("VACUUM INTO '{}'", disk.at("vacuumed.db").display()));
    fs::set_permissions(
        disk.at("vacuumed.db"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    drop(store);
    disk.copy("a.db", "copied.db");
    for name in ["copied.db", "vacuumed.db"] {
        let copy = disk.open(name);
        let next = Origin { epoch: first.epoch + 1, ..first };
        assert_eq!(origin(&copy).await, next, "{name}");
        let told = copy.was_copied().unwrap();
        assert!(told.contains(name) && told.contains("copy"), "{told}");
        drop(copy);
        let again = disk.open(name);
        assert_eq!((origin(&again).await, again.was_copied()), (next, None), "{name} again");
        let original = disk.open("a.db");
        assert_eq!((origin(&original).await, original.was_copied()), (first, None));
    }
    disk.copy("copied.db", "twice.db");
    assert_eq!(origin(&disk.open("twice.db")).await.epoch, first.epoch + 2);
}

#[tokio::test]
async fn a_backup_that_is_restored_begins_another_epoch_however_it_is_put_back() {
    for how in ["into the file", "as a new file", "in its place"] {
        let put_back = |disk: &Disk| match how {
            "into the file" => disk.copy("backup", "a.db"),
            "in its place" => fs::rename(disk.at("backup"), disk.at("a.db")).unwrap(),
            _ => {
                fs::remove_file(disk.at("a.db")).unwrap();
                disk.copy("backup", "a.db");
            }
        };
        let disk = Disk::new();
        let store = disk.open("a.db");
        write(&store).await;
        let first = origin(&store).await;
        drop(store);
        disk.copy("a.db", "backup");
        let store = disk.open("a.db");
        let mut last = Fence::NONE;
        for _ in 0..5 {
            last = write(&store).await;
        }
        drop(store);
        put_back(&disk);
        let restored = disk.open("a.db");
        assert_eq!(origin(&restored).await, Origin { epoch: 1, ..first }, "{how}");
        assert!(restored.was_copied().is_some_and(|told| told.contains("used since")), "{how}");
        let next = write(&restored).await;
        assert!(next > last, "{how}: fence {next} was granted before, the last was {last}");
        drop(restored);
        let again = disk.open("a.db");
        assert_eq!((origin(&again).await.epoch, again.was_copied()), (1, None), "{how}");
    }
}

/// A file as the first release made it, with a row and a lease of a boot long gone.
fn first_release(path: &Path) {
    let schema = "
        PRAGMA journal_mode = WAL;
        CREATE TABLE counter (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            last_fence INTEGER NOT NULL
        ) STRICT;
        INSERT INTO counter (only, last_fence) VALUES (1, 41);
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
        INSERT INTO entry VALUES ('credential/a/0', 'credential', 7, x'7365616c6564');
        INSERT INTO lease VALUES ('credential/a/0', 41, 'holder', 'presence', 'boot', 0, 9);
        PRAGMA application_id = 0x42777468;
        PRAGMA user_version = 1;
    ";
    fs::write(path, "").unwrap();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Connection::open(path).unwrap().execute_batch(schema).unwrap();
}

#[tokio::test]
async fn a_store_of_the_first_release_is_taken_over() {
    let disk = Disk::new();
    first_release(&disk.at("a.db"));
    let store = disk.open("a.db");
    let first = origin(&store).await;
    assert_eq!((first.epoch, store.was_copied()), (0, None));
    let row = store.load(&Key::credential("a", 0).unwrap()).await.unwrap().unwrap();
    assert_eq!((row.generation, row.sealed.as_bytes()), (7, b"sealed".as_slice()));
    assert_eq!(write(&store).await, Fence::from_u64(42));
    drop(store);
    assert_eq!(origin(&disk.open("a.db")).await, first);
    disk.copy("a.db", "copy.db");
    assert_eq!(origin(&disk.open("copy.db")).await, Origin { epoch: 1, ..first });
}

#[tokio::test]
async fn a_counter_that_could_grant_a_fence_twice_stops_the_store() {
    let cases = [
        ("DELETE FROM counter", "counter is missing"),
        ("UPDATE counter SET last_fence = -1", "counter is below zero"),
        (
            "INSERT INTO lease SELECT 'credential/b/0', 99, holder, presence, boot, 0, 9 \
             FROM (SELECT 'h' holder, 'p' presence, '00000000000000000000000000000001' boot)",
            "counter is behind",
        ),
        ("DELETE FROM origin", "holds what was never written"),
        ("UPDATE origin SET instance = 'x'", "which store it is"),
    ];
    for (sql, says) in cases {
        let disk = Disk::new();
        write(&disk.open("a.db")).await;
        disk.sql("a.db", sql);
        match disk.try_open("a.db") {
            Err(StoreError::Corrupt { why }) => {
                assert!(why.contains(says) && why.contains("restore it"), "{why}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}
