//! Virtual time: what happens next, without waiting for it.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use bellwether_lifecycle::Timestamp;

/// Events in the order of their instants; at the same instant, in the order they were added.
#[derive(Debug)]
pub struct Timeline<E> {
    events: BinaryHeap<Reverse<Scheduled<E>>>,
    added: u64,
    now: Timestamp,
}

#[derive(Debug)]
struct Scheduled<E> {
    at: Timestamp,
    order: u64,
    event: E,
}

impl<E> Timeline<E> {
    /// Nothing is to happen yet.
    pub const fn starting_at(now: Timestamp) -> Self {
        Self { events: BinaryHeap::new(), added: 0, now }
    }

    /// The instant of the last event that happened.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Adds an event; one in the past happens now.
    pub fn add(&mut self, at: Timestamp, event: E) {
        self.added += 1;
        self.events.push(Reverse(Scheduled { at: at.max(self.now), order: self.added, event }));
    }

    /// The next event, if it happens before `end`. Time moves to it.
    pub fn next_before(&mut self, end: Timestamp) -> Option<(Timestamp, E)> {
        if self.events.peek()?.0.at >= end {
            return None;
        }
        let Reverse(Scheduled { at, event, .. }) = self.events.pop()?;
        self.now = at;
        Some((at, event))
    }
}

impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Scheduled<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_in_order_and_time_only_goes_forward() {
        let at = Timestamp::from_secs;
        let mut timeline = Timeline::starting_at(at(10));
        for (second, name) in [(30, "last"), (20, "first"), (20, "second"), (5, "past")] {
            timeline.add(at(second), name);
        }
        assert_eq!(timeline.next_before(at(30)), Some((at(10), "past")));
        assert_eq!(timeline.next_before(at(30)), Some((at(20), "first")));
        assert_eq!(timeline.next_before(at(30)), Some((at(20), "second")));
        assert_eq!(timeline.next_before(at(30)), None, "the end is not part of it");
        assert_eq!(timeline.next_before(at(31)), Some((at(30), "last")));
        assert_eq!(timeline.next_before(Timestamp::NEVER), None);
        assert_eq!(timeline.now(), at(30));
    }
}
