//! Runs in virtual time: workers over an API of which only the latency matters.

use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_broker::lifecycle::UnixTime;
use bellwether_broker::store::BootId;
use tokio::time::Instant;

use super::*;

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
    async fn sample(&mut self, agent: u32, _patience: Duration) -> Sampled {
        self.tries.fetch_add(1, Ordering::Relaxed);
        sleep(self.latency).await;
        let now = self.clock.now().since(Timestamp::ZERO);
        if self.down.contains(&now) || self.dead_agent == Some(agent) {
            Sampled::Failed { retry_after: None }
        } else {
            Sampled::Good
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
