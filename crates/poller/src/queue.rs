//! Which slot a free worker takes next.
//!
//! Slots are taken in the order in which they fall due. When workers fall behind, the slots that
//! wait are taken by priority: what matters most is the last to become a gap.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_broker::lifecycle::Timestamp;

use crate::schedule::{Schedule, Slot};

/// The slots of a schedule that nobody has taken yet.
#[derive(Clone, Debug)]
pub struct Queue {
    schedule: Schedule,
    next: u64,
    end: u64,
    /// By agent; an agent behind the last has priority 0.
    priorities: Arc<[u8]>,
    /// Slots that are due, the highest priority first. At most one for each agent.
    waiting: BTreeSet<(Reverse<u8>, u64)>,
    /// Slots that were settled before this process began.
    settled: BTreeSet<u64>,
}

/// What there is for a worker that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Fill this slot.
    Fill(Slot),
    /// This slot closed before anybody was free.
    Missed(Slot),
    /// Nothing is due until then.
    Wait(Timestamp),
    /// All slots have been taken.
    Over,
}

impl Queue {
    /// The first `slots` slots of a schedule.
    pub fn new(schedule: Schedule, slots: u64) -> Self {
        let first = schedule.first();
        Self {
            schedule,
            next: first,
            end: first.saturating_add(slots),
            priorities: Arc::default(),
            waiting: BTreeSet::new(),
            settled: BTreeSet::new(),
        }
    }

    /// With the agents' priorities, the highest first served.
    #[must_use]
    pub fn with_priorities(self, priorities: Arc<[u8]>) -> Self {
        Self { priorities, ..self }
    }

    /// Leaves these out: they were settled already.
    #[must_use]
    pub fn without(self, settled: BTreeSet<u64>) -> Self {
        Self { settled, ..self }
    }

    /// Takes a slot, if one is due.
    pub fn take(&mut self, now: Timestamp) -> Next {
        if let Some(missed) = self.admit(now) {
            return Next::Missed(missed);
        }
        if let Some((_, number)) = self.waiting.pop_first() {
            let slot = self.schedule.slot(number);
            return if slot.closes <= now { Next::Missed(slot) } else { Next::Fill(slot) };
        }
        if self.next >= self.end {
            return Next::Over;
        }
        Next::Wait(self.schedule.slot(self.next).due)
    }

    /// Lets slots that are due join those that wait; the first that has closed already is returned
    /// in place of joining, so that no outage makes the queue long.
    fn admit(&mut self, now: Timestamp) -> Option<Slot> {
        while self.next < self.end {
            let slot = self.schedule.slot(self.next);
            if slot.due > now {
                break;
            }
            self.next += 1;
            if self.settled.remove(&slot.number) {
                continue;
            }
            if slot.closes <= now {
                return Some(slot);
            }
            let agent = usize::try_from(slot.agent).unwrap_or(usize::MAX);
            let priority = self.priorities.get(agent).copied().unwrap_or_default();
            self.waiting.insert((Reverse(priority), slot.number));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_secs(50) + Duration::from_millis(milliseconds)
    }

    /// Four agents every four seconds, one each second.
    fn queue(slots: u64) -> (Schedule, Queue) {
        let schedule = Schedule::new(at(0), Duration::from_secs(4), 4);
        (schedule, Queue::new(schedule, slots))
    }

    #[test]
    fn slots_are_taken_as_they_fall_due() {
        let (schedule, mut queue) = queue(2);
        assert_eq!(queue.take(at(0)), Next::Fill(schedule.slot(0)));
        assert_eq!(queue.take(at(10)), Next::Wait(at(1_000)));
        assert_eq!(queue.take(at(1_200)), Next::Fill(schedule.slot(1)));
        assert_eq!(queue.take(at(1_200)), Next::Over);
    }

    #[test]
    fn what_waits_is_taken_by_priority() {
        let (schedule, queue) = queue(8);
        let mut queue = queue.with_priorities(Arc::from([1, 0, 9]));
        for (ms, expected) in [(3_500, 2), (3_500, 0), (3_500, 1), (3_600, 3), (4_000, 4)] {
            assert_eq!(queue.take(at(ms)), Next::Fill(schedule.slot(expected)), "{ms} ms");
        }
    }

    #[test]
    fn what_nobody_took_in_time_is_missed_and_the_queue_stays_short() {
        let (schedule, mut queue) = queue(4_000);
        assert_eq!(queue.take(at(500)), Next::Fill(schedule.slot(0)));
        for number in 1..96 {
            assert_eq!(queue.take(at(99_500)), Next::Missed(schedule.slot(number)));
            assert!(queue.waiting.len() <= 4);
        }
        assert_eq!(queue.take(at(99_500)), Next::Fill(schedule.slot(96)));
    }

    #[test]
    fn what_was_settled_before_a_restart_is_not_taken_again() {
        let (schedule, queue) = queue(4);
        let mut queue = queue.without(BTreeSet::from([0, 2]));
        assert_eq!(queue.take(at(3_000)), Next::Fill(schedule.slot(1)));
        assert_eq!(queue.take(at(3_000)), Next::Fill(schedule.slot(3)));
        assert_eq!(queue.take(at(3_000)), Next::Over);
    }
}
