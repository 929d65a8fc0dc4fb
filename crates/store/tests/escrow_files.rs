//! What becomes of an escrow's files when disks, processes and people do their worst.
//!
//! Some tests run this binary again, as [`child`], with the part it plays in the environment.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bellwether_store::{Escrow, FileEscrow, Key, Row, Sealed, StoreError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

const PART: &str = "ESCROW_TEST_PART";
const PLACE: &str = "ESCROW_TEST_PATH";
/// How many records each appender adds where several do.
const EACH: u64 = 40;

fn key(name: &str) -> Key {
    Key::credential(name, 0).unwrap()
}

fn record(generation: u64, sealed: impl AsRef<[u8]>) -> Row {
    Row { generation, sealed: Sealed::from_bytes(sealed.as_ref()) }
}

async fn keep(escrow: &FileEscrow, key: &Key, record: Row) {
    escrow.reserve(key, Vec::new()).await.unwrap();
    escrow.append(key, record).await.unwrap();
}

struct Disk {
    _directory: TempDir,
    path: PathBuf,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db-escrow");
        Self { _directory: directory, path }
    }

    fn open(&self) -> FileEscrow {
        FileEscrow::open(&self.path).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The file of the only key.
    fn file(&self) -> PathBuf {
        let names = self.names();
        assert_eq!(names.len(), 1, "{names:?}");
        self.path.join(&names[0])
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Refused { why }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_tail_torn_anywhere_costs_only_what_was_never_acknowledged() {
    let disk = Disk::new();
    for generation in 1..=2 {
        keep(&disk.open(), &key("a"), record(generation, b"sealed")).await;
    }
    let file = disk.file();
    let whole = fs::read(&file).unwrap();
    for end in 0..whole.len() {
        fs::write(&file, &whole[..end]).unwrap();
        let escrow = disk.open();
        keep(&escrow, &key("a"), record(3, b"after the tear")).await;
        let kept = escrow.records(&key("a")).await.unwrap();
        let first = (end >= whole.len() / 2).then(|| record(1, b"sealed"));
        let expected: Vec<Row> = first.into_iter().chain([record(3, b"after the tear")]).collect();
        assert_eq!(kept, expected, "cut at {end} of {}", whole.len());
    }
}

#[tokio::test]
async fn garbage_hides_nothing_and_goes_when_it_is_too_much() {
    let disk = Disk::new();
    let escrow = disk.open();
    for (generation, garbage) in [(1, vec![0; 700_000]), (2, b"\x89BwEsc".repeat(9)), (3, vec![])] {
        escrow.append(&key("a"), record(generation, b"sealed")).await.unwrap();
        let mut file = OpenOptions::new().append(true).open(disk.file()).unwrap();
        file.write_all(&garbage).unwrap();
    }
    let expected = [1, 2, 3].map(|generation| record(generation, b"sealed"));
    assert_eq!(escrow.records(&key("a")).await.unwrap(), expected);
    escrow.reserve(&key("a"), Vec::new()).await.unwrap();
    assert!(fs::metadata(disk.file()).unwrap().len() < 1000);
    assert_eq!(disk.open().records(&key("a")).await.unwrap(), expected);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn a_file_of_any_bytes_takes_the_next_record(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000),
        often in 1usize..400,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let disk = Disk::new();
            let escrow = disk.open();
            escrow.reserve(&key("a"), Vec::new()).await.unwrap();
            fs::write(disk.file(), bytes.repeat(often)).unwrap();
            keep(&escrow, &key("a"), record(1, b"after")).await;
            let kept = disk.open().records(&key("a")).await.unwrap();
            assert_eq!(kept, [record(1, b"after")]);
        });
    }
}

#[tokio::test]
async fn a_reservation_has_room_for_the_largest_response() {
    let disk = Disk::new();
    let escrow = disk.open();
    escrow.reserve(&key("a"), Vec::new()).await.unwrap();
    let data = fs::metadata(disk.file()).unwrap();
    assert_eq!(data.len(), 0);
    if data.blocks() == 0 {
        println!("skipped: this file system cannot reserve");
        return;
    }
    assert!(data.blocks() * 512 >= 128 << 10, "{} blocks", data.blocks());
    escrow.append(&key("a"), record(1, vec![7; 100 << 10])).await.unwrap();
    assert_eq!(fs::metadata(disk.file()).unwrap().blocks(), data.blocks());
}

#[tokio::test]
async fn whoever_is_stopped_while_thinning_out_keeps_nobody_waiting() {
    let disk = Disk::new();
    let escrow = disk.open();
    keep(&escrow, &key("a"), record(1, b"before")).await;
    let file = disk.file();
    let stopped = File::open(&file).unwrap();
    stopped.lock().unwrap();
    for generation in 2..=20 {
        keep(&escrow, &key("a"), record(generation, b"meanwhile")).await;
        let kept = disk.open().records(&key("a")).await.unwrap();
        assert_eq!(kept.len() as u64, generation);
        assert_eq!(kept.last().unwrap().generation, generation);
    }
    assert_eq!(disk.names().len(), 2, "the second file took them");
    // Continued, it may put an older state in place; what was put aside is still there.
    fs::write(file.with_extension("draft"), fs::read(&file).unwrap()).unwrap();
    fs::set_permissions(file.with_extension("draft"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::rename(file.with_extension("draft"), &file).unwrap();
    drop(stopped);
    assert_eq!(disk.open().records(&key("a")).await.unwrap().len(), 20);
    for generation in 21..=40 {
        keep(&escrow, &key("a"), record(generation, b"after")).await;
    }
    assert_eq!(escrow.records(&key("a")).await.unwrap().last().unwrap().generation, 40);
    assert_eq!(disk.names().len(), 1, "merged");
}

#[tokio::test]
async fn a_file_that_was_removed_or_replaced_is_opened_again() {
    let disk = Disk::new();
    let (one, other) = (disk.open(), disk.open());
    keep(&one, &key("a"), record(1, b"one")).await;
    one.reserve(&key("a"), Vec::new()).await.unwrap();
    other.remove(&key("a")).await.unwrap();
    one.append(&key("a"), record(2, b"two")).await.unwrap();
    assert_eq!(other.records(&key("a")).await.unwrap(), [record(2, b"two")]);

    one.reserve(&key("a"), Vec::new()).await.unwrap();
    fs::rename(&disk.path, disk.path.with_extension("away")).unwrap();
    let reserved = one.reserve(&key("a"), Vec::new()).await;
    let told = |error: &StoreError| error.to_string().contains("put it back or restart");
    assert!(reserved.as_ref().is_err_and(told), "{reserved:?}");
}

#[tokio::test]
async fn what_others_could_read_or_have_put_there_is_refused() {
    let disk = Disk::new();
    let escrow = disk.open();
    assert_eq!(fs::metadata(&disk.path).unwrap().mode() & 0o7777, 0o700);
    keep(&escrow, &key("a"), record(1, b"one")).await;
    let file = disk.file();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    drop(escrow);
    let away = disk.path.with_extension("away");
    fs::rename(&file, &away).unwrap();

    let make_link = || symlink(&away, &file).unwrap();
    let make_wide = || {
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    };
    let make_directory = || fs::create_dir(&file).unwrap();
    let cases: [(&dyn Fn(), &str); 3] = [
        (&make_link, "symbolic link"),
        (&make_wide, "chmod 600"),
        (&make_directory, "cannot be used"),
    ];
    for (make, says) in cases {
        make();
        let escrow = disk.open();
        let results = [
            escrow.reserve(&key("a"), Vec::new()).await,
            escrow.append(&key("a"), record(2, b"two")).await,
            escrow.records(&key("a")).await.map(drop),
        ];
        for result in results {
            let told = result.unwrap_err().to_string();
            assert!(told.contains(says), "{told}");
        }
        fs::remove_file(&file).or_else(|_| fs::remove_dir(&file)).unwrap();
    }
    assert_eq!(fs::read(&away).unwrap().len(), 24 + 3 + 16, "untouched behind the link");

    fs::set_permissions(&disk.path, PermissionsExt::from_mode(0o750)).unwrap();
    assert!(refusal(FileEscrow::open(&disk.path)).contains("chmod 700"));
    fs::set_permissions(&disk.path, PermissionsExt::from_mode(0o700)).unwrap();
    let link = disk.path.with_extension("link");
    symlink(&disk.path, &link).unwrap();
    refusal(FileEscrow::open(&link));
    refusal(FileEscrow::open(&away));
    refusal(FileEscrow::open(&away.join("below")));
}

#[tokio::test]
async fn a_later_release_s_records_are_left_to_it() {
    let disk = Disk::new();
    let escrow = disk.open();
    keep(&escrow, &key("a"), record(1, b"one")).await;
    let mut later = fs::read(disk.file()).unwrap();
    later[7] = 2;
    let check = ring::digest::digest(&ring::digest::SHA256, &later[..20]);
    later[20..24].copy_from_slice(&check.as_ref()[..4]);
    OpenOptions::new().append(true).open(disk.file()).unwrap().write_all(&later).unwrap();
    for refused in
        [escrow.records(&key("a")).await.map(drop), escrow.reserve(&key("a"), Vec::new()).await]
    {
        assert!(refusal(refused).contains("later release"));
    }
}

fn command(part: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(PART, part).env(PLACE, path);
    command
}

/// What the other processes do; as a test of its own it has no part and ends at once.
#[tokio::test]
async fn child() {
    let (Some(part), Some(path)) = (std::env::var_os(PART), std::env::var_os(PLACE)) else {
        return;
    };
    let (part, path) = (part.into_string().unwrap(), PathBuf::from(path));
    match part.split_once(' ') {
        Some(("append", name)) => append_each(&path, name).await,
        Some(("go", "on")) => append_for_ever(&path).await,
        Some(("use", "descriptors")) => append_without_descriptors(&path).await,
        other => panic!("no such part: {other:?}"),
    }
}

/// All of one generation, so that none is ever thinned out, and each reservation tries to.
async fn append_each(path: &Path, name: &str) {
    let escrow = FileEscrow::open(path).unwrap();
    for number in 0..EACH {
        keep(&escrow, &key("shared"), record(1, format!("{name} {number}"))).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_between_appending_and_thinning_out() {
    let disk = Disk::new();
    let names = ["p1", "p2", "p3"];
    let children = names.map(|name| {
        let mut command = command(&format!("append {name}"), &disk.path);
        command.stdout(Stdio::null()).spawn().unwrap()
    });
    let path = &disk.path;
    tokio::join!(append_each(path, "i1"), append_each(path, "i2"));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let kept: Vec<Row> = disk.open().records(&key("shared")).await.unwrap();
    let kept: BTreeSet<&[u8]> = kept.iter().map(|record| record.sealed.as_bytes()).collect();
    for name in names.into_iter().chain(["i1", "i2"]) {
        for number in 0..EACH {
            let expected = format!("{name} {number}");
            assert!(kept.contains(expected.as_bytes()), "{expected} is lost");
        }
    }
}

async fn append_for_ever(path: &Path) {
    let escrow = FileEscrow::open(path).unwrap();
    let kept = escrow.records(&key("shared")).await.unwrap();
    let mut generation = kept.iter().map(|record| record.generation).max().unwrap_or(0);
    loop {
        generation += 1;
        keep(&escrow, &key("shared"), record(generation, generation.to_be_bytes())).await;
        let mut out = std::io::stdout();
        writeln!(out, "\nkept {generation}").and_then(|()| out.flush()).unwrap();
    }
}

#[tokio::test]
async fn thirty_kills_lose_no_acknowledged_record() {
    let disk = Disk::new();
    let mut before = 0;
    for round in 0..30 {
        let mut child = command("go on", &disk.path).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut told = lines.filter_map(|line| line.strip_prefix("kept ")?.parse::<u64>().ok());
        // Some rounds end while the file is being thinned out.
        let mut acknowledged = told.by_ref().take(1 + round * 3).last().unwrap();
        child.kill().unwrap();
        acknowledged = told.last().unwrap_or(acknowledged);
        child.wait().unwrap();
        let kept = disk.open().records(&key("shared")).await.unwrap();
        let last = kept.last().unwrap();
        assert_eq!(last.sealed.as_bytes(), last.generation.to_be_bytes());
        assert!(
            last.generation == acknowledged || last.generation == acknowledged + 1,
            "round {round}: {acknowledged} acknowledged, {} kept",
            last.generation
        );
        assert!(last.generation > before, "round {round}");
        before = last.generation;
    }
    println!("{before} records, 30 kills");
}

async fn append_without_descriptors(path: &Path) {
    let escrow = FileEscrow::open(path).unwrap();
    let keys: Vec<Key> = (0..5).map(|number| key(&format!("credential-{number}"))).collect();
    for key in &keys {
        escrow.reserve(key, Vec::new()).await.unwrap();
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum }).unwrap();
    assert!(File::open(path).is_err(), "there is no descriptor left");
    for key in &keys {
        escrow.append(key, record(1, b"one")).await.unwrap();
    }
    let reserved = escrow.reserve(&key("another"), Vec::new()).await.unwrap_err().to_string();
    assert!(reserved.contains("raise the limit on open files"), "{reserved}");
}

#[tokio::test]
async fn an_append_needs_no_descriptor_that_was_not_reserved() {
    let disk = Disk::new();
    let mut child = command("use descriptors", &disk.path);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for number in 0..5 {
        let key = key(&format!("credential-{number}"));
        assert_eq!(disk.open().records(&key).await.unwrap(), [record(1, b"one")]);
    }
}

/// A file system with little room, gone when dropped.
struct Small(TempDir);

impl Small {
    /// None if this user may not mount.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=320k,mode=0700", "small"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then(|| Self(directory))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Left over it only takes up memory.
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_met_before_anything_is_sent() {
    let Some(small) = Small::mount() else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    let path = small.0.path().join("escrow");
    let escrow = FileEscrow::open(&path).unwrap();
    escrow.reserve(&key("a"), Vec::new()).await.unwrap();
    escrow.reserve(&key("b"), Vec::new()).await.unwrap();
    let full = |result: Result<(), StoreError>| match result {
        Err(StoreError::Full { why }) => assert!(why.contains("free some space"), "{why}"),
        other => panic!("not full: {other:?}"),
    };
    full(escrow.reserve(&key("c"), Vec::new()).await);
    // Whatever others write, what was reserved has room.
    let filler = fs::write(small.0.path().join("filler"), vec![0; 1 << 20]);
    assert!(filler.is_err(), "there is room left");
    for name in ["a", "b"] {
        escrow.append(&key(name), record(1, vec![7; 100 << 10])).await.unwrap();
    }
    full(escrow.reserve(&key("a"), Vec::new()).await);
    // Nothing was reserved for this one: it is refused, and harms nothing.
    full(escrow.append(&key("a"), record(2, vec![7; 60 << 10])).await);
    for name in ["a", "b"] {
        let kept = escrow.records(&key(name)).await.unwrap();
        assert_eq!(kept, [record(1, vec![7; 100 << 10])]);
    }
    fs::remove_file(small.0.path().join("filler")).unwrap();
    full(escrow.append(&key("c"), record(1, vec![7; 200 << 10])).await);
    escrow.remove(&key("b")).await.unwrap();
    keep(&escrow, &key("a"), record(2, b"two")).await;
    let kept = escrow.records(&key("a")).await.unwrap();
    assert_eq!(kept.iter().map(|record| record.generation).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn thinning_out_on_a_full_disk_takes_nothing_away() {
    let Some(small) = Small::mount() else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    let path = small.0.path().join("escrow");
    let escrow = FileEscrow::open(&path).unwrap();
    escrow.reserve(&key("a"), Vec::new()).await.unwrap();
    for generation in 1..=20 {
        escrow.append(&key("a"), record(generation, [7; 512])).await.unwrap();
    }
    assert!(fs::write(small.0.path().join("filler"), vec![0; 1 << 20]).is_err());
    let reserved = escrow.reserve(&key("a"), Vec::new()).await;
    assert!(matches!(reserved, Err(StoreError::Full { .. })), "{reserved:?}");
    assert_eq!(escrow.records(&key("a")).await.unwrap().len(), 20);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "a draft was left");

    fs::remove_file(small.0.path().join("filler")).unwrap();
    escrow.reserve(&key("a"), Vec::new()).await.unwrap();
    assert_eq!(escrow.records(&key("a")).await.unwrap().len(), 4);
}
