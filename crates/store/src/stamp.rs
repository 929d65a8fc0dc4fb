//! An instant that is kept in a store and still means the same after a reboot.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use serde::{Deserialize, Serialize};

use crate::clock::{BootId, Clock, Moment};

/// A stored instant: when a token expires, when a probe is due.
///
/// Within the boot that wrote it, the time since boot decides, whatever the wall clock was set to.
/// After another boot (or on another machine) only the wall clock is left to go by; then the
/// instant is never further away than it was when it was written, so a wall clock that was set
/// back cannot lengthen a token's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Nanoseconds since boot.
    at: u64,
    /// The same instant in Unix milliseconds.
    wall: u64,
    /// Unix milliseconds when this was written.
    written: u64,
    boot: BootId,
}

impl Stamp {
    /// Notes `instant`, past or to come, as `clock` sees it.
    pub fn new(instant: Timestamp, clock: &(impl Clock + ?Sized)) -> Self {
        Self::seen_from(instant, Moment::of(clock))
    }

    /// Notes `instant` as seen from `now`.
    pub fn seen_from(instant: Timestamp, now: Moment) -> Self {
        let ahead = now.at.until(instant);
        let behind = u64::try_from(now.at.since(instant).as_millis()).unwrap_or(u64::MAX);
        let wall = (now.wall + ahead).as_millis().saturating_sub(behind);
        Self { at: instant.as_nanos(), wall, written: now.wall.as_millis(), boot: now.boot }
    }

    /// The instant on `clock`. One from before its boot is at the earliest [`Timestamp::ZERO`].
    pub fn resolve(&self, clock: &(impl Clock + ?Sized)) -> Timestamp {
        self.resolve_at(Moment::of(clock))
    }

    /// The instant as seen from `now`.
    pub fn resolve_at(&self, now: Moment) -> Timestamp {
        if self.boot.same_boot(now.boot) || self.at == Timestamp::NEVER.as_nanos() {
            return Timestamp::from_nanos(self.at);
        }
        let wall = self.wall();
        let ahead = now.wall.until(wall).min(UnixTime::from_millis(self.written).until(wall));
        now.at + ahead - wall.until(now.wall)
    }

    /// The instant that comes `by` later, as whoever wrote this would have noted it: what began before
    /// a reboot has an end, although its beginning cannot be told any more.
    #[must_use]
    pub fn later(&self, by: Duration) -> Self {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let at = Timestamp::from_nanos(self.at) + by;
        Self { at: at.as_nanos(), wall: self.wall.saturating_add(millis), ..*self }
    }

    /// The instant on the wall, as it was seen when written.
    pub fn wall(&self) -> UnixTime {
        UnixTime::from_millis(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn within_a_boot_the_wall_clock_may_jump() {
        let clock = ManualClock::new();
        let expires_at = clock.now() + HOUR;
        let stamp = Stamp::new(expires_at, &clock);
        for wall in [0, 1_000_000_000, 2_000_000_000] {
            clock.set_wall(UnixTime::from_secs(wall));
            assert_eq!(stamp.resolve(&clock), expires_at);
        }
    }

    #[test]
    fn after_a_reboot_the_wall_clock_decides_and_never_lengthens() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let stamped = |clock: &ManualClock| Stamp::new(clock.now() + HOUR, clock);
        // down for, what the wall clock shows (minutes from writing), what remains
        let cases = [
            (minutes(10), 10, Some(minutes(50))),
            (minutes(59), 59, Some(minutes(1))),
            (minutes(10), -5_000_000, Some(HOUR)),
            (minutes(61), 61, None),
        ];
        for (down, shows, remains) in cases {
            let clock = ManualClock::new();
            let written = clock.wall().as_secs();
            let stamp = stamped(&clock);
            clock.reboot(down);
            clock.set_wall(UnixTime::from_secs(written.saturating_add_signed(shows * 60)));
            let instant = stamp.resolve(&clock);
            match remains {
                Some(remains) => assert_eq!(clock.now().until(instant), remains, "after {down:?}"),
                None => assert!(instant < clock.now(), "after {down:?}"),
            }
        }
    }

    #[test]
    fn a_past_instant_stays_past_and_never_stays_never() {
        let clock = ManualClock::new();
        let past = Stamp::new(clock.now() - HOUR, &clock);
        let never = Stamp::new(Timestamp::NEVER, &clock);
        assert_eq!(past.resolve(&clock), clock.now() - HOUR);
        clock.reboot(Duration::ZERO);
        assert!(past.resolve(&clock) < clock.now());
        assert_eq!(never.resolve(&clock), Timestamp::NEVER);
    }

    #[test]
    fn what_began_before_a_reboot_ends_when_it_should() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        for (down, remains) in [(10, 50), (59, 1), (70, 0)] {
            let clock = ManualClock::new();
            let began = Stamp::new(clock.now(), &clock);
            let written = clock.wall().as_secs();
            assert_eq!(began.later(HOUR), Stamp::new(clock.now() + HOUR, &clock));
            clock.reboot(minutes(down));
            clock.set_wall(UnixTime::from_secs(written + down * 60));
            let end = began.later(HOUR).resolve(&clock);
            assert_eq!(clock.now().until(end), minutes(remains), "down for {down} minutes");
        }
    }

    #[test]
    fn serialises() {
        let clock = ManualClock::new();
        let stamp = Stamp::new(clock.now(), &clock);
        let text = serde_json::to_string(&stamp).unwrap();
        assert_eq!(serde_json::from_str::<Stamp>(&text).unwrap(), stamp);
    }
}
