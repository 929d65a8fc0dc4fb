//! Every output keeps what it was given, whenever the process that gave it was killed.

mod server;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bellwether_delivery::{Cursor, Entry, Files, Output, Plan, Postgres, Sqlite, What};
use rustls::{ClientConfig, RootCertStore};

const ROTATE: u64 = 2_000;

fn cursor() -> Cursor {
    let plan = Plan { poll: "p".into(), digest: "d".into(), period: 5_000, units: 4 };
    Cursor::begin(plan, 1, 1_000_000)
}

fn entry(slot: u64, part: (u32, u32), what: What) -> Entry {
    Entry {
        slot,
        slots: 1,
        part,
        agent: Some(format!("agent {slot}")),
        due_at: 1_000_000 + slot,
        what,
    }
}

fn sample(slot: u64) -> Entry {
    let data = serde_json::value::RawValue::from_string(format!("{{\"slot\":{slot}}}")).ok();
    entry(slot, (1, 1), What::Sample { at: 1, latency: 2, late: false, status: 200, data })
}

fn gap(slot: u64) -> Entry {
    entry(slot, (1, 1), What::Gap { why: "the API answered 503".into(), tries: 3 })
}

fn part(slot: u64, number: u32, of: u32) -> Entry {
    Entry { part: (number, of), ..sample(slot) }
}

type Open = fn(&Path) -> Box<dyn Output>;

fn outputs() -> [(&'static str, Open); 3] {
    let [files, sqlite] = local();
    [files, sqlite, ("postgres", |place| Box::new(postgres(&server::url(place))))]
}

/// Those that a process has to itself while it lives.
fn local() -> [(&'static str, Open); 2] {
    [
        ("files", |place| Box::new(Files::new(place.join("samples"), ROTATE))),
        ("sqlite", |place| Box::new(Sqlite::new(place.join("samples.db")))),
    ]
}

fn postgres(url: &str) -> Postgres {
    static WRITERS: AtomicU32 = AtomicU32::new(0);
    let writer = WRITERS.fetch_add(1, Ordering::Relaxed).to_string();
    Postgres::new(url, no_tls(), writer).expect("a URL")
}

fn set(slots: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    slots.into_iter().collect()
}

#[test]
fn a_new_place_has_nothing() {
    for (name, open) in outputs() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(open(place.path()).resume("p").unwrap(), None, "{name}");
    }
}

#[test]
fn what_was_written_beyond_the_cursor_is_found_again() {
    for (name, open) in outputs() {
        let place = tempfile::tempdir().unwrap();
        let mut output = open(place.path());
        assert_eq!(output.resume("p").unwrap(), None);
        let mut cursor = cursor();
        output.write(&cursor, &[sample(0), gap(1)]).unwrap();
        (cursor.watermark, cursor.backfill) = (2, vec![1]);
        output.sync(&cursor).unwrap();
        output.write(&cursor, &[sample(3), gap(4), gap(5)]).unwrap();
        let filled = serde_json::value::RawValue::from_string("{}".into()).unwrap();
        let filled = What::Backfill { at: 9, status: 200, data: filled };
        output.write(&cursor, &[entry(5, (1, 1), filled)]).unwrap();
        output.write(&cursor, &[part(6, 1, 2), part(6, 2, 2), part(7, 1, 2)]).unwrap();
        drop(output);
        let resumed = open(place.path()).resume("p").unwrap().expect("it was synced");
        assert_eq!(resumed.cursor, cursor, "{name}");
        assert_eq!(resumed.settled, set([3, 4, 5, 6]), "{name}: of slot 7 a part is missing");
        assert_eq!(resumed.gaps, set([4]), "{name}: slot 5 was filled");
    }
}

/// Slots settle in any order: when the cursor is written, some above the watermark are synced too.
#[test]
fn what_was_synced_ahead_of_the_watermark_is_found_again() {
    for (name, open) in outputs() {
        let place = tempfile::tempdir().unwrap();
        let mut output = open(place.path());
        output.resume("p").unwrap();
        let cursor = Cursor { watermark: 1, ahead: vec![(2, 4)], ..cursor() };
        output.write(&cursor, &[sample(0), sample(2), gap(3)]).unwrap();
        output.sync(&cursor).unwrap();
        output.write(&cursor, &[sample(5)]).unwrap();
        drop(output);
        let resumed = open(place.path()).resume("p").unwrap().expect("it was synced");
        assert_eq!(resumed.settled, set([2, 3, 5]), "{name}");
    }
}

#[test]
fn a_long_absence_is_one_entry() {
    for (name, open) in outputs() {
        let place = tempfile::tempdir().unwrap();
        let mut output = open(place.path());
        output.resume("p").unwrap();
        let cursor = Cursor { watermark: 20, ..cursor() };
        output.sync(&cursor).unwrap();
        output.write(&cursor, &[Entry { slots: 15, agent: None, ..gap(10) }]).unwrap();
        drop(output);
        let resumed = open(place.path()).resume("p").unwrap().expect("it was synced");
        assert_eq!(resumed.settled, set(20..25), "{name}");
        assert_eq!(resumed.gaps, set([]), "{name}: nobody fills so many");
    }
}

#[test]
fn another_series_or_poll_is_not_taken_for_this_one() {
    for (name, open) in outputs() {
        let place = tempfile::tempdir().unwrap();
        let mut output = open(place.path());
        output.resume("p").unwrap();
        let first = cursor();
        output.write(&first, &[sample(0), sample(1)]).unwrap();
        let second = Cursor { series: 2, ..first };
        output.sync(&second).unwrap();
        output.write(&second, &[sample(1)]).unwrap();
        drop(output);
        let resumed = open(place.path()).resume("p").unwrap().expect("it was synced");
        assert_eq!(resumed.settled, set([1]), "{name}");
        assert_eq!(open(place.path()).resume("another").unwrap(), None, "{name}");
    }
}

#[test]
fn two_processes_do_not_write_to_one_place() {
    for (name, open) in local() {
        let place = tempfile::tempdir().unwrap();
        let mut first = open(place.path());
        first.resume("p").unwrap();
        let refused = open(place.path()).resume("p").unwrap_err().to_string();
        assert!(
            refused.contains("another process") && refused.contains("stop it"),
            "{name}: {refused}"
        );
        drop(first);
        open(place.path()).resume("p").unwrap();
    }
}

/// Whoever removes what is written to must not make what comes after vanish with it.
#[test]
fn a_place_that_vanished_is_made_anew() {
    for (name, open) in local() {
        let place = tempfile::tempdir().unwrap();
        let mut output = open(place.path());
        output.resume("p").unwrap();
        let mut cursor = cursor();
        output.write(&cursor, &[sample(0)]).unwrap();
        cursor.watermark = 1;
        output.sync(&cursor).unwrap();
        for found in ["samples/p-000001.ndjson", "samples.db", "samples.db-wal", "samples.db-shm"] {
            let _ = fs::remove_file(place.path().join(found));
        }
        output.write(&cursor, &[sample(1)]).unwrap();
        output.sync(&cursor).unwrap();
        output.write(&cursor, &[sample(2)]).unwrap();
        drop(output);
        let resumed = open(place.path()).resume("p").unwrap().expect("it was synced");
        assert!(resumed.settled.contains(&2), "{name}: {resumed:?}");
    }
}

fn lines(place: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(place.join("samples").join(file)).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn half_a_line_is_cut_off_and_told_again() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("samples/p-000001.ndjson");
    let open = || Files::new(place.path().join("samples"), ROTATE);
    let mut output = open();
    output.resume("p").unwrap();
    output.sync(&cursor()).unwrap();
    output.write(&cursor(), &[sample(0), sample(1)]).unwrap();
    drop(output);
    let whole = fs::metadata(&file).unwrap().len();
    for cut in [1, 9, 40] {
        fs::File::options().write(true).open(&file).unwrap().set_len(whole - cut).unwrap();
        let mut output = open();
        let resumed = output.resume("p").unwrap().expect("it was synced");
        assert_eq!(resumed.settled, set([0]), "{cut} bytes less");
        output.write(&cursor(), &[sample(1)]).unwrap();
        drop(output);
        assert_eq!(fs::metadata(&file).unwrap().len(), whole, "{cut} bytes less");
    }
    assert_eq!(lines(place.path(), "p-000001.ndjson").len(), 2);
}

#[test]
fn a_full_file_is_followed_by_the_next_one() {
    let place = tempfile::tempdir().unwrap();
    let mut output = Files::new(place.path().join("samples"), ROTATE);
    output.resume("p").unwrap();
    let mut cursor = cursor();
    for slot in 0..60 {
        output.write(&cursor, &[sample(slot)]).unwrap();
        cursor.watermark = slot + 1;
        output.sync(&cursor).unwrap();
    }
    drop(output);
    let mut told = Vec::new();
    for number in 1..=4 {
        let lines = lines(place.path(), &format!("p-{number:06}.ndjson"));
        assert!(!lines.is_empty() && lines.len() < 20, "{number}: {}", lines.len());
        told.extend(lines);
    }
    let slots: Vec<u64> = told
        .iter()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["slot"].as_u64().unwrap()
        })
        .take(40)
        .collect();
    assert_eq!(slots, (0..40).collect::<Vec<_>>());
}

#[test]
fn a_cursor_that_is_none_says_so_and_names_the_file() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("samples")).unwrap();
    fs::write(place.path().join("samples/p.cursor"), "not a cursor").unwrap();
    let error = Files::new(place.path().join("samples"), ROTATE).resume("p").unwrap_err();
    let error = error.to_string();
    assert!(error.contains("p.cursor") && error.contains("move it away"), "{error}");
}

#[test]
fn a_file_that_is_no_database_says_so() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("samples.db");
    fs::write(&path, "this is a letter to a friend, and no database at all").unwrap();
    let error = Sqlite::new(path).resume("p").unwrap_err().to_string();
    assert!(error.contains("samples.db") && error.contains("not a database"), "{error}");
}

/// No lock outlives a connection there: whoever comes last writes, and the one before is told.
#[test]
fn who_resumes_a_poll_in_postgres_takes_it_over() {
    let place = tempfile::tempdir().unwrap();
    let url = server::url(place.path());
    let (mut first, mut second) = (postgres(&url), postgres(&url));
    first.resume("p").unwrap();
    first.sync(&cursor()).unwrap();
    first.write(&cursor(), &[sample(0)]).unwrap();
    let resumed = second.resume("p").unwrap().expect("it was synced");
    assert_eq!(resumed.settled, set([0]));
    second.write(&cursor(), &[sample(1)]).unwrap();
    for refused in [first.write(&cursor(), &[gap(1)]), first.sync(&cursor())] {
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("another process polls p") && refused.contains("stop this one"),
            "{refused}"
        );
    }
    drop((first, second));
    let resumed = postgres(&url).resume("p").unwrap().expect("it was synced");
    assert_eq!((resumed.settled, resumed.gaps), (set([0, 1]), set([])));
}

#[test]
fn a_server_that_went_away_is_told_and_used_again_when_it_is_back() {
    let place = tempfile::tempdir().unwrap();
    let url = server::url(place.path());
    let mut output = postgres(&url);
    output.resume("p").unwrap();
    output.sync(&cursor()).unwrap();
    let mut admin = postgres_client(&url);
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    admin.batch_execute(others).unwrap();
    // The broken connection is noticed by a write, and the next one has a new connection.
    let _ = output.write(&cursor(), &[sample(0)]);
    output.write(&cursor(), &[sample(0)]).unwrap();
    assert_eq!(output.resume("p").unwrap().unwrap().settled, set([0]));
}

#[test]
fn what_is_no_database_says_so_and_shows_no_password() {
    let error = |url: &str| match Postgres::new(url, no_tls(), "w".into()) {
        Ok(mut output) => output.resume("p").unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    #[rustfmt::skip]
    let cases = [
        ("postgres://u:s3cr3t@127.0.0.1:1/db",   "postgres, db at 127.0.0.1"),
        ("postgres://u:s3cr3t@127.0.0.1:port/db", "is no URL of PostgreSQL"),
        ("nonsense s3cr3t",                       "is no URL of PostgreSQL"),
    ];
    for (url, says) in cases {
        let told = error(url);
        assert!(told.contains(says) && !told.contains("s3cr3t"), "{told}");
    }
}

fn no_tls() -> ClientConfig {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
    tls.unwrap().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn postgres_client(url: &str) -> ::postgres::Client {
    ::postgres::Client::connect(url, ::postgres::NoTls).expect("it runs")
}
