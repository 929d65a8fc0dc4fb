//! The right to write a row, for a while, and the number that orders such rights.

use std::fmt;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use crate::store::StoreError;

/// Orders the leases of a store: each is higher than all granted before it.
///
/// One counter serves all keys, so a removed row leaves nothing behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// Before the first lease.
    pub const NONE: Self = Self(0);
    /// The last there can be: every backend counts exactly up to here, those with floating-point
    /// scripts too (2⁵³ − 1).
    pub const LAST: Self = Self((1 << 53) - 1);

    /// The fence with this number, as a backend kept it.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The fence of the next lease.
    ///
    /// # Errors
    /// [`StoreError::Refused`] after the last: a counter that wrapped would let old holders write.
    pub fn next(self) -> Result<Self, StoreError> {
        if self < Self::LAST {
            return Ok(Self(self.0 + 1));
        }
        let why = "its lease counter is used up; start with a new store".to_owned();
        Err(StoreError::Refused { why })
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A granted lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Goes with every write under this lease.
    pub fence: Fence,
    /// Counts from *before* the call that acquired it.
    pub valid_for: Duration,
}

/// The answer to a wish for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It is ours.
    Lease(Lease),
    /// Somebody else has it.
    Busy {
        /// When asking again is worth it; sooner than the lease's end, since it may be released.
        retry_after: Duration,
    },
}

impl Acquired {
    /// How long a busy lease is left alone at most before one asks again.
    const ASK_AGAIN: Duration = Duration::from_millis(250);

    /// Busy, for `remaining` at most.
    pub fn busy(remaining: Duration) -> Self {
        Self::Busy { retry_after: remaining.min(Self::ASK_AGAIN) }
    }

    /// The lease, if it was granted.
    pub fn lease(self) -> Option<Lease> {
        match self {
            Self::Lease(lease) => Some(lease),
            Self::Busy { .. } => None,
        }
    }
}

/// Who asks for a lease: 128 random bits, new for each renewal.
///
/// The holder itself may ask again (an answer was lost, the lease is to last longer): it gets a
/// new lease with a new fence, and its old fence is worth nothing from then on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HolderId(u128);

impl HolderId {
    /// The holder with these bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// A holder nobody else is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the kernel has no random bytes.
    pub fn random() -> Result<Self, StoreError> {
        let mut bits = [0; 16];
        SystemRandom::new().fill(&mut bits).map_err(|_| StoreError::Unavailable {
            why: "the kernel gives no random bytes; try again".to_owned(),
        })?;
        Ok(Self(u128::from_be_bytes(bits)))
    }

    /// The bits.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HolderId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_counts_up_and_refuses_to_wrap() {
        assert_eq!(Fence::NONE.next().unwrap(), Fence::from_u64(1));
        assert!(matches!(Fence::LAST.next(), Err(StoreError::Refused { .. })));
        assert!(matches!(Fence::from_u64(u64::MAX).next(), Err(StoreError::Refused { .. })));
    }

    #[test]
    fn busy_is_asked_again_soon() {
        let busy = |millis| Acquired::busy(Duration::from_millis(millis));
        assert_eq!(busy(90_000), busy(250));
        assert_eq!(busy(3), Acquired::Busy { retry_after: Duration::from_millis(3) });
    }
}
