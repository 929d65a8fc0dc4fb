//! Which access token of a pool an API request may spend.
//!
//! Vendors count API requests per token and window, and do not say when the window starts. Keeping
//! to the limit in *every* span of that length is right whichever it is: so the times of the last
//! requests are kept, as many as the limit allows. Where no limit is known beforehand, what answers
//! tell of it is kept to ([`Told`]); a budget that was told nothing limits nothing.
//!
//! A token that the API refused rests while it is found out whether a newer one cures that: when
//! many tokens died at once, the others are not spent one after the other only to hear the same.

mod account;

use std::time::Duration;

use crate::time::Timestamp;
use account::{Account, Room};

/// A vendor's limit for one access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests …
    pub requests: u32,
    /// … in any span this long.
    pub per: Duration,
}

/// Requests do not arrive as evenly as they left: spans are judged longer by a share of theirs.
const ARRIVAL_SHARE: u32 = 100;
/// And not by less than this …
const LEAST_SLACK: Duration = Duration::from_millis(100);
/// … nor by more, however long the span is.
const MOST_SLACK: Duration = Duration::from_secs(1);

impl Quota {
    /// How long a request counts.
    fn span(self) -> Duration {
        self.per + (self.per / ARRIVAL_SHARE).clamp(LEAST_SLACK, MOST_SLACK)
    }
}

/// What an answer told of the limit for its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Requests that were left when it was written.
    pub remaining: u32,
    /// Requests that the limit allows in all, if it said so.
    pub limit: Option<u32>,
    /// From the answer until the limit starts afresh.
    pub resets_in: Duration,
}

/// What the tokens of a pool may still be spent on.
#[derive(Clone, Debug)]
pub struct Budget {
    quota: Option<Quota>,
    members: Vec<Account>,
    turn: usize,
}

/// What an API request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Send it with this member's token.
    Spend {
        /// The pool member.
        member: u16,
    },
    /// Every token is spent, or rests, until then.
    Wait(Timestamp),
    /// No token is held.
    Empty,
}

impl Budget {
    /// For a pool of `members` tokens. Without a quota only what answers tell is kept to.
    pub fn new(quota: impl Into<Option<Quota>>, members: u16) -> Self {
        let members = vec![Account::default(); usize::from(members.max(1))];
        Self { quota: quota.into(), members, turn: 0 }
    }

    /// A member's token changed; a new token has its own budget.
    pub fn publish(&mut self, member: u16, generation: Option<u64>) {
        let Some(account) = self.members.get_mut(usize::from(member)) else {
            return;
        };
        if account.generation != generation {
            *account = Account::of(generation);
        }
    }

    /// The same for a token that others have had since `issued_at`, and may have spent.
    pub fn inherit(&mut self, member: u16, generation: u64, issued_at: Timestamp, now: Timestamp) {
        let known = self.members.get(usize::from(member)).and_then(|account| account.generation);
        self.publish(member, Some(generation));
        if known != Some(generation)
            && let Some(account) = self.members.get_mut(usize::from(member))
        {
            account.inherit(issued_at, now);
        }
    }

    /// Spends the token with most budget left; those equal take turns.
    pub fn take(&mut self, now: Timestamp) -> Take {
        let count = self.members.len();
        let mut best: Option<(u64, usize)> = None;
        let mut opens = Timestamp::NEVER;
        let mut held = false;
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            let account = &mut self.members[index];
            if account.generation.is_none() {
                continue;
            }
            held = true;
            match account.room(self.quota, now) {
                Room::Until(at) => opens = opens.min(at),
                Room::For(room) if best.is_none_or(|(most, _)| room > most) => {
                    best = Some((room, index));
                }
                Room::For(_) => {}
            }
        }
        match best {
            Some((_, index)) => {
                self.members[index].spend(self.quota, now);
                self.turn = (index + 1) % count;
                Take::Spend { member: u16::try_from(index).unwrap_or(u16::MAX) }
            }
            None if held => Take::Wait(opens),
            None => Take::Empty,
        }
    }

    /// Which token of this member is counted for.
    pub fn generation(&self, member: u16) -> Option<u64> {
        self.members.get(usize::from(member))?.generation
    }

    /// What was taken last for this token was not sent.
    pub fn give_back(&mut self, member: u16, generation: u64) {
        if let Some(account) = self.account(member, generation) {
            account.give_back();
        }
    }

    /// The API answered 429 to a request with this member's token. Where that is known to have
    /// been the limit of one resource among several, it holds no other request back.
    pub fn throttled(&mut self, member: u16, generation: u64, until: Timestamp) {
        if let Some(account) = self.account(member, generation) {
            account.close(until);
        }
    }

    /// An answer to a request that was sent at `sent_at` told this of the limit, or nothing. What
    /// a quota says beforehand is not overruled.
    ///
    /// Answers that tell of different limits, or tell of one here and of none there, speak of some
    /// of the API's resources each. What is left of one of them then holds no other request back.
    pub fn told(
        &mut self,
        member: u16,
        generation: u64,
        told: Option<Told>,
        sent_at: Timestamp,
        now: Timestamp,
    ) {
        if self.quota.is_none()
            && let Some(account) = self.account(member, generation)
        {
            account.told(told, sent_at, now);
        }
    }

    /// Whether what answers tell is kept to for any token: then an answer that tells nothing is news.
    pub fn was_told(&self) -> bool {
        self.members.iter().any(Account::was_told)
    }

    /// The API refused this member's token: it rests until more is known, for 2 s at most, and then
    /// one request finds out.
    pub fn refused(&mut self, member: u16, generation: u64, now: Timestamp) {
        if let Some(account) = self.account(member, generation) {
            account.rest(now);
        }
    }

    /// The API took this member's token in a request that was sent after the refused one.
    pub fn accepted(&mut self, member: u16, generation: u64) {
        if let Some(account) = self.account(member, generation) {
            account.relieve();
        }
    }

    /// A refusal stands: the fault is not the tokens', and none rests for it.
    pub fn relieve(&mut self) {
        self.members.iter_mut().for_each(Account::relieve);
    }

    /// Requests that could be sent at `at`, over the whole pool, if none is sent before; `None`
    /// where one token has no known limit.
    pub fn left(&self, at: Timestamp) -> Option<u64> {
        let held = self.members.iter().filter(|account| account.generation.is_some());
        let mut sum = 0_u64;
        for account in held {
            match account.left(self.quota, at) {
                Room::For(u64::MAX) => return None,
                Room::For(room) => sum = sum.saturating_add(room),
                Room::Until(_) => {}
            }
        }
        Some(sum)
    }

    /// When about `places` requests have had room, to 50 ms and within the hour.
    pub fn opens_for(&self, places: u64, now: Timestamp) -> Timestamp {
        let after = |steps: u32| now + STEP * steps;
        let most = self.left(after(FARTHEST)).unwrap_or(u64::MAX);
        // More than all tokens allow at once: as many spans as it takes.
        let spans = places.saturating_sub(1) / most.max(1);
        let places = places - spans * most.max(1);
        let has_room = |steps| self.left(after(steps)).is_none_or(|left| left >= places);
        let (mut before, mut by) = (0, 1);
        while !has_room(by) && by < FARTHEST {
            (before, by) = (by, (by * 2).min(FARTHEST));
        }
        while by - before > 1 {
            let middle = before.midpoint(by);
            if has_room(middle) { by = middle } else { before = middle }
        }
        let span = self.quota.map_or(UNKNOWN_SPAN, Quota::span);
        let spans = span.saturating_mul(u32::try_from(spans).unwrap_or(u32::MAX));
        (after(by) + spans).min(after(FARTHEST))
    }

    fn account(&mut self, member: u16, generation: u64) -> Option<&mut Account> {
        let account = self.members.get_mut(usize::from(member))?;
        (account.generation == Some(generation)).then_some(account)
    }
}

/// How closely it is looked when there will be room.
const STEP: Duration = Duration::from_millis(50);
/// Steps that a caller is told to stay away, at most: an hour.
const FARTHEST: u32 = 3600 * 20;
/// What limits that only answers tell of are taken to be counted in, where several follow.
const UNKNOWN_SPAN: Duration = Duration::from_secs(60);

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
        assert_eq!(budget.left(at(0)), Some(4));
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
            assert_eq!(left, [at_once, later, at_last].map(Some), "{age} ms old");
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
        assert_eq!((budget.left(at(0)), budget.left(at(5_000))), (Some(0), Some(2)));
        budget.publish(0, Some(2));
        assert_eq!(budget.take(at(1)), Take::Spend { member: 0 });
        budget.publish(0, None);
        assert_eq!(budget.take(at(2)), Take::Empty);
    }
}
