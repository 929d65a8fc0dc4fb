//! A disk that fails at every place in turn: what is acknowledged is kept, and the error says so.
//!
//! `strace` makes one system call of a child fail, or kills the child there, the first, the second, and so on. Without it
//! (or without the right to trace) these tests say that they were skipped.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bellwether_store::{HolderId, Key, Row, Saved, Sealed, Store, StoreError, SystemClock};
use bellwether_store_sqlite::SqliteStore;

const STORE: &str = "STORE_TEST_PATH";
/// How many rows a child saves.
const SAVED: u64 = 6;
/// How often it tries again before it gives up; one fault is to cost less.
const ATTEMPTS: usize = 4;

fn key() -> Key {
    Key::credential("shared", 0).unwrap()
}

fn row(generation: u64) -> Row {
    let content = generation.to_be_bytes().repeat(1000);
    Row { generation, sealed: Sealed::from_bytes(content) }
}

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, Arc::new(SystemClock::new()))
}

/// Saves under faults; as a test of its own it has no path and ends at once.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let path = Path::new(&path);
    let store = (0..ATTEMPTS).find_map(|_| match open(path) {
        Ok(store) => Some(store),
        Err(error) => {
            println!("\nfailed {error}");
            None
        }
    });
    let Some(store) = store else { return };
    let (mut failures, mut next) = (0, 1);
    while next <= SAVED && failures < ATTEMPTS {
        match save(&store, next).await {
            Ok(generation) => {
                println!("\nsaved {generation}");
                next = generation + 1;
            }
            Err(error) => {
                println!("\nfailed {error}");
                failures += 1;
            }
        }
    }
}

async fn save(store: &SqliteStore, next: u64) -> Result<u64, StoreError> {
    let asked = store.acquire(&key(), HolderId::from_u128(1), Duration::from_secs(60)).await?;
    let fence = asked.lease().expect("nobody else asks").fence;
    // A save that failed may have landed.
    let stored = store.load(&key()).await?.map_or(0, |row| row.generation);
    assert!(stored + 1 == next || stored == next, "{stored} is stored, {next} comes next");
    assert_eq!(store.save(&key(), fence, row(stored + 1)).await?, Saved::Done);
    store.release(&key(), fence).await?;
    Ok(stored + 1)
}

/// Runs a child of which some `call`s on the store's files meet `fault`: `when` is the number
/// of one, or with a `+` that of the first of all.
fn run(path: &Path, call: &str, fault: &str, when: &str) -> Output {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(path.with_extension("trace"));
    command.args(["-e", &format!("trace={call}"), "-e"]);
    command.arg(format!("inject={call}:{fault}:when={when}"));
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        command.arg("-P").arg(file);
    }
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(STORE, path);
    command.output().expect("strace was there a moment ago")
}

fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    traced.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_failing_disk_costs_nothing_that_was_acknowledged() {
    if !can_trace() {
        println!("skipped: strace is missing or may not trace");
        return;
    }
    // the call, what it fails with, how often it is made at least, what the error says
    #[rustfmt::skip]
    let cases = [
        ("pwrite64",  "EIO",    24, "check the disk"),
        ("pwrite64",  "ENOSPC", 24, "free some space"),
        ("pread64",   "EIO",     2, "check the disk"),
        ("fsync",     "EIO",     8, "check the disk"),
        ("ftruncate", "EIO",     1, "check the disk"),
    ];
    for (call, errno, times, says) in cases {
        for (number, lasting) in (1..=times).flat_map(|number| [(number, ""), (number, "+")]) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db");
            let output = run(&path, call, &format!("error={errno}"), &format!("{number}{lasting}"));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (out, err) = (text(&output.stdout), text(&output.stderr));
            let what = format!("{call} {number}{lasting} fails with {errno}: {out}{err}");
            assert!(output.status.success(), "{what}");

            let mut failed = out.lines().filter_map(|line| line.strip_prefix("failed "));
            let told = |error: &str| error.contains(says) && error.contains("store.db");
            assert!(failed.any(told), "nobody is told: {what}");
            let saved = out.lines().filter_map(|line| line.strip_prefix("saved ")).next_back();
            let saved: u64 = saved.map_or(0, |number| number.parse().unwrap());
            assert!(lasting == "+" || saved == SAVED, "the fault is over: {what}");

            let store = open(&path).unwrap();
            let kept = store.load(&key()).await.unwrap();
            let generation = kept.as_ref().map_or(0, |row| row.generation);
            assert!(generation >= saved, "{generation} is left: {what}");
            assert!(kept.is_none_or(|kept| kept == row(generation)), "{what}");
        }
    }
}

#[tokio::test]
async fn a_kill_at_any_call_costs_nothing_that_was_acknowledged() {
    if !can_trace() {
        println!("skipped: strace is missing or may not trace");
        return;
    }
    for (call, times) in [("pwrite64", 24), ("fsync", 8), ("ftruncate", 1)] {
        for number in 1..=times {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db");
            let output = run(&path, call, "signal=KILL", &number.to_string());
            let out = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!output.status.success(), "nobody was killed at {call} {number}");
            let saved = out.lines().filter_map(|line| line.strip_prefix("saved ")).next_back();
            let saved: u64 = saved.map_or(0, |number| number.parse().unwrap());

            let store = open(&path).unwrap();
            assert_eq!(store.was_copied(), None, "{call} {number}");
            let kept = store.load(&key()).await.unwrap();
            let left = kept.as_ref().map_or(0, |row| row.generation);
            assert!(left == saved || left == saved + 1, "{call} {number}: {left} is left: {out}");
            assert!(kept.is_none_or(|kept| kept == row(left)), "{call} {number}");
            save(&store, left + 1).await.unwrap();
        }
    }
}
