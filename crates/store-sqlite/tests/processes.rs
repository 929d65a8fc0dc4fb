//! Several processes on one file: nothing is counted twice, and nothing acknowledged is lost when
//! they are killed.
//!
//! Each test runs this binary again, as [`child`], with the part it plays in the environment.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bellwether_store::{
    Acquired, Fence, HolderId, Key, Lease, Origin, Row, Saved, Sealed, Store, SystemClock,
};
use bellwether_store_sqlite::SqliteStore;
use rustix::process::{Pid, Signal, geteuid, kill_process};

const PART: &str = "STORE_TEST_PART";
const STORE: &str = "STORE_TEST_PATH";
/// How many each of the counting processes adds.
const EACH: u64 = 25;
const HOUR: Duration = Duration::from_secs(3600);

fn key() -> Key {
    Key::credential("shared", 0).unwrap()
}

fn row(generation: u64) -> Row {
    Row { generation, sealed: Sealed::from_bytes(generation.to_be_bytes().as_slice()) }
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Arc::new(SystemClock::new())).unwrap()
}

/// Waits for the lease as a broker would.
async fn acquire(store: &SqliteStore, ttl: Duration) -> Lease {
    let holder = HolderId::random().unwrap();
    loop {
        match store.acquire(&key(), holder, ttl).await.unwrap() {
            Acquired::Lease(lease) => return lease,
            Acquired::Busy { .. } => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn generation(store: &SqliteStore) -> u64 {
    let row = store.load(&key()).await.unwrap();
    row.map_or(0, |row| {
        assert_eq!(row.sealed.as_bytes(), row.generation.to_be_bytes());
        row.generation
    })
}

/// A line that the parent finds among those of the test harness.
fn tell(word: &str, number: u64) {
    let mut out = std::io::stdout();
    writeln!(out, "\n{word} {number}").and_then(|()| out.flush()).unwrap();
}

/// What the other processes do; as a test of its own it has no part and ends at once.
#[tokio::test]
async fn child() {
    let (Some(part), Some(path)) = (std::env::var_os(PART), std::env::var_os(STORE)) else {
        return;
    };
    let path = Path::new(&path);
    match part.to_str() {
        Some("count") => count(path).await,
        Some("save") => save_for_ever(path).await,
        Some("hold") => hold(path).await,
        Some("refused") => {
            let error = SqliteStore::open(path, Arc::new(SystemClock::new())).unwrap_err();
            println!("\n{error}");
        }
        other => panic!("no such part: {other:?}"),
    }
}

async fn count(path: &Path) {
    let store = open(path);
    // Only one process at a time can make this file.
    let inside = path.with_extension("inside");
    for _ in 0..EACH {
        let Lease { fence, .. } = acquire(&store, HOUR).await;
        std::fs::File::create_new(&inside).expect("nobody else has the lease");
        let next = generation(&store).await + 1;
        std::fs::remove_file(&inside).unwrap();
        assert_eq!(store.save(&key(), fence, row(next)).await, Ok(Saved::Done));
        store.release(&key(), fence).await.unwrap();
    }
}

async fn save_for_ever(path: &Path) {
    let store = open(path);
    let Lease { fence, .. } = acquire(&store, HOUR).await;
    tell("fence", fence.as_u64());
    let mut next = generation(&store).await;
    loop {
        next += 1;
        assert_eq!(store.save(&key(), fence, row(next)).await, Ok(Saved::Done));
        tell("saved", next);
    }
}

async fn hold(path: &Path) {
    let store = open(path);
    tell("held", acquire(&store, HOUR).await.fence.as_u64());
    std::future::pending::<()>().await;
}

/// A child and what it tells.
struct Told {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Told {
    fn start(part: &str, path: &Path) -> Self {
        Self::from(command(part, path))
    }

    fn from(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The number after the next `word`, unless the child ends before.
    fn next(&mut self, word: &str) -> Option<u64> {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills with SIGKILL and returns when the process is gone.
    fn kill(mut self, word: &str) -> Option<u64> {
        self.child.kill().unwrap();
        let mut last = None;
        while let Some(number) = self.next(word) {
            last = Some(number);
        }
        self.child.wait().unwrap();
        last
    }
}

fn command(part: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(PART, part).env(STORE, path);
    command
}

#[tokio::test]
async fn eight_processes_count_every_number_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let children: Vec<_> = (0..8).map(|_| command("count", &path).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(generation(&open(&path)).await, 8 * EACH);
}

#[tokio::test]
async fn thirty_kills_lose_no_acknowledged_save() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let (mut last_fence, mut total) = (0, 0);
    for round in 0..30 {
        let mut child = Told::start("save", &path);
        let fence = child.next("fence").expect("takes over from the killed one");
        assert!(fence > last_fence, "round {round}: fence {fence} after {last_fence}");
        last_fence = fence;
        let mut acknowledged = 0;
        for _ in 0..=round % 5 {
            acknowledged = child.next("saved").expect("saves until it is killed");
        }
        acknowledged = child.kill("saved").unwrap_or(acknowledged);
        let kept = generation(&open(&path)).await;
        assert!(
            kept == acknowledged || kept == acknowledged + 1,
            "round {round}: {acknowledged} acknowledged, {kept} kept"
        );
        assert!(kept > total, "round {round}");
        total = kept;
    }
    println!("{total} saves, 30 kills");
}

#[tokio::test]
async fn a_killed_holder_is_succeeded_at_once_and_a_paused_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = open(&path);
    let mut child = Told::start("hold", &path);
    let held = child.next("held").unwrap();
    let ask = || store.acquire(&key(), HolderId::from_u128(1), HOUR);

    assert_eq!(ask().await.unwrap().lease(), None, "alive");
    child.signal(Signal::STOP);
    assert_eq!(ask().await.unwrap().lease(), None, "paused");
    child.kill("held");
    let lease = ask().await.unwrap().lease().expect("dead");
    assert!(lease.fence > Fence::from_u64(held));
}

#[tokio::test]
async fn a_log_lost_after_a_kill_is_noticed_and_grants_no_fence_twice() {
    type Loss = fn(&Path);
    let losses: [(&str, Loss); 3] = [
        ("deleted", |log| std::fs::remove_file(log).unwrap()),
        ("emptied", |log| std::fs::write(log, "").unwrap()),
        ("overwritten", |log| {
            let length = std::fs::metadata(log).unwrap().len();
            std::fs::write(log, vec![0x5a; usize::try_from(length).unwrap()]).unwrap();
        }),
    ];
    for (what, lose) in losses {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let before = open(&path).origin().await.unwrap();
        let mut child = Told::start("save", &path);
        let fence = child.next("fence").unwrap();
        child.next("saved").unwrap();
        child.kill("saved");
        lose(&path.with_extension("db-wal"));
        let store = open(&path);
        assert!(store.was_copied().is_some_and(|told| told.contains("set back")), "{what}");
        assert_eq!(
            store.origin().await,
            Ok(Origin { epoch: before.epoch + 1, ..before }),
            "{what}"
        );
        assert!(acquire(&store, HOUR).await.fence > Fence::from_u64(fence), "{what}");
    }
}

/// Root can write anywhere, so then the child is somebody else.
#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let mode = |mode| std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(mode));
    mode(0o555).unwrap();
    let mut command = command("refused", &directory.path().join("store.db"));
    if geteuid().is_root() {
        command.uid(65534);
    }
    let told = command.output().unwrap();
    mode(0o755).unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("the store refuses: ") && told.contains("choose another path"), "{told}");
}
