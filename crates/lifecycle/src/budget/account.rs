//! What one token may still be spent on.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Quota, Told};
use crate::time::Timestamp;

/// Of what others may have spent, one in so many more.
const UNEVEN: u32 = 50;
/// Requests under way that are remembered where no quota is known: a limit that an answer tells of
/// does not count them yet.
const UNDER_WAY: usize = 1024;
/// What is told of one and the same window differs by as much, since servers count whole seconds.
const SAME_WINDOW: Duration = Duration::from_secs(2);
/// A window is not believed to be shorter, nor longer.
const WINDOWS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// How long a refused token rests, and how long the one request after that may take.
const REST: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) generation: Option<u64>,
    closed_until: Timestamp,
    spent: VecDeque<Timestamp>,
    inherited: Option<Inherited>,
    limits: Limits,
    rest: Rest,
}

/// What a token has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// So many requests; [`u64::MAX`] without a limit.
    For(u64),
    /// None until then.
    Until(Timestamp),
}

/// What answers told.
#[derive(Clone, Copy, Debug, Default)]
enum Limits {
    #[default]
    Untold,
    Told(Window),
    /// Of several limits, each for some resources: none of them holds every request back.
    Several,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    left: u32,
    limit: Option<u32>,
    until: Timestamp,
    length: Duration,
}

/// Whether the API has just refused the token.
#[derive(Clone, Copy, Debug, Default)]
enum Rest {
    #[default]
    No,
    Until(Timestamp),
    /// One request is to find out, until then.
    Tried(Timestamp),
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
        let begins = self.issued_at.max(now - quota.span());
        let overlap = begins.until(self.at).as_nanos() * u128::from(quota.requests);
        let spent = overlap.div_ceil(quota.per.as_nanos().max(1));
        // Others were a little less even than that.
        let uneven = if spent == 0 { 0 } else { u128::from(quota.requests / UNEVEN) };
        usize::try_from(spent + uneven).unwrap_or(usize::MAX).min(quota.requests as usize)
    }
}

impl Account {
    pub(super) fn of(generation: Option<u64>) -> Self {
        Self { generation, ..Self::default() }
    }

    pub(super) fn inherit(&mut self, issued_at: Timestamp, at: Timestamp) {
        self.inherited = Some(Inherited { issued_at, at });
    }

    /// What it has room for, after forgetting what counts no more.
    pub(super) fn room(&mut self, quota: Option<Quota>, now: Timestamp) -> Room {
        if let Some(quota) = quota {
            while self.spent.front().is_some_and(|&at| at + quota.span() <= now) {
                self.spent.pop_front();
            }
            if self.inherited.is_some_and(|by| by.spent(quota, now) == 0) {
                self.inherited = None;
            }
        }
        if let Limits::Told(window) = &mut self.limits
            && window.until <= now
        {
            match window.limit {
                Some(limit) => {
                    let until = now + window.length;
                    *window = Window { left: limit.max(1), until, ..*window };
                }
                None => self.limits = Limits::Untold,
            }
        }
        self.left(quota, now)
    }

    /// The same for a time to come, if nothing is spent before.
    pub(super) fn left(&self, quota: Option<Quota>, at: Timestamp) -> Room {
        if at < self.closed_until {
            return Room::Until(self.closed_until);
        }
        if let Rest::Until(until) | Rest::Tried(until) = self.rest
            && at < until
        {
            return Room::Until(until);
        }
        match quota {
            Some(quota) => self.left_of(quota, at),
            None => self.left_of_told(at),
        }
    }

    fn left_of(&self, quota: Quota, at: Timestamp) -> Room {
        let counts_no_more = self.spent.partition_point(|&spent| spent + quota.span() <= at);
        let by_others = self.inherited.map_or(0, |by| by.spent(quota, at));
        let spent = self.spent.len() - counts_no_more + by_others;
        if spent < quota.requests as usize {
            return Room::For(u64::from(quota.requests) - spent as u64);
        }
        let first = self.spent.get(counts_no_more);
        let ours = first.map_or(Timestamp::NEVER, |&spent| spent + quota.span());
        let step = quota.per / quota.requests.max(1);
        let others = if by_others > 0 { at + step } else { Timestamp::NEVER };
        Room::Until(ours.min(others))
    }

    fn left_of_told(&self, at: Timestamp) -> Room {
        match self.limits {
            Limits::Untold | Limits::Several => Room::For(u64::MAX),
            Limits::Told(window) if window.until <= at => {
                Room::For(window.limit.map_or(u64::MAX, |limit| limit.max(1).into()))
            }
            Limits::Told(Window { left: 0, until, .. }) => Room::Until(until),
            Limits::Told(window) => Room::For(window.left.into()),
        }
    }

    pub(super) fn spend(&mut self, quota: Option<Quota>, now: Timestamp) {
        if let Rest::Until(_) = self.rest {
            self.rest = Rest::Tried(now + REST);
        } else {
            self.rest = Rest::No;
        }
        match &mut self.limits {
            Limits::Told(window) => window.left = window.left.saturating_sub(1),
            Limits::Untold | Limits::Several if quota.is_none() => return,
            Limits::Untold | Limits::Several => {}
        }
        if quota.is_none() && self.spent.len() >= UNDER_WAY {
            self.spent.pop_front();
        }
        self.spent.push_back(now);
    }

    pub(super) fn close(&mut self, until: Timestamp) {
        if !matches!(self.limits, Limits::Several) {
            self.closed_until = self.closed_until.max(until);
        }
    }

    pub(super) fn give_back(&mut self) {
        if self.spent.pop_back().is_some()
            && let Limits::Told(window) = &mut self.limits
        {
            window.left += 1;
        }
        // What was to find out did not.
        if let Rest::Tried(_) = self.rest {
            self.rest = Rest::Until(Timestamp::ZERO);
        }
    }

    pub(super) fn told(&mut self, told: Option<Told>, sent_at: Timestamp, now: Timestamp) {
        let Some(told) = told else {
            if self.was_told() {
                self.limits = Limits::Several;
            }
            return;
        };
        // Requests that left later are not counted in what was left.
        let later = self.spent.len() - self.spent.partition_point(|&spent| spent <= sent_at);
        let left = told.remaining.saturating_sub(u32::try_from(later).unwrap_or(u32::MAX));
        let length = told.resets_in.clamp(WINDOWS.0, WINDOWS.1);
        let until = now + length;
        self.limits = match self.limits {
            Limits::Several => Limits::Several,
            Limits::Told(known) if known.limit != told.limit => Limits::Several,
            Limits::Told(known)
                if known.until.since(until).max(until.since(known.until)) <= SAME_WINDOW =>
            {
                Limits::Told(Window { left: known.left.min(left), ..known })
            }
            Limits::Told(known) => {
                let length = length.max(known.length);
                Limits::Told(Window { left, limit: told.limit, until, length })
            }
            Limits::Untold => Limits::Told(Window { left, limit: told.limit, until, length }),
        };
    }

    pub(super) fn was_told(&self) -> bool {
        matches!(self.limits, Limits::Told(_))
    }

    pub(super) fn rest(&mut self, now: Timestamp) {
        self.rest = Rest::Until(now + REST);
    }

    pub(super) fn relieve(&mut self) {
        self.rest = Rest::No;
    }
}
