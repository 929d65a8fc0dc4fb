//! Which access token of a pool an API request may spend.
//!
//! Vendors count API requests per token and window, and do not say when the window starts. Keeping
//! to the limit in *every* span of that length is right whichever it is: so the times of the last
//! requests are kept, as many as the limit allows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Timestamp;

/// A vendor's limit for one access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests …
    pub requests: u32,
    /// … in any span this long.
    pub per: Duration,
}

/// Of what others may have spent, one in so many more.
const UNEVEN: u32 = 50;
/// Requests do not arrive as evenly as they left: spans are judged longer by this much.
const ARRIVAL_SLACK: Duration = Duration::from_millis(100);

/// What the tokens of a pool may still be spent on.
#[derive(Clone, Debug)]
pub struct Budget {
    quota: Quota,
    members: Vec<Account>,
    turn: usize,
}

#[derive(Clone, Debug, Default)]
struct Account {
    generation: Option<u64>,
    spent: VecDeque<Timestamp>,
    inherited: Option<Inherited>,
    closed_until: Timestamp,
}

/// A token that others may have spent before it came here: taken for spent evenly, as much as the
/// limit allows, since its issue.
#[derive(Clone, Copy, Debug)]
struct Inherited {
    issued_at: Timestamp,
    at: Timestamp,
}

impl Inherited {
    /// What others may have spent in the span that ends now.
    fn spent(&self, quota: Quota, now: Timestamp) -> usize {
        let begins = self.issued_at.max(now - (quota.per + ARRIVAL_SLACK));
        let overlap = begins.until(self.at).as_nanos() * u128::from(quota.requests);
        let spent = overlap.div_ceil(quota.per.as_nanos().max(1));
        // Others were a little less even than that.
        let uneven = if spent == 0 { 0 } else { u128::from(quota.requests / UNEVEN) };
        usize::try_from(spent + uneven).unwrap_or(usize::MAX).min(quota.requests as usize)
    }
}

/// What an API request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Send it with this member's token.
    Spend {
        /// The pool member.
        member: u16,
    },
    /// Every token is spent until then.
    Wait(Timestamp),
    /// No token is held.
    Empty,
}

impl Budget {
    /// For a pool of `members` tokens.
    pub fn new(quota: Quota, members: u16) -> Self {
        Self { quota, members: vec![Account::default(); usize::from(members.max(1))], turn: 0 }
    }

    /// A member's token changed; a new token has its own budget.
    pub fn publish(&mut self, member: u16, generation: Option<u64>) {
        let Some(account) = self.members.get_mut(usize::from(member)) else {
            return;
        };
        if account.generation != generation {
            *account = Account { generation, ..Account::default() };
        }
    }

    /// The same for a token that others have had since `issued_at`, and may have spent.
    pub fn inherit(&mut self, member: u16, generation: u64, issued_at: Timestamp, now: Timestamp) {
        let known = self.members.get(usize::from(member)).and_then(|account| account.generation);
        self.publish(member, Some(generation));
        if known != Some(generation)
            && let Some(account) = self.members.get_mut(usize::from(member))
        {
            account.inherited = Some(Inherited { issued_at, at: now });
        }
    }

    /// Spends the token with most budget left; those equal take turns.
    pub fn take(&mut self, now: Timestamp) -> Take {
        let span = self.quota.per + ARRIVAL_SLACK;
        let count = self.members.len();
        let mut best: Option<(usize, usize)> = None;
        let mut opens = Timestamp::NEVER;
        let mut held = false;
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            let account = &mut self.members[index];
            if account.generation.is_none() {
                continue;
            }
            held = true;
            while account.spent.front().is_some_and(|&at| at + span <= now) {
                account.spent.pop_front();
            }
            let by_others = account.inherited.map_or(0, |by| by.spent(self.quota, now));
            if by_others == 0 {
                account.inherited = None;
            }
            let spent = account.spent.len() + by_others;
            if now < account.closed_until {
                opens = opens.min(account.closed_until);
            } else if spent >= self.quota.requests as usize {
                let ours = account.spent.front().map_or(Timestamp::NEVER, |&at| at + span);
                let step = self.quota.per / self.quota.requests.max(1);
                let others = if by_others > 0 { now + step } else { Timestamp::NEVER };
                opens = opens.min(ours.min(others));
            } else if best.is_none_or(|(least, _)| spent < least) {
                best = Some((spent, index));
            }
        }
        match best {
            Some((_, index)) => {
                self.members[index].spent.push_back(now);
                self.turn = (index + 1) % count;
                Take::Spend { member: u16::try_from(index).unwrap_or(u16::MAX) }
            }
            None if held => Take::Wait(opens),
            None => Take::Empty,
        }
    }

    /// The API answered 429 to a request with this member's token.
    pub fn throttled(&mut self, member: u16, generation: u64, until: Timestamp) {
        if let Some(account) = self.members.get_mut(usize::from(member))
            && account.generation == Some(generation)
        {
            account.closed_until = account.closed_until.max(until);
        }
    }

    /// Requests that could be sent now, over the whole pool.
    pub fn left(&self, now: Timestamp) -> u64 {
        let span = self.quota.per + ARRIVAL_SLACK;
        let left = |account: &Account| {
            if now < account.closed_until {
                return 0;
            }
            let ours = account.spent.iter().filter(|&&at| at + span > now).count();
            let by_others = account.inherited.map_or(0, |by| by.spent(self.quota, now));
            u64::from(self.quota.requests).saturating_sub((ours + by_others) as u64)
        };
        self.members.iter().filter(|account| account.generation.is_some()).map(left).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { requests: 2, per: Duration::from_secs(10) };

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn tokens_take_turns_until_all_are_spent() {
        let mut budget = Budget::new(QUOTA, 2);
        assert_eq!(budget.take(at(0)), Take::Empty);
        budget.publish(0, Some(1));
        budget.publish(1, Some(1));
        assert_eq!(budget.left(at(0)), 4);
        let taken: Vec<_> = (0..5).map(|i| budget.take(at(i))).collect();
        let spend = |member| Take::Spend { member };
        assert_eq!(taken[..4], [spend(0), spend(1), spend(0), spend(1)]);
        assert_eq!(taken[4], Take::Wait(at(10_100)));
        assert_eq!(budget.take(at(10_100)), spend(0));
    }

    #[test]
    fn no_span_ever_holds_more_than_the_quota() {
        let quota = Quota { requests: 50, per: Duration::from_secs(10) };
        let mut budget = Budget::new(quota, 1);
        budget.publish(0, Some(1));
        let mut sent: Vec<u64> = Vec::new();
        for now in 0..60_000 {
            if let Take::Spend { .. } = budget.take(at(now)) {
                sent.push(now);
            }
        }
        assert!(sent.len() >= 290, "{}", sent.len());
        for (i, start) in sent.iter().enumerate() {
            let within = sent[i..].iter().take_while(|&&t| t < start + 10_000).count();
            assert!(within <= 50, "{within} from {start}");
        }
    }

    #[test]
    fn a_token_that_others_had_is_taken_for_spent() {
        let quota = Quota { requests: 50, per: Duration::from_secs(10) };
        #[rustfmt::skip]
        let cases = [
            // issued so many ms before, left at once, after 5 s, after 11 s
            (60_000, 0,  23, 50),
            (5_000,  24, 24, 50),
            (0,      50, 50, 50),
        ];
        for (age, at_once, later, at_last) in cases {
            let mut budget = Budget::new(quota, 1);
            budget.inherit(0, 7, at(100_000 - age), at(100_000));
            let left = [0, 5_000, 11_000].map(|after| budget.left(at(100_000 + after)));
            assert_eq!(left, [at_once, later, at_last], "{age} ms old");
        }
        // Whatever others did within the limit, evenly, and we do after: no span has more.
        let mut budget = Budget::new(quota, 1);
        budget.inherit(0, 7, at(0), at(100_000));
        let mut sent: Vec<u64> = (1..=50).map(|number| 90_000 + number * 200).collect();
        let mut now = 100_000;
        while now < 130_000 {
            match budget.take(at(now)) {
                Take::Spend { .. } => sent.push(now),
                Take::Wait(opens) => {
                    assert!(opens > at(now), "it never waits for now");
                    now = opens.as_nanos().div_ceil(1_000_000) - 1;
                }
                Take::Empty => unreachable!("a token is held"),
            }
            now += 1;
        }
        assert!(sent.len() >= 190, "{}", sent.len());
        for (i, start) in sent.iter().enumerate() {
            let within = sent[i..].iter().take_while(|&&t| t < start + 10_000).count();
            assert!(within <= 50, "{within} from {start}");
        }
    }

    #[test]
    fn a_429_rests_one_token_and_a_new_one_starts_afresh() {
        let mut budget = Budget::new(QUOTA, 1);
        budget.publish(0, Some(1));
        budget.throttled(0, 1, at(5_000));
        assert_eq!(budget.take(at(0)), Take::Wait(at(5_000)));
        assert_eq!((budget.left(at(0)), budget.left(at(5_000))), (0, 2));
        budget.publish(0, Some(2));
        assert_eq!(budget.take(at(1)), Take::Spend { member: 0 });
        budget.publish(0, None);
        assert_eq!(budget.take(at(2)), Take::Empty);
    }
}
