//! What became of each slot.
//!
//! A slot is *due*, and then exactly one of three: *done*, sampled within a quarter of the period;
//! *late*, sampled after that but before the agent's next slot was due; or a *gap*. A quarter: what
//! watches the data still takes such a sample for the slot's own.
//!
//! Latency counts from when a slot was due, not from when a worker came round to it, so that a
//! poller that falls behind cannot look fast. A gap counts as one period, the least it can be.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use hdrhistogram::Histogram;

use crate::schedule::{Schedule, Slot};

/// A sample that comes later than this share of the period is late.
const LATE_AFTER: u32 = 4;
/// Latencies up to an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;
/// 0.1 % is finer than anybody reads.
const DIGITS: u8 = 3;

/// Every slot from the first to the last, each counted once.
#[derive(Clone, Debug)]
pub struct Ledger {
    schedule: Schedule,
    /// The number behind the last slot, and behind the last that fell due.
    end: u64,
    next: u64,
    due: u64,
    done: u64,
    late: u64,
    gaps: u64,
    /// Slots that may still be sampled, by number from `first_open`: whether they have been.
    open: VecDeque<bool>,
    first_open: u64,
    /// Slots that are not counted: they were, before a restart.
    left_out: BTreeSet<u64>,
    latency: Histogram<u64>,
}

/// Slots by what became of them: `due = done + late + gaps + open`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All that fell due.
    pub due: u64,
    /// Sampled in time.
    pub done: u64,
    /// Sampled, but later than a quarter of the period.
    pub late: u64,
    /// Without a sample when the agent's next slot was due.
    pub gaps: u64,
    /// Not decided yet.
    pub open: u64,
}

/// Latency from when slots were due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Half of the slots took no longer.
    pub p50: Duration,
    /// 99 of 100 slots took no longer.
    pub p99: Duration,
}

/// What a sample did for its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// It came in time.
    Done,
    /// It came late.
    Late,
    /// Nothing: the slot had closed, was filled already, or was not due.
    NotOpen,
}

impl Ledger {
    /// For the first `slots` slots of a schedule.
    pub fn new(schedule: Schedule, slots: u64) -> Self {
        let latency =
            Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("bounds in order, digits 0 to 5");
        Self {
            schedule,
            end: schedule.first().saturating_add(slots),
            next: schedule.first(),
            due: 0,
            done: 0,
            late: 0,
            gaps: 0,
            open: VecDeque::new(),
            first_open: schedule.first(),
            left_out: BTreeSet::new(),
            latency,
        }
    }

    /// Does not count these slots: they were counted before a restart.
    pub fn leave_out(&mut self, settled: &BTreeSet<u64>) {
        self.left_out.extend(settled.range(self.next..));
    }

    /// Lets time pass: slots fall due, and those that nobody sampled become gaps.
    pub fn advance(&mut self, now: Timestamp) {
        while self.next < self.end && self.schedule.slot(self.next).due <= now {
            let is_left_out = self.left_out.remove(&self.next);
            self.next += 1;
            self.due += u64::from(!is_left_out);
            self.open.push_back(is_left_out);
        }
        while let Some(&sampled) = self.open.front()
            && self.schedule.slot(self.first_open).closes <= now
        {
            self.open.pop_front();
            self.first_open += 1;
            if !sampled {
                self.gaps += 1;
                self.note_latency(self.schedule.period());
            }
        }
    }

    /// Notes a sample that arrived at `at`.
    pub fn fill(&mut self, slot: Slot, at: Timestamp) -> Filled {
        self.advance(at);
        let place = slot.number.checked_sub(self.first_open).map(usize::try_from);
        let Some(Ok(place)) = place else { return Filled::NotOpen };
        match self.open.get_mut(place) {
            Some(sampled) if !*sampled => *sampled = true,
            Some(_) | None => return Filled::NotOpen,
        }
        let latency = slot.due.until(at);
        self.note_latency(latency);
        if latency > self.schedule.period() / LATE_AFTER {
            self.late += 1;
            Filled::Late
        } else {
            self.done += 1;
            Filled::Done
        }
    }

    /// The counts so far.
    ///
    /// # Panics
    /// If they do not add up: no figure is better than a wrong one.
    pub fn tally(&self) -> Tally {
        let open = self.open.iter().filter(|sampled| !**sampled).count() as u64;
        let Self { due, done, late, gaps, .. } = *self;
        assert_eq!(due, done + late + gaps + open, "every slot that is due is counted once");
        Tally { due, done, late, gaps, open }
    }

    /// Latency of the slots that are decided.
    pub fn percentiles(&self) -> Percentiles {
        // A bucket's upper edge may lie past the longest latency there can be.
        let at = |quantile| {
            let latency = Duration::from_micros(self.latency.value_at_quantile(quantile));
            latency.min(self.schedule.period())
        };
        Percentiles { p50: at(0.50), p99: at(0.99) }
    }

    fn note_latency(&mut self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(microseconds.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(4);

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_secs(50) + Duration::from_millis(milliseconds)
    }

    fn ledger(agents: u32, slots: u64) -> (Schedule, Ledger) {
        let schedule = Schedule::new(at(0), PERIOD, agents);
        (schedule, Ledger::new(schedule, slots))
    }

    #[test]
    fn a_sample_is_in_time_late_or_too_late() {
        #[rustfmt::skip]
        let cases = [
            // ms after due, filled,           done, late, gaps
            (   0,           Filled::Done,     1,    0,    0),
            (1000,           Filled::Done,     1,    0,    0),
            (1001,           Filled::Late,     0,    1,    0),
            (3999,           Filled::Late,     0,    1,    0),
            (4000,           Filled::NotOpen,  0,    0,    1),
            (9000,           Filled::NotOpen,  0,    0,    1),
        ];
        for (after, filled, done, late, gaps) in cases {
            let (schedule, mut ledger) = ledger(1, 1);
            assert_eq!(ledger.fill(schedule.slot(0), at(after)), filled, "{after} ms");
            let expected = Tally { due: 1, done, late, gaps, open: 0 };
            assert_eq!(ledger.tally(), expected, "{after} ms");
        }
    }

    #[test]
    fn time_alone_opens_and_closes_slots() {
        let (_, mut ledger) = ledger(4, 6);
        #[rustfmt::skip]
        let story = [
            // ms,   due, gaps, open
            (0,      1,   0,    1),
            (999,    1,   0,    1),
            (1_000,  2,   0,    2),
            (3_999,  4,   0,    4),
            (4_000,  5,   1,    4),
            (5_000,  6,   2,    4),
            (60_000, 6,   6,    0),
        ];
        for (ms, due, gaps, open) in story {
            ledger.advance(at(ms));
            assert_eq!(ledger.tally(), Tally { due, gaps, open, ..Tally::default() }, "{ms} ms");
        }
    }

    #[test]
    fn a_slot_is_filled_once_and_not_before_it_is_due() {
        let (schedule, mut ledger) = ledger(2, 4);
        assert_eq!(ledger.fill(schedule.slot(1), at(100)), Filled::NotOpen, "not due yet");
        assert_eq!(ledger.fill(schedule.slot(0), at(100)), Filled::Done);
        assert_eq!(ledger.fill(schedule.slot(0), at(200)), Filled::NotOpen, "filled already");
        assert_eq!(ledger.fill(schedule.slot(9), at(90_000)), Filled::NotOpen, "not of this run");
        assert_eq!(ledger.tally(), Tally { due: 4, done: 1, gaps: 3, ..Tally::default() });
    }

    #[test]
    fn whatever_the_order_it_adds_up() {
        let (schedule, mut ledger) = ledger(7, 700);
        let mut random = fastrand::Rng::with_seed(3);
        let mut now = 0;
        while now < 500_000 {
            now += random.u64(0..700);
            let newest = now * 7 / 4_000;
            let number = newest.saturating_sub(random.u64(0..9));
            ledger.fill(schedule.slot(number), at(now));
            let tally = ledger.tally();
            assert!(tally.open <= 7, "{tally:?}");
        }
        let tally = ledger.tally();
        assert_eq!((tally.due, tally.open), (700, 0));
        assert!(tally.done > 0 && tally.late > 0 && tally.gaps > 0, "{tally:?}");
    }

    #[test]
    fn latency_counts_from_due_and_a_gap_counts_as_a_period() {
        let (schedule, mut ledger) = ledger(100, 100);
        assert_eq!(ledger.percentiles(), Percentiles::default());
        for number in 0..98 {
            let slot = schedule.slot(number);
            ledger.fill(slot, slot.due + Duration::from_millis(20));
        }
        ledger.advance(at(60_000));
        let Percentiles { p50, p99 } = ledger.percentiles();
        let near = |found: Duration, ms: f64| (found.as_secs_f64() * 1e3 / ms - 1.0).abs() < 0.01;
        assert!(near(p50, 20.0) && near(p99, 4000.0), "{p50:?} {p99:?}");
    }
}
