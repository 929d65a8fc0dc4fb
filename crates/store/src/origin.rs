//! Which store it is, and whether it is still the same.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};

use crate::store::StoreError;

/// Names a store over restarts, copies and restored backups.
///
/// Note it beside what must not be done twice. A store of the same instance and a later epoch may
/// have forgotten what was done since the copy or the backup was made: a refresh token that it
/// holds, noted in an earlier epoch, may have been used, and a fence may be granted again
/// elsewhere. A store of another instance knows nothing of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Made with the store; its copies have it too.
    pub instance: InstanceId,
    /// Goes up by one each time the store is found to be a copy or a restored backup of itself.
    pub epoch: u64,
}

/// What a store and its copies have in common: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(u128);

impl InstanceId {
    /// The instance with these bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// An instance that no other is.
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

    /// The instance that `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    /// The bits.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_reads_as_it_is_written() {
        for instance in [InstanceId::random().unwrap(), InstanceId::from_u128(0)] {
            assert_eq!(InstanceId::parse(&instance.to_string()), Some(instance));
        }
        for text in ["", "0", "+0000000000000000000000000000001", &"g".repeat(32)] {
            assert_eq!(InstanceId::parse(text), None, "{text:?}");
        }
        assert_ne!(InstanceId::random(), InstanceId::random());
    }
}
