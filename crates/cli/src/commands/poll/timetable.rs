//! Which slot is due when, over restarts and reboots.
//!
//! Slots are numbered from an anchor on the wall clock, so that a slot keeps its number whoever
//! polls it. What runs goes by the clock that counts, from the first round that may still be filled.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use bellwether_delivery::{Cursor, Plan, Resumed};
use bellwether_lifecycle::Timestamp;
use bellwether_poller::Schedule;
use bellwether_store::Clock;

use super::due_at;

/// A cursor that lies further ahead was written by a clock that was wrong, or is read by one.
const FURTHEST_AHEAD_MS: u64 = 2_000;

/// What to poll from now on, and what was settled before.
#[derive(Clone, Debug)]
pub(super) struct Timetable {
    pub(super) cursor: Cursor,
    pub(super) schedule: Schedule,
    /// Slots from the watermark on that are settled.
    pub(super) settled: BTreeSet<u64>,
    /// Slots before this one that nobody settled closed while nobody polled.
    pub(super) opens: u64,
    /// Gaps to fill.
    pub(super) gaps: BTreeSet<u64>,
    /// A series that this one follows, and what of it nobody was told.
    pub(super) ended: Option<(Cursor, Vec<Range<u64>>)>,
}

impl Timetable {
    pub(super) fn new(plan: Plan, resumed: Option<Resumed>, clock: &dyn Clock) -> Self {
        let wall = clock.wall().as_millis();
        let is_same = |resumed: &Resumed| {
            let cursor = &resumed.cursor;
            let reached = due_at(cursor, cursor.watermark);
            cursor.plan == plan && reached <= wall + FURTHEST_AHEAD_MS
        };
        let (goes_on, ended) = match resumed {
            Some(resumed) if is_same(&resumed) => (Some(resumed), None),
            ended => (None, ended),
        };
        let series = ended.as_ref().map_or(1, |ended| ended.cursor.series + 1);
        let ended = ended.map(|Resumed { cursor, settled, .. }| {
            let untold = untold(cursor.watermark..due_by(&cursor, wall), &settled);
            (cursor, untold)
        });
        let Resumed { cursor, settled, mut gaps } = goes_on.unwrap_or_else(|| Resumed {
            cursor: Cursor::begin(plan, series, wall),
            settled: BTreeSet::new(),
            gaps: BTreeSet::new(),
        });
        gaps.extend(&cursor.backfill);
        let Plan { period, units, .. } = cursor.plan;
        let now = clock.now();
        let elapsed = wall.saturating_sub(cursor.anchor);
        // The round before the present one may have slots that are open.
        let mut round = (elapsed / period.max(1)).saturating_sub(1);
        let begins_at = |round: u64| due_at(&cursor, round * units);
        // Right after a boot, the clock that counts does not reach back so far.
        while begins_at(round) < wall && !reaches(now, wall - begins_at(round)) {
            round += 1;
        }
        let begins_at = begins_at(round);
        let start = match wall.checked_sub(begins_at) {
            Some(ago) => now - Duration::from_millis(ago),
            None => now + Duration::from_millis(begins_at - wall),
        };
        let agents = u32::try_from(units).unwrap_or(u32::MAX);
        let schedule =
            Schedule::new(start, Duration::from_millis(period), agents).from_round(round);
        let mut opens = schedule.first();
        while schedule.slot(opens).closes <= now {
            opens += 1;
        }
        Self { cursor, schedule, settled, opens, gaps, ended }
    }

    /// When a slot is due, in milliseconds since the epoch.
    pub(super) fn due_at(&self, slot: u64) -> u64 {
        due_at(&self.cursor, slot)
    }

    /// Slots that were missed while nobody polled, as ranges.
    pub(super) fn missed(&self) -> Vec<Range<u64>> {
        untold(self.cursor.watermark..self.opens, &self.settled)
    }

    /// How many slots were missed while nobody polled.
    pub(super) fn absent(&self) -> u64 {
        self.missed().iter().map(|slots| slots.end - slots.start).sum()
    }

    /// Slots that the poller need not take.
    pub(super) fn left_out(&self) -> BTreeSet<u64> {
        let first = self.schedule.first();
        // After a clean stop the watermark may lie ahead of what is open.
        let before = first..self.opens.max(self.cursor.watermark);
        before.chain(self.settled.range(first..).copied()).collect()
    }
}

/// The stretches of `slots` without those that are settled.
fn untold(slots: Range<u64>, settled: &BTreeSet<u64>) -> Vec<Range<u64>> {
    let (mut from, end) = (slots.start, slots.end);
    let mut untold = Vec::new();
    for &settled in settled.range(from..end.max(from)) {
        if from < settled {
            untold.push(from..settled);
        }
        from = settled + 1;
    }
    if from < end {
        untold.push(from..end);
    }
    untold
}

/// The number behind the last slot that was due by then.
fn due_by(cursor: &Cursor, wall: u64) -> u64 {
    let Plan { period, units, .. } = cursor.plan;
    let passed = u128::from(wall.saturating_sub(cursor.anchor)) * u128::from(units);
    u64::try_from(passed / u128::from(period.max(1))).unwrap_or(u64::MAX)
}

fn reaches(now: Timestamp, ago: u64) -> bool {
    now.since(Timestamp::ZERO) >= Duration::from_millis(ago)
}

#[cfg(test)]
mod tests {
    use bellwether_lifecycle::UnixTime;
    use bellwether_store::BootId;

    use super::*;

    #[derive(Debug)]
    struct At {
        boot_ms: u64,
        wall_ms: u64,
    }

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::ZERO + Duration::from_millis(self.boot_ms)
        }

        fn wall(&self) -> UnixTime {
            UnixTime::from_millis(self.wall_ms)
        }

        fn boot_id(&self) -> BootId {
            BootId::UNKNOWN
        }
    }

    fn plan() -> Plan {
        Plan { poll: "p".into(), digest: "d".into(), period: 4_000, units: 4 }
    }

    fn resumed(watermark: u64, settled: &[u64]) -> Option<Resumed> {
        let cursor = Cursor { watermark, ..Cursor::begin(plan(), 1, 1_000_000) };
        let settled = settled.iter().copied().collect();
        Some(Resumed { cursor, settled, gaps: BTreeSet::new() })
    }

    #[test]
    fn it_goes_on_with_the_slots_that_are_open() {
        #[rustfmt::skip]
        let cases = [
            // since boot, since the anchor, watermark, settled, the first that is open, missed
            (900_000, 0,      0,  &[][..],   0,  &[][..]),
            (900_000, 3_500,  2,  &[],       0,  &[]),
            (900_000, 9_500,  2,  &[3, 5],   6,  &[(2, 3), (4, 5)]),
            (900_000, 9_500,  2,  &[3, 7],   6,  &[(2, 3), (4, 6)]),
            (900_000, 99_500, 8,  &[],       96, &[(8, 96)]),
            // Just booted: the round before cannot be told any more.
            (100,     9_500,  2,  &[],       12, &[(2, 12)]),
        ];
        for (boot_ms, passed, watermark, settled, opens, missed) in cases {
            let clock = At { boot_ms, wall_ms: 1_000_000 + passed };
            let timetable = Timetable::new(plan(), resumed(watermark, settled), &clock);
            let told: Vec<_> = timetable.missed().iter().map(|all| (all.start, all.end)).collect();
            assert_eq!((timetable.opens, &*told), (opens, missed), "{passed} {watermark}");
            assert_eq!(timetable.cursor.series, 1);
            let slot = timetable.schedule.slot(opens.max(timetable.schedule.first()));
            let due = timetable.due_at(slot.number);
            let by_wall = i128::from(due) - i128::from(clock.wall_ms);
            let by_count =
                slot.due.since(Timestamp::ZERO).as_millis() as i128 - i128::from(boot_ms);
            assert_eq!(by_wall, by_count, "{passed}: both clocks agree when it is due");
        }
    }

    #[test]
    fn what_the_poller_leaves_out_is_settled_or_told() {
        let clock = At { boot_ms: 900_000, wall_ms: 1_009_500 };
        let timetable = Timetable::new(plan(), resumed(2, &[3, 7]), &clock);
        assert_eq!(timetable.left_out(), BTreeSet::from([4, 5, 7]));
        // Everything that was due is settled.
        let timetable = Timetable::new(plan(), resumed(10, &[]), &clock);
        assert_eq!(timetable.left_out(), (4..10).collect());
        assert!(timetable.missed().is_empty());
    }

    #[test]
    fn another_plan_or_a_clock_that_was_wrong_begins_another_series() {
        let clock = At { boot_ms: 900_000, wall_ms: 1_009_500 };
        let other = Plan { digest: "other".into(), ..plan() };
        let timetable = Timetable::new(other, resumed(2, &[3]), &clock);
        assert_eq!((timetable.cursor.series, timetable.cursor.watermark), (2, 0));
        assert!(timetable.settled.is_empty() && timetable.missed().is_empty());
        let (ended, untold) = timetable.ended.expect("the one before");
        assert_eq!((ended.series, untold), (1, vec![2..3, 4..9]), "9.5 s are nine slots");
        let clock = At { boot_ms: 900_000, wall_ms: 900_000 };
        assert_eq!(Timetable::new(plan(), resumed(2, &[]), &clock).cursor.series, 2);
        // An hour ahead when the cursor was written, and set right since.
        let clock = At { boot_ms: 9_000_000, wall_ms: 1_100_000 };
        assert_eq!(Timetable::new(plan(), resumed(3_700, &[]), &clock).cursor.series, 2);
        assert_eq!(Timetable::new(plan(), None, &clock).cursor.series, 1);
    }
}
