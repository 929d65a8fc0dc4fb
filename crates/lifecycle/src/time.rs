//! Instants and wall-clock times as plain numbers; whoever reads a clock passes them in.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// An instant in nanoseconds since the machine booted, time asleep included (`CLOCK_BOOTTIME`).
///
/// Never steps when the wall clock is set. Arithmetic saturates: an instant too far away is the
/// last one, [`Timestamp::NEVER`]. An `Option` of it takes no more room, and a credential has many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OneMore);

/// A number that is kept as the next one, so that zero is left to mean none. The last two are one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct OneMore(NonZeroU64);

impl OneMore {
    const fn new(number: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(number))
    }

    const fn get(self) -> u64 {
        match self.0.get() {
            u64::MAX => u64::MAX,
            kept => kept - 1,
        }
    }

    const fn plus(self, number: u64) -> Self {
        Self(self.0.saturating_add(number))
    }
}

impl Timestamp {
    /// The first instant.
    pub const ZERO: Self = Self::from_nanos(0);
    /// Later than anything that happens.
    pub const NEVER: Self = Self::from_nanos(u64::MAX);

    /// The instant `nanoseconds` after boot.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(OneMore::new(nanoseconds))
    }

    /// Whole seconds after boot; handy in tests and tables.
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_nanos(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0.get()
    }

    /// How long until `later`; zero if that has passed.
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.get().saturating_sub(self.0.get()))
    }

    /// How long since `earlier`; zero if that is yet to come.
    pub const fn since(self, earlier: Self) -> Duration {
        earlier.until(self)
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.as_nanos()).finish()
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.plus(nanoseconds))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self::from_nanos(self.as_nanos().saturating_sub(nanoseconds))
    }
}

/// A wall-clock time in milliseconds since the Unix epoch: for people, files and other machines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(OneMore);

impl UnixTime {
    /// The time `milliseconds` after the epoch.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(OneMore::new(milliseconds))
    }

    /// The time `seconds` after the epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0.get()
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.as_millis() / 1000
    }

    /// How long until `later`; zero if that has passed.
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.as_millis().saturating_sub(self.as_millis()))
    }
}

impl Default for UnixTime {
    fn default() -> Self {
        Self::from_millis(0)
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnixTime").field(&self.as_millis()).finish()
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.plus(milliseconds))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.as_secs(), self.as_millis() % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_that_may_be_missing_takes_no_more_room() {
        assert_eq!(size_of::<Option<Timestamp>>(), size_of::<u64>());
        assert_eq!(size_of::<Option<UnixTime>>(), size_of::<u64>());
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp::ZERO - second, Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.as_nanos(), 0);
        assert_eq!(Timestamp::NEVER.as_nanos(), u64::MAX);
        assert_eq!(Timestamp::NEVER + second, Timestamp::NEVER);
        assert_eq!(Timestamp::from_nanos(u64::MAX), Timestamp::NEVER);
        assert_eq!(Timestamp::from_secs(7) + second, Timestamp::from_secs(8));
        assert_eq!(Timestamp::from_secs(7) - second, Timestamp::from_secs(6));
        assert_eq!(Timestamp::from_secs(7).since(Timestamp::from_secs(6)), second);
        assert_eq!(UnixTime::from_secs(u64::MAX) + second, UnixTime::from_millis(u64::MAX));
        assert_eq!((UnixTime::from_millis(0) + second).to_string(), "1.000");
    }
}
