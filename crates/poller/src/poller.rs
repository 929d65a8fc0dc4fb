//! The workers: they take due slots in order, and try each until it is filled or has closed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use bellwether_broker::store::Clock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::caller::Why;
use crate::ledger::{Filled, Ledger, Percentiles, Tally};
use crate::queue::{Next, Queue};
use crate::sampler::{Nobody, Outlet, Sampler, Settled};
use crate::schedule::{Schedule, Slot};

/// A worker's first pause after a failure in a slot; it doubles with each …
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// Polls on schedule, from the first slot to the last.
pub struct Poller {
    clock: Arc<dyn Clock>,
    schedule: Schedule,
    slots: u64,
    ledger: Mutex<Ledger>,
    /// Whoever holds the lock waits for the next slot to be due; the others queue behind, so that
    /// workers take turns.
    queue: tokio::sync::Mutex<Queue>,
    stopped: watch::Sender<bool>,
    /// What is open by then stays open.
    stopped_at: OnceLock<Timestamp>,
    /// When a try failed last, and why: it kept somebody busy.
    failed: Mutex<(Timestamp, Why)>,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Slots by what became of them.
    pub tally: Tally,
    /// Latency of the slots that are decided.
    pub latency: Percentiles,
}

impl Poller {
    /// For the slots of `schedule` that fall due within `duration`.
    pub fn new(clock: Arc<dyn Clock>, schedule: Schedule, duration: Duration) -> Self {
        let slots = schedule.slots_within(duration);
        Self {
            clock,
            schedule,
            slots,
            ledger: Mutex::new(Ledger::new(schedule, slots)),
            queue: tokio::sync::Mutex::new(Queue::new(schedule, slots)),
            stopped: watch::Sender::new(false),
            stopped_at: OnceLock::new(),
            failed: Mutex::new((Timestamp::ZERO, Why::NobodyFree)),
        }
    }

    /// With priorities by agent, and without the slots that were settled before a restart.
    #[must_use]
    pub fn resumed(mut self, priorities: Arc<[u8]>, settled: BTreeSet<u64>) -> Self {
        let queue = Queue::new(self.schedule, self.slots);
        self.ledger().leave_out(&settled);
        self.queue = tokio::sync::Mutex::new(queue.with_priorities(priorities).without(settled));
        self
    }

    /// Runs one worker for each sampler until every slot is decided: at most one period after the
    /// last slot was due, and the time that requests under way take. Dropped, it stops them.
    ///
    /// # Panics
    /// If a worker does.
    pub async fn run<S: Sampler>(self: &Arc<Self>, samplers: Vec<S>) -> Snapshot {
        self.run_into(samplers, Arc::new(Nobody)).await
    }

    /// The same; `outlet` hears how each slot ended.
    ///
    /// # Panics
    /// If a worker does.
    pub async fn run_into<S: Sampler>(
        self: &Arc<Self>,
        samplers: Vec<S>,
        outlet: Arc<impl Outlet<S::Data>>,
    ) -> Snapshot {
        let mut workers = JoinSet::new();
        for sampler in samplers {
            workers.spawn(Arc::clone(self).work(sampler, Arc::clone(&outlet)));
        }
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        if !*self.stopped.borrow() {
            self.ledger().advance(self.end());
        }
        self.snapshot()
    }

    /// Takes no more slots. Those that are open stay so, for whoever goes on.
    pub fn stop(&self) {
        // The first time counts.
        let _ = self.stopped_at.set(self.clock.now());
        self.stopped.send_replace(true);
    }

    /// How many slots there are from first to last.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// How things stand now.
    pub fn snapshot(&self) -> Snapshot {
        let mut ledger = self.ledger();
        ledger.advance(self.now());
        Snapshot { tally: ledger.tally(), latency: ledger.percentiles() }
    }

    async fn work<S: Sampler>(self: Arc<Self>, mut sampler: S, outlet: Arc<impl Outlet<S::Data>>) {
        while let Some(next) = self.next_slot().await {
            let (slot, settled) = match next {
                Taken::Open(slot) => (slot, self.fill(slot, &mut sampler).await),
                Taken::Missed(slot) => {
                    (slot, Some(Settled::Gap { why: self.why_missed(slot), tries: 0 }))
                }
            };
            let Some(settled) = settled else { return };
            outlet.settled(slot, settled).await;
        }
    }

    /// The next slot that is due; `None` after the last.
    async fn next_slot(&self) -> Option<Taken> {
        let mut queue = self.queue.lock().await;
        let mut stopped = self.stopped.subscribe();
        loop {
            if *stopped.borrow_and_update() {
                return None;
            }
            let now = self.clock.now();
            match queue.take(now) {
                Next::Fill(slot) => return Some(Taken::Open(slot)),
                Next::Missed(slot) => return Some(Taken::Missed(slot)),
                Next::Over => return None,
                Next::Wait(until) => tokio::select! {
                    () = sleep(now.until(until)) => {}
                    _ = stopped.changed() => {}
                },
            }
        }
    }

    /// Tries until there is a sample or the slot closes; `None` if the poller is stopped before.
    async fn fill<S: Sampler>(&self, slot: Slot, sampler: &mut S) -> Option<Settled<S::Data>> {
        let mut pause = SHORTEST_PAUSE;
        let (mut why, mut tries) = (Why::NobodyFree, 0);
        let mut stopped = self.stopped.subscribe();
        loop {
            let now = self.clock.now();
            if now >= slot.closes {
                return Some(Settled::Gap { why, tries });
            }
            if *stopped.borrow_and_update() {
                return None;
            }
            tries += 1;
            match sampler.sample(slot.agent, now.until(slot.closes)).await {
                Ok(data) => {
                    let filled = self.ledger().fill(slot, self.now());
                    return Some(match filled {
                        Filled::Done => Settled::Sampled { data, late: false },
                        Filled::Late => Settled::Sampled { data, late: true },
                        Filled::NotOpen => Settled::Gap { why: Why::TooSlow, tries },
                    });
                }
                Err(miss) => {
                    why = miss.why;
                    *self.failed() = (self.clock.now(), why);
                    let rest = miss.retry_after.unwrap_or(pause);
                    let rest = rest.min(self.clock.now().until(self.end()));
                    tokio::select! {
                        () = sleep(rest) => {}
                        _ = stopped.changed() => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// The time, until it is stopped.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        self.stopped_at.get().map_or(now, |&stopped| now.min(stopped))
    }

    /// Why nobody came to a slot: what failed while it was open, or too few workers.
    fn why_missed(&self, slot: Slot) -> Why {
        let (at, why) = *self.failed();
        if at >= slot.due { why } else { Why::NobodyFree }
    }

    fn failed(&self) -> MutexGuard<'_, (Timestamp, Why)> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the last slot closes.
    fn end(&self) -> Timestamp {
        let behind = self.schedule.first().saturating_add(self.slots);
        self.schedule.slot(behind.saturating_sub(1)).closes
    }

    /// A worker that panicked leaves a ledger that still adds up.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot that this worker settles.
enum Taken {
    Open(Slot),
    /// It closed before anybody was free.
    Missed(Slot),
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
