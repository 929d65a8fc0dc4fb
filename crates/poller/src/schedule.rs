//! When each agent is due.

use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;

const NANOSECONDS: u128 = 1_000_000_000;

/// Agents at a fixed period, spread evenly over it: of `n` agents, agent `i` is due in round `k` at
/// `start + (k + i/n) · period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    start: Timestamp,
    period: Duration,
    agents: u32,
    /// The number of the slot that is due at `start`.
    first: u64,
}

/// One agent's turn in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Counts all slots in the order in which they fall due.
    pub number: u64,
    /// Whose turn it is.
    pub agent: u32,
    /// When a sample is due.
    pub due: Timestamp,
    /// When the agent's next slot is due: a sample from then on fills no gap.
    pub closes: Timestamp,
}

impl Schedule {
    /// From `start` on. At least one agent, and a period of at least a nanosecond, are assumed
    /// where there is less.
    pub fn new(start: Timestamp, period: Duration, agents: u32) -> Self {
        let (period, agents) = (period.max(Duration::from_nanos(1)), agents.max(1));
        Self { start, period, agents, first: 0 }
    }

    /// The same, but what is due at the start is the first slot of this round: slots keep their
    /// numbers over a restart.
    #[must_use]
    pub fn from_round(self, round: u64) -> Self {
        Self { first: round.saturating_mul(u64::from(self.agents)), ..self }
    }

    /// The number of the first slot.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The time between two slots of one agent.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// How many agents there are.
    pub fn agents(&self) -> u32 {
        self.agents
    }

    /// The slot with this number.
    pub fn slot(&self, number: u64) -> Slot {
        let agents = u64::from(self.agents);
        Slot {
            number,
            agent: u32::try_from(number % agents).unwrap_or(u32::MAX),
            due: self.due(number),
            closes: self.due(number.saturating_add(agents)),
        }
    }

    /// How many slots fall due before `duration` has passed.
    pub fn slots_within(&self, duration: Duration) -> u64 {
        let slots =
            (duration.as_nanos() * u128::from(self.agents)).div_ceil(self.period.as_nanos());
        u64::try_from(slots).unwrap_or(u64::MAX)
    }

    fn due(&self, number: u64) -> Timestamp {
        let passed = u128::from(number.saturating_sub(self.first));
        let after = self.period.as_nanos() * passed / u128::from(self.agents);
        let seconds = u64::try_from(after / NANOSECONDS).unwrap_or(u64::MAX);
        let nanoseconds = u32::try_from(after % NANOSECONDS).unwrap_or(0);
        self.start + Duration::new(seconds, nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_spread_evenly_over_the_period() {
        let start = Timestamp::from_secs(100);
        let schedule = Schedule::new(start, Duration::from_secs(6), 4);
        #[rustfmt::skip]
        let cases = [
            // slot, agent, due ms, closes ms
            (0, 0,      0,  6_000),
            (1, 1,  1_500,  7_500),
            (3, 3,  4_500, 10_500),
            (4, 0,  6_000, 12_000),
            (9, 1, 13_500, 19_500),
        ];
        for (number, agent, due, closes) in cases {
            let at = |ms| start + Duration::from_millis(ms);
            let expected = Slot { number, agent, due: at(due), closes: at(closes) };
            assert_eq!(schedule.slot(number), expected);
        }
    }

    #[test]
    fn an_uneven_spread_does_not_drift() {
        let schedule = Schedule::new(Timestamp::ZERO, Duration::from_secs(1), 3);
        for round in [1_u64, 1_000, 1_000_000_000] {
            assert_eq!(schedule.slot(3 * round).due, Timestamp::from_secs(round));
        }
    }

    #[test]
    fn a_later_round_begins_with_its_own_numbers() {
        let start = Timestamp::from_secs(9);
        let schedule = Schedule::new(start, Duration::from_secs(6), 4).from_round(250);
        assert_eq!(schedule.first(), 1000);
        let slot = schedule.slot(1001);
        assert_eq!((slot.agent, slot.due), (1, start + Duration::from_millis(1_500)));
        assert_eq!(slot.closes, start + Duration::from_millis(7_500));
    }

    #[test]
    fn slots_within_counts_what_is_due_before() {
        let schedule = Schedule::new(Timestamp::ZERO, Duration::from_secs(5), 1000);
        let within = |ms| schedule.slots_within(Duration::from_millis(ms));
        let cases = [(0, 0), (1, 1), (5, 1), (6, 2), (5_000, 1000), (30_000, 6000)];
        for (ms, expected) in cases {
            assert_eq!(within(ms), expected, "{ms} ms");
        }
    }
}
