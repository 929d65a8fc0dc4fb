//! The workers: they take due slots in order, and try each until it is filled or has closed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use bellwether_broker::store::Clock;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::ledger::{Ledger, Percentiles, Tally};
use crate::sampler::{Sampled, Sampler};
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
    /// The number of the next slot. Whoever holds the lock waits for it to be due; the others
    /// queue behind, so that workers take turns.
    turnstile: tokio::sync::Mutex<u64>,
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
            turnstile: tokio::sync::Mutex::new(0),
        }
    }

    /// Runs one worker for each sampler until every slot is decided: at most one period after the
    /// last slot was due, and the time that requests under way take. Dropped, it stops them.
    ///
    /// # Panics
    /// If a worker does.
    pub async fn run<S: Sampler>(self: &Arc<Self>, samplers: Vec<S>) -> Snapshot {
        let mut workers = JoinSet::new();
        for sampler in samplers {
            workers.spawn(Arc::clone(self).work(sampler));
        }
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        self.ledger().advance(self.end());
        self.snapshot()
    }

    /// How many slots there are from first to last.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// How things stand now.
    pub fn snapshot(&self) -> Snapshot {
        let mut ledger = self.ledger();
        ledger.advance(self.clock.now());
        Snapshot { tally: ledger.tally(), latency: ledger.percentiles() }
    }

    async fn work(self: Arc<Self>, mut sampler: impl Sampler) {
        while let Some(slot) = self.next_slot().await {
            self.fill(slot, &mut sampler).await;
        }
    }

    /// The next slot that is due and may still be filled; `None` after the last.
    async fn next_slot(&self) -> Option<Slot> {
        let mut next = self.turnstile.lock().await;
        while *next < self.slots {
            let slot = self.schedule.slot(*next);
            let now = self.clock.now();
            if now < slot.due {
                sleep(now.until(slot.due)).await;
                continue;
            }
            *next += 1;
            if now < slot.closes {
                return Some(slot);
            }
        }
        None
    }

    async fn fill(&self, slot: Slot, sampler: &mut impl Sampler) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let now = self.clock.now();
            if now >= slot.closes {
                return;
            }
            match sampler.sample(slot.agent, now.until(slot.closes)).await {
                Sampled::Good => {
                    let at = self.clock.now();
                    self.ledger().fill(slot, at);
                    return;
                }
                Sampled::Failed { retry_after } => {
                    let rest = retry_after.unwrap_or(pause);
                    sleep(rest.min(self.clock.now().until(self.end()))).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// When the last slot closes.
    fn end(&self) -> Timestamp {
        self.schedule.slot(self.slots.saturating_sub(1)).closes
    }

    /// A worker that panicked leaves a ledger that still adds up.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
