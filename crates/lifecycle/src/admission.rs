//! Which renewal may use a token endpoint now.
//!
//! All credentials of an authorization server stand before one door. Each client has an allowance,
//! since vendors count logins per client; the most urgent renewal goes first. When a request fails
//! for reasons that may pass, the door closes for a while and then lets one probe through at a
//! time, until one succeeds: an outage of the server costs a handful of requests, not one per
//! credential. A server that has just come back is not run over: with each answer one more may be
//! inside, up to a number that also bounds how many start together.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::chance::Chance;
use crate::time::Timestamp;

/// How many token requests a client may make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Requests a second, in the long run.
    pub per_second: f64,
    /// Requests at once, after a pause.
    pub burst: u32,
}

impl Allowance {
    /// Below the throttles that vendors are known to have, and enough for any honest use.
    pub const DEFAULT: Self = Self { per_second: 8.0, burst: 16 };
}

/// Names a renewal that wants in; chosen by whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// How an admitted renewal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The server answered for this client, with a token or a definite refusal.
    Answered,
    /// Overloaded or out of reach.
    Faulted {
        /// `Retry-After`, never undercut.
        retry_after: Option<Duration>,
    },
    /// Nothing was sent: another holder had renewed, or is renewing.
    NotSent,
}

/// Requests under way at once, per authorization server.
const MOST_INSIDE: usize = 64;
/// Clients that are remembered before any is looked at for being forgotten.
const FEW_CLIENTS: usize = 64;

/// The door before one authorization server.
#[derive(Clone, Debug)]
pub struct Admission {
    allowance: Allowance,
    backoff: Backoff,
    /// Waiting, most urgent first.
    waiting: BTreeMap<(Timestamp, Ticket), u64>,
    inside: BTreeMap<Ticket, u64>,
    clients: BTreeMap<u64, Bucket>,
    forget_at: usize,
    failures: u32,
    /// How many may be inside: one while requests fail.
    room: usize,
    closed_until: Timestamp,
}

/// A client's allowance: full at `full_at`, empty a burst before.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Timestamp,
}

impl Admission {
    /// An open door.
    pub fn new(allowance: Allowance, backoff: Backoff) -> Self {
        Self {
            allowance,
            backoff,
            waiting: BTreeMap::new(),
            inside: BTreeMap::new(),
            clients: BTreeMap::new(),
            forget_at: FEW_CLIENTS,
            failures: 0,
            room: MOST_INSIDE,
            closed_until: Timestamp::ZERO,
        }
    }

    /// A renewal of `client` wants in; the earlier `urgency`, the sooner.
    pub fn want(&mut self, ticket: Ticket, client: u64, urgency: Timestamp) {
        self.waiting.insert((urgency, ticket), client);
    }

    /// A renewal no longer wants in; one that was admitted already must be settled instead.
    pub fn withdraw(&mut self, ticket: Ticket) {
        self.waiting.retain(|&(_, waiting), _| waiting != ticket);
    }

    /// An admitted renewal ended.
    pub fn settle(
        &mut self,
        now: Timestamp,
        ticket: Ticket,
        settled: Settled,
        chance: &mut dyn Chance,
    ) {
        let Some(client) = self.inside.remove(&ticket) else {
            return;
        };
        match settled {
            Settled::Answered => {
                self.failures = 0;
                self.room = (self.room + 1).min(MOST_INSIDE);
            }
            Settled::Faulted { retry_after } => {
                // Requests that were under way together fail together: that is one failure.
                self.failures += u32::from(now >= self.closed_until);
                self.room = 1;
                let delay = self.backoff.delay(self.failures, chance);
                let until = now + delay.max(retry_after.unwrap_or_default());
                self.closed_until = self.closed_until.max(until);
            }
            Settled::NotSent => {
                let one = self.interval();
                if let Some(bucket) = self.clients.get_mut(&client) {
                    bucket.full_at = bucket.full_at - one;
                }
            }
        }
    }

    /// Lets in who may go now, and says when to ask again.
    pub fn admit(&mut self, now: Timestamp) -> (Vec<Ticket>, Option<Timestamp>) {
        let mut admitted = Vec::new();
        let mut wake = None;
        self.forget_idle_clients(now);
        if now < self.closed_until {
            return (admitted, (!self.waiting.is_empty()).then_some(self.closed_until));
        }
        let mut turned_away = BTreeMap::new();
        while let Some(((urgency, ticket), client)) = self.waiting.pop_first() {
            if self.inside.len() >= self.room {
                turned_away.insert((urgency, ticket), client);
                break;
            }
            match self.free_at(client) {
                at if at > now => {
                    wake = Some(wake.map_or(at, |wake: Timestamp| wake.min(at)));
                    turned_away.insert((urgency, ticket), client);
                }
                _ => {
                    self.spend(now, client);
                    self.inside.insert(ticket, client);
                    admitted.push(ticket);
                }
            }
        }
        self.waiting.extend(turned_away);
        (admitted, wake)
    }

    /// Renewals that wait for their turn.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Looks at all of them only once they have doubled.
    fn forget_idle_clients(&mut self, now: Timestamp) {
        if self.clients.len() >= self.forget_at {
            self.clients.retain(|_, bucket| bucket.full_at > now);
            self.forget_at = (self.clients.len() * 2).max(FEW_CLIENTS);
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.allowance.per_second)
    }

    fn free_at(&self, client: u64) -> Timestamp {
        let most = self.interval() * self.allowance.burst.saturating_sub(1);
        self.clients.get(&client).map_or(Timestamp::ZERO, |bucket| bucket.full_at - most)
    }

    fn spend(&mut self, now: Timestamp, client: u64) {
        let one = self.interval();
        let bucket = self.clients.entry(client).or_insert(Bucket { full_at: now });
        bucket.full_at = bucket.full_at.max(now) + one;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance { per_second: 2.0, burst: 3 };

    fn at(seconds: f64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(seconds)
    }

    fn door(renewals: &[(u64, u64, f64)]) -> Admission {
        let mut door = Admission::new(ALLOWANCE, Backoff::PASSING);
        for &(ticket, client, urgency) in renewals {
            door.want(Ticket(ticket), client, at(urgency));
        }
        door
    }

    fn admitted(door: &mut Admission, now: f64) -> Vec<u64> {
        door.admit(at(now)).0.into_iter().map(|ticket| ticket.0).collect()
    }

    #[test]
    fn the_most_urgent_goes_first_and_each_client_has_its_allowance() {
        let mut door = door(&[(1, 7, 9.0), (2, 7, 3.0), (3, 7, 5.0), (4, 7, 4.0), (5, 8, 99.0)]);
        assert_eq!(admitted(&mut door, 100.0), [2, 4, 3, 5], "three of client 7, one of 8");
        assert_eq!(door.admit(at(100.1)), (vec![], Some(at(100.5))));
        assert_eq!(admitted(&mut door, 100.5), [1]);
    }

    #[test]
    fn a_fault_closes_the_door_and_then_one_probe_goes_at_a_time() {
        let mut door = door(&[(1, 1, 0.0), (2, 2, 1.0), (3, 3, 2.0)]);
        let (half, now) = (&mut || 0.5, 100.0);
        assert_eq!(admitted(&mut door, now).len(), 3);
        for ticket in [1, 2, 3] {
            door.settle(at(now), Ticket(ticket), Settled::Faulted { retry_after: None }, half);
            door.want(Ticket(ticket), ticket, at(0.0));
        }
        let (none, wake) = door.admit(at(now));
        assert!(none.is_empty());
        let wake = wake.expect("the door opens again");
        assert_eq!(door.admit(wake).0, [Ticket(1)], "one probe");
        assert!(door.admit(wake).0.is_empty());
        door.settle(wake, Ticket(1), Settled::Answered, half);
        assert_eq!(door.admit(wake).0, [Ticket(2), Ticket(3)], "the server is back");
    }

    #[test]
    fn a_crowd_goes_in_few_at_once_and_fewer_after_a_fault() {
        let mut door = Admission::new(ALLOWANCE, Backoff::PASSING);
        (0..1000).for_each(|i| door.want(Ticket(i), i, at(0.0)));
        let half = &mut || 0.5;
        let mut inside = door.admit(at(1.0)).0;
        assert_eq!(inside.len(), MOST_INSIDE);
        for ticket in inside.drain(..) {
            door.settle(at(1.1), ticket, Settled::Faulted { retry_after: None }, half);
        }
        let (mut rounds, mut now) = (Vec::new(), at(2.0));
        while door.waiting_count() > 0 {
            let admitted = door.admit(now).0;
            rounds.push(admitted.len());
            now += Duration::from_millis(100);
            for ticket in admitted {
                door.settle(now, ticket, Settled::Answered, half);
            }
        }
        assert_eq!(rounds[..8], [1, 2, 4, 8, 16, 32, 64, 64]);
        assert_eq!(rounds.iter().sum::<usize>(), 1000 - MOST_INSIDE);
    }

    #[test]
    fn retry_after_is_never_undercut() {
        let mut door = door(&[(1, 1, 0.0)]);
        assert_eq!(admitted(&mut door, 1.0), [1]);
        let retry_after = Some(Duration::from_secs(30));
        door.settle(at(1.0), Ticket(1), Settled::Faulted { retry_after }, &mut || 0.0);
        door.want(Ticket(2), 2, at(0.0));
        assert_eq!(door.admit(at(30.9)), (vec![], Some(at(31.0))));
        assert_eq!(admitted(&mut door, 31.0), [2]);
    }

    #[test]
    fn what_was_not_sent_costs_nothing() {
        let mut door = door(&[(1, 1, 0.0), (2, 1, 0.0), (3, 1, 0.0), (4, 1, 0.0)]);
        assert_eq!(admitted(&mut door, 10.0), [1, 2, 3]);
        door.settle(at(10.0), Ticket(1), Settled::NotSent, &mut || 0.0);
        assert_eq!(admitted(&mut door, 10.0), [4]);
    }
}
