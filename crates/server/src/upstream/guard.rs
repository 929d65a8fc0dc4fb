//! Ends what takes too long.
//!
//! A timer for each request would be entered in the runtime's wheel and taken out again. Here a
//! deadline is a number, and a few times in each limit somebody looks at all of them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::task::AbortHandle;

/// Looks at a limit so many times.
const LOOKS: u32 = 8;
const SHORTEST_TICK: Duration = Duration::from_millis(20);
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// Counts time, and knows everything that has a deadline.
#[derive(Debug)]
pub(super) struct Watchman {
    tick: Duration,
    now: AtomicU32,
    guards: Mutex<Vec<Weak<Guard>>>,
    count: Arc<AtomicUsize>,
}

/// The deadline of one thing.
#[derive(Debug)]
pub(super) struct Guard {
    watchman: Arc<Watchman>,
    /// The tick at which it is late; 0 where nothing is waited for.
    due: AtomicU32,
    /// Ticks from each sign of life.
    patience: AtomicU32,
    is_late: AtomicBool,
    end: End,
}

/// How it ends.
#[derive(Debug)]
enum End {
    /// The connection that it uses alone.
    Connection(AbortHandle),
    /// Whoever waits for it is told.
    Waiter(AtomicWaker),
}

impl Watchman {
    /// Ticks often enough for this limit.
    pub(super) fn new(limit: Duration) -> Self {
        let tick = (limit / LOOKS).clamp(SHORTEST_TICK, LONGEST_TICK);
        Self { tick, now: AtomicU32::new(1), guards: Mutex::default(), count: Arc::default() }
    }

    pub(super) fn tick(&self) -> Duration {
        self.tick
    }

    /// The number of the current tick.
    pub(super) fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// So long in ticks, rounded up: nothing is late too early.
    pub(super) fn ticks(&self, time: Duration) -> u32 {
        let ticks = time.as_nanos().div_ceil(self.tick.as_nanos().max(1)) + 1;
        u32::try_from(ticks).unwrap_or(u32::MAX / 2)
    }

    /// Things with a guard.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// One tick later.
    pub(super) fn pass(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        guards.retain(|guard| match guard.upgrade() {
            Some(guard) => {
                guard.look(now);
                true
            }
            None => false,
        });
    }

    fn watch(self: &Arc<Self>, end: End) -> Arc<Guard> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let guard = Arc::new(Guard {
            watchman: Arc::clone(self),
            due: AtomicU32::new(0),
            patience: AtomicU32::new(0),
            is_late: AtomicBool::new(false),
            end,
        });
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        guards.push(Arc::downgrade(&guard));
        guard
    }

    /// Over a connection that is used for one request at a time.
    pub(super) fn connection(self: &Arc<Self>, connection: AbortHandle) -> Arc<Guard> {
        self.watch(End::Connection(connection))
    }

    /// Over one request of a connection that others use too.
    pub(super) fn request(self: &Arc<Self>) -> Arc<Guard> {
        self.watch(End::Waiter(AtomicWaker::new()))
    }
}

impl Guard {
    /// From now on a sign of life is expected within so many ticks of the last.
    pub(super) fn expect(&self, patience: u32) {
        self.patience.store(patience, Ordering::Relaxed);
        self.alive();
    }

    /// Something moved.
    pub(super) fn alive(&self) {
        let due = self.watchman.now().wrapping_add(self.patience.load(Ordering::Relaxed));
        self.due.store(due, Ordering::Relaxed);
    }

    /// Nothing is waited for.
    pub(super) fn rest(&self) {
        self.due.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Acquire)
    }

    /// Ready once it is late; of those that poll it the latest is told.
    pub(super) fn poll_late(&self, context: &Context<'_>) -> Poll<()> {
        if let End::Waiter(waiter) = &self.end {
            waiter.register(context.waker());
        }
        if self.is_late() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn look(&self, now: u32) {
        let due = self.due.load(Ordering::Relaxed);
        if due == 0 || now < due {
            return;
        }
        self.is_late.store(true, Ordering::Release);
        self.rest();
        match &self.end {
            End::Connection(connection) => connection.abort(),
            End::Waiter(waiter) => waiter.wake(),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.watchman.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_late_without_a_sign_of_life_and_not_before() {
        let watchman = Arc::new(Watchman::new(Duration::from_secs(8)));
        assert_eq!(watchman.tick(), Duration::from_secs(1));
        let guard = watchman.request();
        let (resting, patience) = (watchman.request(), watchman.ticks(Duration::from_secs(3)));
        guard.expect(patience);
        for _ in 1..patience {
            watchman.pass();
        }
        assert!(!guard.is_late());
        guard.alive();
        for _ in 1..patience {
            watchman.pass();
        }
        assert!(!guard.is_late(), "it moved meanwhile");
        watchman.pass();
        assert!(guard.is_late());
        std::future::poll_fn(|context| guard.poll_late(context)).await;
        assert!(!resting.is_late());
        assert_eq!(watchman.count(), 2);
        drop((guard, resting));
        assert_eq!(watchman.count(), 0);
    }
}
