//! The agents' slots in the order in which they fall due, without a division for each.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::START;

/// Agent `i` of `n` is due in round `k` at `START + (k + i/n) · period`, rounded down to the
/// nanosecond: exactly the poller's schedule.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    agents: u64,
    /// A slot's share of the period, and what that leaves over.
    step: (u64, u64),
    rest: u64,
    due: Timestamp,
    left: u64,
    period: Duration,
}

impl Slots {
    /// Those that fall due within `length`.
    pub(super) fn within(agents: u32, period: Duration, length: Duration) -> Self {
        let agents = u64::from(agents.max(1));
        let period = period.max(Duration::from_nanos(1));
        let nanoseconds = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let slots = (length.as_nanos() * u128::from(agents)).div_ceil(period.as_nanos());
        Self {
            agents,
            step: (nanoseconds / agents, nanoseconds % agents),
            rest: 0,
            due: START,
            left: u64::try_from(slots).unwrap_or(u64::MAX),
            period,
        }
    }

    /// When the next slot is due; `None` after the last.
    pub(super) fn due(&self) -> Option<Timestamp> {
        (self.left > 0).then_some(self.due)
    }

    /// How many there are from here to the last.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// When the slot due then closes: the agent's next one is due.
    pub(super) fn closes(&self, due: Timestamp) -> Timestamp {
        due + self.period
    }

    pub(super) fn advance(&mut self) {
        self.left -= 1;
        self.rest += self.step.1;
        let carry = u64::from(self.rest >= self.agents);
        self.rest -= carry * self.agents;
        self.due += Duration::from_nanos(self.step.0 + carry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fall_due_where_the_fraction_says() {
        for (agents, period) in [(1_u32, 5_000), (7, 1_000), (1000, 5_000), (999, 60_000)] {
            let period = Duration::from_millis(period);
            let mut slots = Slots::within(agents, period, period * 3);
            for number in 0..u128::from(agents) * 3 {
                let expected = period.as_nanos() * number / u128::from(agents);
                let due = slots.due().map(|due| START.until(due).as_nanos());
                assert_eq!(due, Some(expected), "{number} of {agents}");
                slots.advance();
            }
            assert_eq!(slots.due(), None);
        }
    }
}
