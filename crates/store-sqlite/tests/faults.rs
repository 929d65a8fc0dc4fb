//! What the store says and keeps when its files are damaged, taken away or looked into.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bellwether_store::{
    HolderId, Key, Keyring, Lease, ManualClock, Row, Saved, Sealed, Store, StoreError,
};
use bellwether_store_sqlite::SqliteStore;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

struct Disk {
    _directory: TempDir,
    path: PathBuf,
    clock: Arc<ManualClock>,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        Self { _directory: directory, path, clock: Arc::new(ManualClock::new()) }
    }

    fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.path, self.clock.clone())
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }
}

fn key(number: usize) -> Key {
    Key::credential(&format!("credential-{number}"), 0).unwrap()
}

async fn lease(store: &dyn Store, key: &Key) -> Lease {
    let asked = store.acquire(key, HolderId::random().unwrap(), HOUR).await;
    asked.unwrap().lease().expect("the lease is free")
}

async fn write(store: &dyn Store, key: &Key, row: Row) {
    let Lease { fence, .. } = lease(store, key).await;
    assert_eq!(store.save(key, fence, row).await, Ok(Saved::Done));
    store.release(key, fence).await.unwrap();
}

fn row(content: &[u8]) -> Row {
    Row { generation: 1, sealed: Sealed::from_bytes(content) }
}

#[tokio::test]
async fn a_damaged_file_is_told_and_left_alone() {
    let disk = Disk::new();
    let store = disk.open().unwrap();
    for number in 0..50 {
        write(&store, &key(number), row(&[7; 2000])).await;
    }
    drop(store);
    let sound = fs::read(&disk.path).unwrap();
    let page = 4096;
    assert!(sound.len() > 10 * page, "{} bytes", sound.len());
    let damage = |from: usize, to: usize| {
        let mut bytes = sound.clone();
        bytes[from..to].fill(0x5a);
        bytes
    };
    let cases = [
        ("no header", damage(0, 16)),
        ("no schema", damage(100, page)),
        ("a page overwritten", damage(3 * page, 4 * page)),
        ("another", damage(7 * page, 7 * page + 100)),
        ("cut off", sound[..5 * page].to_vec()),
        ("text", b"[gateway]\nlisten = \"127.0.0.1:8484\"\n".repeat(100)),
    ];
    for (what, bytes) in cases {
        fs::write(&disk.path, &bytes).unwrap();
        let error = disk.open().map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{what}: {error}");
        let shown = error.to_string();
        assert!(shown.contains("restore it") && shown.contains("store.db"), "{what}: {shown}");
        assert!(fs::read(&disk.path).unwrap() == bytes, "{what}: the evidence was changed");
    }
    fs::write(&disk.path, &sound).unwrap();
    assert_eq!(disk.open().unwrap().load(&key(49)).await, Ok(Some(row(&[7; 2000]))));
}

#[tokio::test]
async fn a_file_taken_away_in_use_is_noticed_before_the_next_answer() {
    for (what, suffix) in [("the database", ""), ("its log", "-wal")] {
        let disk = Disk::new();
        let store = disk.open().unwrap();
        let Lease { fence, .. } = lease(&store, &key(0)).await;
        fs::rename(disk.beside(suffix), disk.beside("-away")).unwrap();
        let saved = store.save(&key(0), fence, row(b"x")).await;
        let told = |error: &StoreError| error.to_string().contains("put it back or restart");
        assert!(saved.as_ref().is_err_and(told), "{what}: {saved:?}");
        assert!(store.load(&key(0)).await.is_err(), "{what}");
        fs::rename(disk.beside("-away"), disk.beside(suffix)).unwrap();
        assert_eq!(store.save(&key(0), fence, row(b"x")).await, Ok(Saved::Done), "{what}");
    }
}

#[tokio::test]
async fn whoever_reads_the_files_learns_no_secret() {
    let disk = Disk::new();
    let store = disk.open().unwrap();
    let ring = Keyring::ephemeral();
    let secret = b"a refresh token that nobody else may see";
    let digest = ring.digest("refresh", secret);
    let key = Key::refresh(&digest);
    let sealed = ring.seal(&key, 1, secret);
    write(&store, &key, Row { generation: 1, sealed }).await;

    let directory = disk.path.parent().unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
        // The database itself is read once it is closed: closing a file that SQLite has open in
        // the same process would drop its locks.
        if metadata.is_file() && path != disk.path {
            let bytes = fs::read(&path).unwrap();
            assert!(!contains(&bytes, &secret[2..20]), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 1, "the log is there");
    let row = store.load(&key).await.unwrap().unwrap();
    assert_eq!(*ring.open(&key, row.generation, &row.sealed).unwrap(), secret);
    drop(store);
    let bytes = fs::read(&disk.path).unwrap();
    assert!(contains(&bytes, digest.to_hex().as_bytes()) && !contains(&bytes, &secret[2..20]));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_removed_row_is_overwritten() {
    let disk = Disk::new();
    let store = disk.open().unwrap();
    let needle = b"sealed bytes of a forgotten credential";
    write(&store, &key(0), row(needle)).await;
    drop(store);
    assert!(contains(&fs::read(&disk.path).unwrap(), needle));
    let store = disk.open().unwrap();
    let Lease { fence, .. } = lease(&store, &key(0)).await;
    assert_eq!(store.remove(&key(0), fence).await, Ok(Saved::Done));
    drop(store);
    assert!(!contains(&fs::read(&disk.path).unwrap(), needle));
    assert!(!disk.beside("-wal").exists());
}

#[tokio::test]
async fn a_reboot_ends_every_lease_and_keeps_every_row() {
    let disk = Disk::new();
    let (store, other) = (disk.open().unwrap(), disk.open().unwrap());
    let before = lease(&store, &key(0)).await;
    assert_eq!(store.save(&key(0), before.fence, row(b"x")).await, Ok(Saved::Done));
    let asked = other.acquire(&key(0), HolderId::from_u128(1), HOUR).await;
    assert_eq!(asked.unwrap().lease(), None);
    disk.clock.reboot(Duration::from_secs(60));
    assert!(lease(&other, &key(0)).await.fence > before.fence);
    assert_eq!(other.load(&key(0)).await, Ok(Some(row(b"x"))));
}

#[tokio::test]
async fn a_closed_store_leaves_no_lease_and_no_file_behind() {
    let disk = Disk::new();
    let (store, other) = (disk.open().unwrap(), disk.open().unwrap());
    let first = lease(&store, &key(0)).await;
    drop(store);
    assert!(lease(&other, &key(0)).await.fence > first.fence);
    drop(other);
    let left = fs::read_dir(disk.beside("-locks")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["high-water", "opening"]);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_with_it() {
    let disk = Disk::new();
    let store = disk.open().unwrap();
    let Lease { fence, .. } = lease(&store, &key(0)).await;
    for _ in 0..100 {
        let asked = store.load(&key(0));
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            _ = asked => {}
        }
    }
    assert_eq!(store.save(&key(0), fence, row(b"x")).await, Ok(Saved::Done));
}

/// Takes as long as the store waits for others.
#[tokio::test]
async fn a_file_that_another_program_keeps_locked_is_told_and_can_still_be_read() {
    let disk = Disk::new();
    let store = disk.open().unwrap();
    write(&store, &key(0), row(b"x")).await;
    let other = rusqlite::Connection::open(&disk.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let asked = store.acquire(&key(0), HolderId::from_u128(1), HOUR).await;
    let told = |error: &StoreError| error.is_passing() && error.to_string().contains("kept");
    assert!(asked.as_ref().is_err_and(told), "{asked:?}");
    assert_eq!(store.load(&key(0)).await, Ok(Some(row(b"x"))));
    other.execute_batch("ROLLBACK").unwrap();
    write(&store, &key(0), row(b"y")).await;
}

#[tokio::test]
async fn a_store_open_to_others_is_refused() {
    let disk = Disk::new();
    drop(disk.open().unwrap());
    fs::set_permissions(&disk.path, PermissionsExt::from_mode(0o644)).unwrap();
    let error = disk.open().map(drop).unwrap_err();
    assert!(matches!(&error, StoreError::Refused { why } if why.contains("chmod 600")), "{error}");
}

#[tokio::test]
async fn relative_paths_and_links_to_directories_work() {
    let disk = Disk::new();
    let directory = disk.path.parent().unwrap();
    fs::create_dir(directory.join("real")).unwrap();
    std::os::unix::fs::symlink("real", directory.join("link")).unwrap();
    let path = directory.join("link/./store.db");
    let store = SqliteStore::open(&path, disk.clock.clone()).unwrap();
    assert!(store.path().ends_with(Path::new("real/store.db")));
    let error = SqliteStore::open(Path::new("/"), disk.clock.clone()).unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
}
