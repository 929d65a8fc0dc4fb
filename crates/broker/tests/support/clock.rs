//! The clock of a story: tokio's virtual time, and what can go wrong with a clock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bellwether_broker::lifecycle::{Timestamp, UnixTime};
use bellwether_broker::store::{BootId, Clock};
use tokio::time::Instant;

/// Time since boot when a story begins.
const BOOTED_BEFORE: Duration = Duration::from_secs(3600);
/// The wall clock when a story begins: 2023-11-14.
const BEGINS_MS: u64 = 1_700_000_000_000;

/// Follows tokio's virtual time. The machine can be suspended, and its wall clock set.
#[derive(Debug)]
pub struct VirtualClock {
    start: Instant,
    skew: Mutex<Skew>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Skew {
    /// Time that passed while all timers stood still.
    suspended: Duration,
    /// How far the wall clock was set.
    wall_ms: i64,
}

impl VirtualClock {
    /// Starts with the runtime's time.
    #[allow(clippy::disallowed_methods, reason = "this is the clock that tests pass in")]
    pub fn start() -> Self {
        Self { start: Instant::now(), skew: Mutex::default() }
    }

    /// The machine sleeps: time passes, timers do not run.
    pub fn suspend(&self, asleep: Duration) {
        self.change(|skew| skew.suspended += asleep);
    }

    /// Somebody sets the wall clock, forwards or back.
    pub fn set_wall_by(&self, seconds: i64) {
        self.change(|skew| skew.wall_ms += seconds * 1000);
    }

    fn change(&self, change: impl FnOnce(&mut Skew)) {
        change(&mut self.skew.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn skew(&self) -> Skew {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed() + self.skew().suspended
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + BOOTED_BEFORE + self.elapsed()
    }

    fn wall(&self) -> UnixTime {
        let passed = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        UnixTime::from_millis((BEGINS_MS + passed).saturating_add_signed(self.skew().wall_ms))
    }

    fn boot_id(&self) -> BootId {
        BootId::from_u128(7)
    }
}
