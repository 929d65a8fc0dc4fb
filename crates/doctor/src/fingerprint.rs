//! A name for bytes that are not kept: callers, tokens, refresh tokens.
//!
//! Nothing here is printed. A fixed function, so that the same log gives the same answer twice.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What stands for some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

impl Fingerprint {
    /// Of these bytes, apart from the same bytes under another `seed`.
    pub fn of(seed: u64, bytes: &[u8]) -> Self {
        let mut state = seed ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let word = chunk.try_into().map_or(0, u64::from_le_bytes);
            state = mix(state ^ word);
        }
        let rest = chunks.remainder();
        let word = rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        Self(mix(state ^ word))
    }
}

fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(MULTIPLIER);
    let word = (word ^ (word >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word ^ (word >> 32)
}

/// Hands a fingerprint on as it is: it is mixed already.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// By fingerprint.
pub type Fingerprinted<V> = HashMap<Fingerprint, V, BuildHasherDefault<AsItIs>>;
