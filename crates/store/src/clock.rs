//! The one place that reads the machine's clocks.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

/// Tells the time.
///
/// What must not be fooled (leases, expiry) goes by [`now`](Self::now); the wall clock is for
/// people, and for instants that have to outlive a reboot.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since boot, time asleep included (`CLOCK_BOOTTIME`).
    fn now(&self) -> Timestamp;

    /// The wall clock, which may step in either direction.
    fn wall(&self) -> UnixTime;

    /// Which boot [`now`](Self::now) counts from.
    fn boot_id(&self) -> BootId;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn wall(&self) -> UnixTime {
        (**self).wall()
    }

    fn boot_id(&self) -> BootId {
        (**self).boot_id()
    }
}

/// One reading of all that a clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since boot.
    pub at: Timestamp,
    /// The wall clock.
    pub wall: UnixTime,
    /// The boot that `at` counts from.
    pub boot: BootId,
}

impl Moment {
    /// Reads `clock`.
    pub fn of(clock: &(impl Clock + ?Sized)) -> Self {
        Self { at: clock.now(), wall: clock.wall(), boot: clock.boot_id() }
    }
}

/// Names one boot of one machine; 32 hexadecimal digits as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootId(u128);

impl BootId {
    /// The machine does not say. Two of these may be two boots: see [`same_boot`](Self::same_boot).
    pub const UNKNOWN: Self = Self(0);

    /// The boot with this number.
    pub const fn from_u128(number: u128) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// Whether both are certainly the same boot.
    pub fn same_boot(self, other: Self) -> bool {
        self == other && self != Self::UNKNOWN
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for BootId {
    type Err = std::num::ParseIntError;

    /// Reads hexadecimal digits, with the kernel's dashes or without.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(&text.trim().replace('-', ""), 16).map(Self)
    }
}

impl TryFrom<String> for BootId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BootId> for String {
    fn from(boot: BootId) -> Self {
        boot.to_string()
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    boot: BootId,
}

impl SystemClock {
    /// Reads once which boot this is. Without `/proc` it is [`BootId::UNKNOWN`], and stored
    /// instants go by the wall clock.
    pub fn new() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(BootId::UNKNOWN);
        Self { boot }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let duration = duration(clock_gettime(ClockId::Boottime));
        Timestamp::ZERO + duration
    }

    fn wall(&self) -> UnixTime {
        UnixTime::from_millis(0) + duration(clock_gettime(ClockId::Realtime))
    }

    fn boot_id(&self) -> BootId {
        self.boot
    }
}

/// A wall clock before 1970 reads as 1970.
fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

/// A clock that moves when told to: for tests and simulations.
///
/// Starts one hour after boot, on 2023-11-14.
#[derive(Debug)]
pub struct ManualClock(Mutex<Moment>);

impl ManualClock {
    /// A clock that stands still.
    pub fn new() -> Self {
        Self(Mutex::new(Moment {
            at: Timestamp::from_secs(3600),
            wall: UnixTime::from_secs(1_700_000_000),
            boot: BootId::from_u128(1),
        }))
    }

    /// Lets time pass, on the wall too.
    pub fn advance(&self, by: Duration) {
        self.change(|moment| {
            moment.at += by;
            moment.wall = moment.wall + by;
        });
    }

    /// Sets the wall clock alone, forwards or back.
    pub fn set_wall(&self, wall: UnixTime) {
        self.change(|moment| moment.wall = wall);
    }

    /// Sets the instant alone; for simulations that keep the time themselves.
    pub fn set_now(&self, now: Timestamp) {
        self.change(|moment| moment.at = now);
    }

    /// Boots anew after `down`: another boot id, and time since boot starts over.
    pub fn reboot(&self, down: Duration) {
        self.change(|moment| {
            moment.at = Timestamp::from_secs(10);
            moment.wall = moment.wall + down;
            moment.boot = BootId::from_u128(moment.boot.as_u128() + 1);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Moment)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn moment(&self) -> Moment {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.moment().at
    }

    fn wall(&self) -> UnixTime {
        self.moment().wall
    }

    fn boot_id(&self) -> BootId {
        self.moment().boot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_its_time_and_its_boot() {
        let clock = SystemClock::new();
        let first = clock.now();
        assert!(first > Timestamp::ZERO && clock.now() >= first);
        assert!(clock.wall() > UnixTime::from_secs(1_700_000_000));
        assert_eq!(clock.boot_id(), SystemClock::new().boot_id());
    }

    #[test]
    fn a_boot_id_reads_as_the_kernel_writes_it() {
        let boot: BootId = "0b6b5bb1-9d4b-4c55-8ad5-3d6c7f4be1a0\n".parse().unwrap();
        assert_eq!(boot.to_string(), "0b6b5bb19d4b4c558ad53d6c7f4be1a0");
        assert_eq!(boot.to_string().parse(), Ok(boot));
        assert!("not hexadecimal".parse::<BootId>().is_err());
        assert!(boot.same_boot(boot) && !BootId::UNKNOWN.same_boot(BootId::UNKNOWN));
    }
}
