//! A disk that fails at every place in turn: an acknowledged record is kept, and the error says so.
//!
//! `strace` makes one system call of a child fail, or kills the child there, the first, the second, and so on. Without it
//! (or without the right to trace) these tests say that they were skipped.

use std::path::Path;
use std::process::{Command, Output};

use bellwether_store::{Escrow, FileEscrow, Key, Row, Sealed, StoreError};
use ring::digest::{SHA256, digest};

const PLACE: &str = "ESCROW_TEST_PATH";
/// How many records a child keeps: the file is thinned out once.
const KEPT: u64 = 20;
/// How often it tries again before it gives up. System calls are counted for each thread, so that
/// one fault may come as often as there are threads; it is to cost no more.
const ATTEMPTS: usize = 9;

fn key() -> Key {
    Key::credential("shared", 0).unwrap()
}

fn record(generation: u64) -> Row {
    let content = generation.to_be_bytes().repeat(1000);
    Row { generation, sealed: Sealed::from_bytes(content) }
}

/// Keeps records under faults; as a test of its own it has no path and ends at once.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(PLACE) else { return };
    let path = Path::new(&path);
    let tell = |error: StoreError| println!("\nfailed {error}");
    let open = || FileEscrow::open(path).map_err(tell).ok();
    let Some(escrow) = (0..ATTEMPTS).find_map(|_| open()) else { return };
    let (mut failures, mut next) = (0, 1);
    while next <= KEPT && failures < ATTEMPTS {
        let kept = match escrow.reserve(&key(), Vec::new()).await {
            Ok(()) => escrow.append(&key(), record(next)).await,
            Err(error) => Err(error),
        };
        match kept {
            Ok(()) => {
                println!("\nkept {next}");
                next += 1;
            }
            Err(error) => {
                tell(error);
                failures += 1;
            }
        }
    }
}

/// Runs a child of which some `call`s on the escrow's files meet `fault`: `when` is the number
/// of one, or with a `+` that of the first of all.
fn run(path: &Path, call: &str, fault: &str, when: &str) -> Output {
    let name: String =
        digest(&SHA256, key().to_string().as_bytes()).as_ref().iter().map(hex).collect();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(path.with_extension("trace"));
    command.args(["-e", &format!("trace={call}"), "-e"]);
    command.arg(format!("inject={call}:{fault}:when={when}"));
    command.arg("-P").arg(path);
    for suffix in ["", ".draft"] {
        command.arg("-P").arg(path.join(format!("{name}{suffix}")));
    }
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(PLACE, path);
    command.output().expect("strace was there a moment ago")
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
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
    // the call, what it fails with, how often it is tried, what the error says
    #[rustfmt::skip]
    let cases = [
        ("write",     "EIO",    8, "check the disk"),
        ("write",     "ENOSPC", 8, "free some space"),
        ("fdatasync", "EIO",    8, "check the disk"),
        ("fsync",     "EIO",    3, "check the disk"),
        ("fallocate", "ENOSPC", 8, "free some space"),
        ("fallocate", "EDQUOT", 1, "free some space"),
        ("openat",    "EMFILE", 3, "raise the limit"),
        ("renameat",  "EIO",    1, ""),
    ];
    for (call, errno, times, says) in cases {
        let mut told = 0;
        for (number, lasting) in (1..=times).flat_map(|number| [(number, ""), (number, "+")]) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db-escrow");
            // Made before, so that its path can be told from others.
            drop(FileEscrow::open(&path).unwrap());
            let output = run(&path, call, &format!("error={errno}"), &format!("{number}{lasting}"));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (out, err) = (text(&output.stdout), text(&output.stderr));
            let what = format!("{call} {number}{lasting} fails with {errno}: {out}{err}");
            assert!(output.status.success(), "{what}");

            let failed = out.lines().filter_map(|line| line.strip_prefix("failed "));
            for error in failed {
                assert!(error.contains(says) && error.contains("store.db-escrow"), "{what}");
                told += 1;
            }
            let kept = out.lines().filter_map(|line| line.strip_prefix("kept ")).next_back();
            let kept: u64 = kept.map_or(0, |number| number.parse().unwrap());
            assert!(lasting == "+" || kept == KEPT, "the fault is over: {what}");

            let records = FileEscrow::open(&path).unwrap().records(&key()).await.unwrap();
            let last = records.iter().map(|record| record.generation).max().unwrap_or(0);
            assert!(last >= kept, "{last} is left: {what}");
            assert!(records.iter().all(|found| *found == record(found.generation)), "{what}");
        }
        println!("{call} {errno}: {told} errors told");
        // What only tidies up may fail without a word.
        assert!(told > 0 || says.is_empty(), "{call} never failed with {errno}");
    }
}

#[tokio::test]
async fn a_kill_at_any_call_costs_nothing_that_was_acknowledged() {
    if !can_trace() {
        println!("skipped: strace is missing or may not trace");
        return;
    }
    for call in ["write", "fdatasync", "fsync", "fallocate", "openat", "renameat", "flock"] {
        let mut killed = 0;
        for number in 1..=6 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db-escrow");
            drop(FileEscrow::open(&path).unwrap());
            let output = run(&path, call, "signal=KILL", &number.to_string());
            let out = String::from_utf8_lossy(&output.stdout).into_owned();
            killed += usize::from(!output.status.success());
            let kept = out.lines().filter_map(|line| line.strip_prefix("kept ")).next_back();
            let kept: u64 = kept.map_or(0, |number| number.parse().unwrap());

            let escrow = FileEscrow::open(&path).unwrap();
            let records = escrow.records(&key()).await.unwrap();
            let last = records.iter().map(|record| record.generation).max().unwrap_or(0);
            assert!(last == kept || last == kept + 1, "{call} {number}: {last} is left: {out}");
            escrow.reserve(&key(), Vec::new()).await.unwrap();
            escrow.append(&key(), record(last + 1)).await.unwrap();
        }
        assert!(killed > 0, "nobody was killed at {call}");
    }
}
