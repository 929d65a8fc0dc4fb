//! The harness lives in real time: the one place that reads its clock and sleeps.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_store::{Clock, SystemClock};

/// Tells the time as the processes under test do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(SystemClock);

impl Time {
    pub(crate) fn new() -> Self {
        Self(SystemClock::new())
    }

    /// Time since boot.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// The same and the wall clock, for a lab.
    pub(crate) fn both(&self) -> (Timestamp, UnixTime) {
        (self.0.now(), self.0.wall())
    }

    /// A number that differs between runs.
    pub(crate) fn seed(&self) -> u64 {
        self.0.now().as_nanos() ^ self.0.wall().as_millis().rotate_left(40)
    }

    #[allow(clippy::disallowed_methods, reason = "which instant is hit is what a run is about")]
    pub(crate) fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    pub(crate) fn sleep_until(&self, at: Timestamp) {
        self.sleep(self.now().until(at));
    }
}
