//! Gaps that are still to be filled.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Older gaps are let go when there are more.
const MOST: usize = 100_000;

/// Gaps that are still to be filled. Clones share them; a writer keeps them with its cursor, and
/// takes out what was filled.
#[derive(Clone, Debug, Default)]
pub struct Gaps(Arc<Mutex<BTreeSet<u64>>>);

impl Gaps {
    /// These, to begin with.
    pub fn new(slots: impl IntoIterator<Item = u64>) -> Self {
        let gaps = Self::default();
        slots.into_iter().for_each(|slot| gaps.add(slot));
        gaps
    }

    /// A slot ended as a gap.
    pub fn add(&self, slot: u64) {
        let mut all = self.all();
        all.insert(slot);
        if all.len() > MOST {
            all.pop_first();
        }
    }

    /// It was filled, or never will be.
    pub fn remove(&self, slot: u64) {
        self.all().remove(&slot);
    }

    /// The oldest, or the oldest after this one.
    pub fn next(&self, after: Option<u64>) -> Option<u64> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.all().range((from, Bound::Unbounded)).next().copied()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    pub(crate) fn list(&self) -> Vec<u64> {
        self.all().iter().copied().collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_next_and_too_many_are_not_kept() {
        let gaps = Gaps::new([5, 3, 9]);
        assert_eq!(
            (gaps.next(None), gaps.next(Some(3)), gaps.next(Some(9))),
            (Some(3), Some(5), None)
        );
        gaps.remove(3);
        assert_eq!(gaps.list(), [5, 9]);
        let many = Gaps::new(0..MOST as u64 + 7);
        assert_eq!((many.count(), many.next(None)), (MOST, Some(7)));
    }
}
