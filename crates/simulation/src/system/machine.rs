//! A machine's clocks: the time since boot, which is right, and the wall clock, which may not be.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};

/// What the wall clock shows at the world's beginning, if it is right.
const EPOCH: UnixTime = UnixTime::from_secs(1_800_000_000);

/// One machine; its processes share clocks and escrow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// Names this boot.
    pub(super) boot: u64,
    /// World time minus time since boot, and so when it booted.
    booted_at: Timestamp,
    /// How far its wall clock is ahead, in milliseconds.
    pub(super) wall_error: i64,
}

impl Machine {
    pub(super) const fn booted(boot: u64, booted_at: Timestamp, wall_error: i64) -> Self {
        Self { boot, booted_at, wall_error }
    }

    /// Its time since boot.
    pub(super) fn now(&self, world: Timestamp) -> Timestamp {
        Timestamp::ZERO + world.since(self.booted_at)
    }

    /// The world's time for one of its own.
    pub(super) fn world(&self, local: Timestamp) -> Timestamp {
        self.booted_at + Timestamp::ZERO.until(local)
    }

    pub(super) fn reading(&self, world: Timestamp) -> Reading {
        let right = (EPOCH + Timestamp::ZERO.until(world)).as_millis();
        let wall = right.saturating_add_signed(self.wall_error);
        Reading { at: self.now(world), wall: UnixTime::from_millis(wall), boot: self.boot }
    }
}

/// What the clocks of a machine show.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Time since boot.
    pub at: Timestamp,
    /// The wall clock.
    pub wall: UnixTime,
    /// The boot.
    pub boot: u64,
}

/// A stored instant, as `bellwether-store` keeps it; a test compares the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    at: Timestamp,
    wall: UnixTime,
    written: UnixTime,
    boot: u64,
}

impl Stamp {
    /// Notes `instant` as seen from `now`.
    pub fn seen_from(instant: Timestamp, now: Reading) -> Self {
        let ahead = now.at.until(instant);
        let behind = u64::try_from(now.at.since(instant).as_millis()).unwrap_or(u64::MAX);
        let wall = UnixTime::from_millis((now.wall + ahead).as_millis().saturating_sub(behind));
        Self { at: instant, wall, written: now.wall, boot: now.boot }
    }

    /// The instant as seen from `now`: by the wall clock after another boot, and then never
    /// further away than it was when it was written.
    pub fn resolve(&self, now: Reading) -> Timestamp {
        if self.boot == now.boot || self.at == Timestamp::NEVER {
            return self.at;
        }
        let ahead = now.wall.until(self.wall).min(self.written.until(self.wall));
        now.at + ahead - self.wall.until(now.wall)
    }

    /// The instant that comes so much later, as whoever wrote this would have noted it.
    pub fn later(&self, duration: Duration) -> Self {
        Self { at: self.at + duration, wall: self.wall + duration, ..*self }
    }

    /// Whether it was written during the boot of `now`.
    pub(super) fn is_of(&self, now: Reading) -> bool {
        self.boot == now.boot
    }
}

/// The largest error of a wall clock that keeps itself right over the network.
pub(super) const SYNCHRONISED: Duration = Duration::from_millis(500);
