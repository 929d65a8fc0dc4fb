//! Runs in virtual time: workers over an API of which only the latency matters.

use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_broker::lifecycle::UnixTime;
use bellwether_broker::store::BootId;
use tokio::time::Instant;

use super::*;
use crate::caller::Miss;

/// The runtime's own time.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl RuntimeClock {
    #[expect(clippy::disallowed_methods, reason = "the paused clock of the test's runtime")]
    fn start() -> Arc<dyn Clock> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.0.elapsed()
    }

    fn wall(&self) -> UnixTime {
        UnixTime::from_millis(0) + self.0.elapsed()
    }

    fn boot_id(&self) -> BootId {
        BootId::UNKNOWN
    }
}

/// Answers after `latency`; fails while `down` lasts, and for one agent for ever.
#[derive(Clone)]
struct Api {
    clock: Arc<dyn Clock>,
    latency: Duration,
    down: std::ops::Range<Duration>,
    dead_agent: Option<u32>,
    tries: Arc<AtomicU64>,
}

impl Api {
    fn answering_in(milliseconds: u64) -> Self {
        Self {
            clock: RuntimeClock::start(),
            latency: Duration::from_millis(milliseconds),
            down: Duration::ZERO..Duration::ZERO,
            dead_agent: None,
            tries: Arc::default(),
        }
    }

    async fn polled(self, agents: u32, workers: usize) -> Snapshot {
        let schedule = Schedule::new(self.clock.now(), Duration::from_secs(4), agents);
        let clock = Arc::clone(&self.clock);
        let poller = Arc::new(Poller::new(clock, schedule, Duration::from_secs(20)));
        poller.run(vec![self; workers]).await
    }
}

impl Sampler for Api {
    type Data = ();

    async fn sample(&mut self, agent: u32, _patience: Duration) -> Result<(), Miss> {
        self.tries.fetch_add(1, Ordering::Relaxed);
        sleep(self.latency).await;
        let now = self.clock.now().since(Timestamp::ZERO);
        if self.down.contains(&now) || self.dead_agent == Some(agent) {
            Err(Miss::new(Why::Status(500)))
        } else {
            Ok(())
        }
    }
}

fn counts(snapshot: Snapshot) -> (u64, u64, u64, u64) {
    let Tally { due, done, late, gaps, open } = snapshot.tally;
    assert_eq!(open, 0, "a run decides every slot");
    (due, done, late, gaps)
}

#[tokio::test(start_paused = true)]
async fn enough_workers_sample_every_slot_once() {
    let api = Api::answering_in(30);
    let tries = Arc::clone(&api.tries);
    let snapshot = api.polled(100, 4).await;
    assert_eq!(counts(snapshot), (500, 500, 0, 0));
    assert_eq!(tries.load(Ordering::Relaxed), 500);
    assert!(snapshot.latency.p99 < Duration::from_millis(35), "{:?}", snapshot.latency);
}

#[tokio::test(start_paused = true)]
async fn too_few_workers_show_in_the_latency_and_then_as_gaps() {
    // 100 slots in 4 s, and one worker that does 10 a second: 240 in 24 s. It takes them in order,
    // so that most have hardly any time left when their turn comes.
    let snapshot = Api::answering_in(100).polled(100, 1).await;
    let (due, done, late, gaps) = counts(snapshot);
    assert_eq!(due, 500);
    assert!(done > 0 && late > 0, "{done} {late}");
    assert!(gaps >= 260, "{gaps}");
    assert_eq!(snapshot.latency.p99, Duration::from_secs(4), "{:?}", snapshot.latency);
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_makes_slots_late_and_leaves_no_gap() {
    let down = Duration::from_secs(6)..Duration::from_secs(8);
    let api = Api { down, ..Api::answering_in(10) };
    let (due, done, late, gaps) = counts(api.polled(20, 20).await);
    assert_eq!((due, gaps), (100, 0));
    assert!((1..=10).contains(&late) && done == due - late, "{done} {late}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_answers_has_gaps_and_no_other_agent_does() {
    let api = Api { dead_agent: Some(3), ..Api::answering_in(10) };
    assert_eq!(counts(api.polled(10, 5).await), (50, 45, 0, 5));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_open_until_it_is_decided() {
    let api = Api::answering_in(900);
    let schedule = Schedule::new(api.clock.now(), Duration::from_secs(4), 4);
    let clock = Arc::clone(&api.clock);
    let poller = Arc::new(Poller::new(clock, schedule, Duration::from_secs(4)));
    let runs = Arc::clone(&poller);
    let run = tokio::spawn(async move { runs.run(vec![api; 2]).await });
    sleep(Duration::from_millis(1500)).await;
    let expected = Tally { due: 2, done: 1, open: 1, ..Tally::default() };
    assert_eq!(poller.snapshot().tally, expected);
    assert_eq!(counts(run.await.unwrap()), (4, 4, 0, 0));
}

/// Hears of each slot, and takes its time over it.
#[derive(Default)]
struct Heard {
    slots: Mutex<Vec<(u64, Settled<()>)>>,
    takes: Duration,
}

impl Outlet<()> for Heard {
    async fn settled(&self, slot: Slot, settled: Settled<()>) {
        sleep(self.takes).await;
        self.slots.lock().unwrap().push((slot.number, settled));
    }
}

impl Heard {
    fn sorted(&self) -> Vec<(u64, Settled<()>)> {
        let mut slots = self.slots.lock().unwrap().clone();
        slots.sort_by_key(|(number, _)| *number);
        slots
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_hears_how_each_slot_ended_once() {
    let down = Duration::from_secs(6)..Duration::from_secs(15);
    let api = Api { down, ..Api::answering_in(10) };
    let schedule = Schedule::new(api.clock.now(), Duration::from_secs(4), 4).from_round(7);
    let poller = Poller::new(Arc::clone(&api.clock), schedule, Duration::from_secs(20));
    let poller = Arc::new(poller.resumed(Arc::from([]), BTreeSet::from([29])));
    let heard = Arc::new(Heard::default());
    let snapshot = poller.run_into(vec![api; 3], Arc::clone(&heard)).await;
    let heard = heard.sorted();
    let numbers: Vec<u64> = heard.iter().map(|(number, _)| *number).collect();
    let expected: Vec<u64> = (28..48).filter(|number| *number != 29).collect();
    assert_eq!(numbers, expected, "every slot but the one that was settled before");
    let of = |wanted: fn(&Settled<()>) -> bool| {
        heard.iter().filter(|(_, settled)| wanted(settled)).count() as u64
    };
    let gaps = of(|settled| matches!(settled, Settled::Gap { .. }));
    let late = of(|settled| matches!(settled, Settled::Sampled { late: true, .. }));
    assert_eq!(counts(snapshot), (19, 19 - gaps - late, late, gaps));
    assert!(gaps > 3 && late > 0, "{gaps} {late}");
    let refused = |settled: &Settled<()>| matches!(settled, Settled::Gap { why: Why::Status(500), tries } if *tries > 3);
    assert!(heard.iter().any(|(_, settled)| refused(settled)), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outlet_that_takes_its_time_makes_gaps_and_no_heap() {
    let api = Api::answering_in(10);
    let schedule = Schedule::new(api.clock.now(), Duration::from_secs(4), 40);
    let clock = Arc::clone(&api.clock);
    let poller = Arc::new(Poller::new(clock, schedule, Duration::from_secs(20)));
    let heard = Arc::new(Heard { takes: Duration::from_millis(500), ..Heard::default() });
    let tries = Arc::clone(&api.tries);
    let snapshot = poller.run_into(vec![api; 2], Arc::clone(&heard)).await;
    let (due, _, _, gaps) = counts(snapshot);
    assert_eq!((due, heard.sorted().len()), (200, 200));
    assert!(gaps > 50 && tries.load(Ordering::Relaxed) < 150, "{gaps}");
    let nobody = Settled::Gap { why: Why::NobodyFree, tries: 0 };
    assert!(heard.sorted().iter().any(|(_, settled)| *settled == nobody));
}

#[tokio::test(start_paused = true)]
async fn stopped_it_leaves_open_slots_to_whoever_goes_on() {
    let api = Api { dead_agent: Some(1), ..Api::answering_in(10) };
    let schedule = Schedule::new(api.clock.now(), Duration::from_secs(4), 4);
    let clock = Arc::clone(&api.clock);
    let poller = Arc::new(Poller::new(clock, schedule, Duration::MAX));
    let heard = Arc::new(Heard::default());
    let (runs, hears) = (Arc::clone(&poller), Arc::clone(&heard));
    let run = tokio::spawn(async move { runs.run_into(vec![api; 2], hears).await });
    sleep(Duration::from_millis(2_500)).await;
    poller.stop();
    let snapshot = run.await.unwrap();
    assert_eq!(snapshot.tally, Tally { due: 3, done: 2, open: 1, ..Tally::default() });
    let numbers: Vec<u64> = heard.sorted().iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 2]);
}
