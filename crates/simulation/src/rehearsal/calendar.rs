//! Many events in the order of their instants: a drawer for each second, of which one is sorted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::START;

/// Events until an end that is known; later ones are let go.
///
/// A heap of a million events misses the cache at every step. Here only the current second is a
/// heap, and all others are rows that are written from front to back.
#[derive(Debug)]
pub(super) struct Calendar<E> {
    drawers: Vec<Vec<(Timestamp, E)>>,
    open: usize,
    now: BinaryHeap<Reverse<(Timestamp, E)>>,
}

impl<E: Ord> Calendar<E> {
    pub(super) fn until(length: Duration) -> Self {
        let seconds = usize::try_from(length.as_secs()).unwrap_or(usize::MAX) + 1;
        let drawers = std::iter::repeat_with(Vec::new).take(seconds).collect();
        Self { drawers, open: 0, now: BinaryHeap::new() }
    }

    pub(super) fn add(&mut self, at: Timestamp, event: E) {
        let second = usize::try_from(START.until(at).as_secs()).unwrap_or(usize::MAX);
        if second <= self.open {
            self.now.push(Reverse((at, event)));
        } else if let Some(drawer) = self.drawers.get_mut(second) {
            drawer.push((at, event));
        }
    }

    pub(super) fn next(&mut self) -> Option<(Timestamp, E)> {
        loop {
            if let Some(Reverse(next)) = self.now.pop() {
                return Some(next);
            }
            let ahead = self.drawers.get(self.open + 1..)?;
            self.open += 1 + ahead.iter().position(|drawer| !drawer.is_empty())?;
            let drawer = std::mem::take(&mut self.drawers[self.open]);
            self.now = drawer.into_iter().map(Reverse).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_and_those_past_the_end_do_not() {
        let at = |ms| START + Duration::from_millis(ms);
        let mut calendar = Calendar::until(Duration::from_secs(5));
        for (ms, event) in [(4_999, 'd'), (10, 'a'), (1_500, 'c'), (1_200, 'b'), (9_000, 'z')] {
            calendar.add(at(ms), event);
        }
        assert_eq!(calendar.next(), Some((at(10), 'a')));
        assert_eq!(calendar.next(), Some((at(1_200), 'b')));
        calendar.add(at(1_300), 'x');
        let rest: Vec<_> = std::iter::from_fn(|| calendar.next()).map(|(_, event)| event).collect();
        assert_eq!(rest, ['x', 'c', 'd']);
    }
}
