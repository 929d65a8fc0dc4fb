//! The writer: what it was handed is written, whatever the output does meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bellwether_delivery::{
    Cursor, Entry, Gaps, Lines, Output, OutputError, Plan, Resumed, What, Writer,
};
use bellwether_store::{Clock, SystemClock};

fn cursor(watermark: u64) -> Cursor {
    let plan = Plan { poll: "p".into(), digest: "d".into(), period: 5_000, units: 4 };
    Cursor { watermark, ..Cursor::begin(plan, 1, 1_000_000) }
}

fn gap(slot: u64) -> Vec<Entry> {
    let what = What::Gap { why: "no access token".into(), tries: 1 };
    vec![Entry { slot, slots: 1, part: (1, 1), agent: None, due_at: 0, what }]
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// Remembers, and fails while it is told to.
#[derive(Clone, Debug, Default)]
struct Shelf {
    has: Arc<(Mutex<Has>, Condvar)>,
    fails: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Has {
    slots: Vec<u64>,
    synced: Vec<u64>,
    ahead: Vec<(u64, u64)>,
    backfill: Vec<u64>,
    failed: u32,
}

impl Shelf {
    fn wait_until(&self, wanted: impl Fn(&Has) -> bool) {
        let (has, changed) = &*self.has;
        let has = has.lock().unwrap();
        let long = Duration::from_secs(30);
        let waited = changed.wait_timeout_while(has, long, |has| !wanted(has)).unwrap();
        assert!(!waited.1.timed_out(), "what was waited for did not happen");
    }

    fn note(&self, change: impl FnOnce(&mut Has)) -> Result<(), OutputError> {
        let (has, changed) = &*self.has;
        let fails = self.fails.load(Ordering::SeqCst);
        let mut has = has.lock().unwrap();
        if fails {
            has.failed += 1;
        } else {
            change(&mut has);
        }
        changed.notify_all();
        if fails { Err(OutputError::new("the shelf", "is full")) } else { Ok(()) }
    }
}

impl Output for Shelf {
    fn resume(&mut self, _poll: &str) -> Result<Option<Resumed>, OutputError> {
        Ok(None)
    }

    fn write(&mut self, _cursor: &Cursor, entries: &[Entry]) -> Result<(), OutputError> {
        self.note(|has| has.slots.extend(entries.iter().map(|entry| entry.slot)))
    }

    fn sync(&mut self, cursor: &Cursor) -> Result<(), OutputError> {
        self.note(|has| {
            has.synced.push(cursor.watermark);
            has.ahead = cursor.ahead.clone();
            has.backfill = cursor.backfill.clone();
        })
    }
}

#[tokio::test]
async fn what_is_handed_over_is_written_and_then_the_cursor_moves() {
    let shelf = Shelf::default();
    let settled = BTreeSet::from([7]);
    let gaps = Gaps::new([4, 5]);
    let writer =
        Writer::start(Box::new(shelf.clone()), cursor(5), &settled, gaps.clone(), clock()).unwrap();
    for slot in [6, 5, 9] {
        writer.deliver(slot, gap(slot)).await;
    }
    gaps.add(6);
    let data = serde_json::value::RawValue::from_string("7".to_owned()).unwrap();
    let what = What::Backfill { at: 1, status: 200, data };
    writer.deliver(4, vec![Entry { what, ..gap(4).remove(0) }]).await;
    let progress = writer.finish().unwrap();
    assert_eq!((progress.slots, progress.watermark, progress.trouble), (4, 8, None));
    assert_eq!(progress.backfilled, 1);
    let has = shelf.has.0.lock().unwrap();
    assert_eq!(has.slots, [6, 5, 9, 4]);
    assert_eq!(has.synced.last(), Some(&8), "slot 8 is missing");
    assert_eq!(has.ahead, [(9, 10)]);
    assert_eq!(has.backfill, [5, 6], "slot 4 was filled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_in_trouble_is_tried_until_it_works_and_nothing_is_lost() {
    let shelf = Shelf::default();
    let output = Box::new(shelf.clone());
    let writer = Arc::new(
        Writer::start(output, cursor(0), &BTreeSet::new(), Gaps::default(), clock()).unwrap(),
    );
    shelf.fails.store(true, Ordering::SeqCst);
    let hands = Arc::clone(&writer);
    // More than there is room for: whoever delivers has to wait.
    let delivering = tokio::spawn(async move {
        for slot in 0..3_000 {
            hands.deliver(slot, gap(slot)).await;
        }
    });
    shelf.wait_until(|has| has.failed >= 3);
    assert_eq!(writer.progress().trouble.as_deref(), Some("the shelf: is full"));
    assert!(!delivering.is_finished(), "there is no room for all");
    shelf.fails.store(false, Ordering::SeqCst);
    delivering.await.unwrap();
    let progress = Arc::into_inner(writer).unwrap().finish().unwrap();
    assert_eq!((progress.watermark, progress.trouble), (3_000, None));
    let mut slots = shelf.has.0.lock().unwrap().slots.clone();
    slots.sort_unstable();
    assert_eq!(slots, (0..3_000).collect::<Vec<_>>(), "each once");
}

#[test]
fn a_full_disk_is_told_and_what_was_not_written_is_counted() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Box::new(Lines::new(full, None));
    let clock = Arc::new(Hurried::default());
    let writer =
        Writer::start(output, cursor(0), &BTreeSet::new(), Gaps::default(), clock).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for slot in 0..3 {
            writer.deliver(slot, gap(slot)).await;
        }
    });
    let error = writer.finish().unwrap_err().to_string();
    let expected = ["No space left", "3 slots were not written", "next run begins with them"];
    assert!(expected.iter().all(|part| error.contains(part)), "{error}");
}

/// A clock by which a second passes whenever somebody looks.
#[derive(Debug, Default)]
struct Hurried(std::sync::atomic::AtomicU64);

impl Clock for Hurried {
    fn now(&self) -> bellwether_lifecycle::Timestamp {
        bellwether_lifecycle::Timestamp::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn wall(&self) -> bellwether_lifecycle::UnixTime {
        bellwether_lifecycle::UnixTime::from_secs(0)
    }

    fn boot_id(&self) -> bellwether_store::BootId {
        bellwether_store::BootId::UNKNOWN
    }
}
