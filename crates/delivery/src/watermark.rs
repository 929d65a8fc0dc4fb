//! Below which number every slot is settled.

use std::collections::BTreeSet;

/// Slots settle in any order; the watermark rises when none is missing below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    below: u64,
    /// Settled, but something below is not.
    ahead: BTreeSet<u64>,
}

impl Watermark {
    /// Every slot below `below` is settled, and these.
    pub fn new(below: u64, settled: impl IntoIterator<Item = u64>) -> Self {
        let mut watermark = Self { below, ahead: BTreeSet::new() };
        for slot in settled {
            watermark.settle(slot);
        }
        watermark
    }

    /// A slot is settled.
    pub fn settle(&mut self, slot: u64) {
        self.settle_all(slot, 1);
    }

    /// So many slots from this one on are settled.
    pub fn settle_all(&mut self, from: u64, slots: u64) {
        let end = from.saturating_add(slots);
        if from > self.below {
            self.ahead.extend(from..end);
            return;
        }
        if end > self.below {
            self.below = end;
            self.ahead = self.ahead.split_off(&end);
        }
        while self.ahead.remove(&self.below) {
            self.below += 1;
        }
    }

    /// All below are settled.
    pub fn below(&self) -> u64 {
        self.below
    }

    /// Settled slots that are not below it: from, and up to but not with.
    pub fn ahead(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &slot in &self.ahead {
            match ranges.last_mut() {
                Some((_, end)) if *end == slot => *end += 1,
                Some(_) | None => ranges.push((slot, slot + 1)),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_when_nothing_is_missing_below() {
        let mut watermark = Watermark::new(10, [12]);
        let story = [(11, 10), (9, 10), (10, 13), (10, 13), (14, 13), (13, 15)];
        for (slot, below) in story {
            watermark.settle(slot);
            assert_eq!(watermark.below(), below, "after {slot}");
        }
        assert!(watermark.ahead().is_empty());
    }

    #[test]
    fn what_is_ahead_is_told_in_stretches() {
        let watermark = Watermark::new(10, [12, 13, 14, 20, 22]);
        assert_eq!(watermark.ahead(), [(12, 15), (20, 21), (22, 23)]);
    }

    #[test]
    fn many_are_settled_at_once() {
        #[rustfmt::skip]
        let cases = [
            // below, ahead,     from, slots, below then
            (10,      &[12, 15][..], 10, 3,   13),
            (10,      &[13, 15],     8,  5,   14),
            (10,      &[12],         4,  3,   10),
            (10,      &[],           12, 2,   10),
            (10,      &[10],         0,  1,   11),
        ];
        for (below, ahead, from, slots, expected) in cases {
            let mut watermark = Watermark::new(below, ahead.iter().copied());
            watermark.settle_all(from, slots);
            assert_eq!(watermark.below(), expected, "{below} {ahead:?} {from} {slots}");
            assert!(watermark.ahead().iter().all(|(from, end)| expected < *from && from < end));
        }
    }

    #[test]
    fn whatever_the_order_it_ends_above_all() {
        let mut slots: Vec<u64> = (0..500).collect();
        fastrand::Rng::with_seed(7).shuffle(&mut slots);
        assert_eq!(Watermark::new(0, slots).below(), 500);
    }
}
