//! Many replicas that share a store and keep many credentials: renewals alone, nobody polls.
//!
//! Each replica has the real lifecycle of each credential. The store is its promises alone: a row
//! for each credential with its generation, and one holder of the lease at a time. A replica whose
//! lead has come looks there first: what another has renewed is adopted without a request. The
//! authorization server is the organisation, asked by number, each credential a client of its own.
//! The doors before it are left out: every client has its own allowance, and nothing fails here.

use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::{Action, Cause, Event, Failure, Held, Lifecycle, Policy, Timestamp};

use super::broker::Spread;
use super::calendar::Calendar;
use super::{START, wall};
use crate::by_number::{Granted, ReplyOutcome};
use crate::chance::Chance;
use crate::client::Client;
use crate::organisation::Organisation;
use crate::profile::Profile;

/// How long a replica waits that found another one renewing.
const LEASE_BUSY: Duration = Duration::from_millis(200);
/// How long a replica waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Progress is told every so many events.
const TELL_EVERY: u64 = 1 << 18;

/// How many keep how much, for how long.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// How the authorization server behaves.
    pub profile: Profile,
    /// Replicas over one store; at least 1.
    pub replicas: u32,
    /// Credentials that each of them keeps; at least 1.
    pub credentials: u32,
    /// For how long.
    pub length: Duration,
    /// Chooses latencies and leads.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetOutcome {
    /// Token requests that reached the authorization server.
    pub token_requests: u64,
    /// Access tokens issued; the newest generations of all credentials add up to this.
    pub generations: u64,
    /// Renewals that found a newer token in the store and sent nothing.
    pub adopted: u64,
    /// Renewals that found another replica at it.
    pub elsewhere: u64,
    /// Live access tokens that the cap ended.
    pub tokens_evicted: u64,
    /// Times that a replica's token had ended before a newer one was there.
    pub ended_in_use: u64,
    /// The shortest life that a token had left when its replica took the next one.
    pub least_left: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A lifecycle asked for it.
    Woken(u32),
    /// The answer to a replica's token request.
    Answered(u32),
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    held: Option<Held>,
    /// The answer that is under way, and when it was asked for; whoever asked has the lease.
    under_way: Option<(Timestamp, ReplyOutcome<Granted>)>,
}

struct Renewing {
    credentials: u32,
    organisation: Organisation,
    rows: Vec<Row>,
    lifecycles: Vec<Lifecycle>,
    calendar: Calendar<Happening>,
    chance: Chance,
    outcome: FleetOutcome,
}

/// Lives through the renewals of a fleet. `progress` is told how much virtual time is over.
pub fn renew(fleet: &Fleet, progress: &mut dyn FnMut(Duration)) -> FleetOutcome {
    let credentials = fleet.credentials.max(1);
    let mut profile = Profile { ledger_entries: 0, ..fleet.profile.clone() };
    profile.clients = (0..credentials).map(|one| Client::new(&one.to_string(), "fleet")).collect();
    let policy = Arc::new(Policy::DEFAULT);
    let count = credentials * fleet.replicas.max(1);
    let mut renewing = Renewing {
        credentials,
        organisation: Organisation::new(profile, fleet.seed),
        rows: vec![Row::default(); credentials as usize],
        lifecycles: (0..count).map(|_| Lifecycle::new(Arc::clone(&policy), START)).collect(),
        calendar: Calendar::until(fleet.length),
        chance: Chance::new(fleet.seed ^ 0x0066_6c65_6574),
        outcome: FleetOutcome { least_left: Duration::MAX, ..FleetOutcome::default() },
    };
    // Replicas come up within a minute, as in a rolling start.
    for index in 0..count {
        let after = renewing.chance.between(Duration::ZERO, Duration::from_secs(60));
        renewing.calendar.add(START + after, Happening::Woken(index));
    }
    let mut events = 0_u64;
    while let Some((now, happening)) = renewing.calendar.next() {
        match happening {
            Happening::Woken(index) => {
                let wakes_at = renewing.lifecycles[index as usize].wakes_at();
                // An alarm that another event replaced.
                if wakes_at.is_none_or(|at| at <= now) {
                    renewing.tell(now, index, Event::Woken);
                }
            }
            Happening::Answered(index) => renewing.answered(now, index),
        }
        events += 1;
        if events.is_multiple_of(TELL_EVERY) {
            progress(START.until(now));
        }
    }
    let totals = renewing.organisation.totals(START + fleet.length);
    FleetOutcome {
        token_requests: totals.token_requests,
        tokens_evicted: totals.tokens_evicted,
        generations: renewing
            .rows
            .iter()
            .filter_map(|row| row.held)
            .map(|held| held.generation)
            .sum(),
        ..renewing.outcome
    }
}

impl Renewing {
    fn tell(&mut self, now: Timestamp, index: u32, event: Event) {
        let before = self.lifecycles[index as usize].held().next().flatten();
        let lifecycle = &mut self.lifecycles[index as usize];
        for action in lifecycle.handle(now, event, &mut Spread(&mut self.chance)) {
            match action {
                Action::Renew { .. } => return self.renew(now, index),
                Action::Publish { .. } => {
                    if let Some(before) = before {
                        let left = now.until(before.expires_at());
                        self.outcome.ended_in_use += u64::from(left.is_zero());
                        self.outcome.least_left = self.outcome.least_left.min(left);
                    }
                }
                Action::WakeAt(at) => self.calendar.add(at, Happening::Woken(index)),
                Action::Withdraw { .. } | Action::Answer { .. } => {}
            }
        }
    }

    /// The store first, then the lease, then a request.
    fn renew(&mut self, now: Timestamp, index: u32) {
        let known = self.lifecycles[index as usize].held().next().flatten();
        let client = (index % self.credentials) as usize;
        let row = &mut self.rows[client];
        let known = known.map_or(0, |held| held.generation);
        if let Some(held) = row.held.filter(|held| held.generation > known) {
            self.outcome.adopted += 1;
            return self.tell(now, index, Event::Granted { member: 0, held });
        }
        if row.under_way.is_some() {
            self.outcome.elsewhere += 1;
            let event = Event::Elsewhere { member: 0, retry_after: LEASE_BUSY };
            return self.tell(now, index, event);
        }
        let reply = self.organisation.log_in(now, wall(now), client);
        row.under_way = Some((now, reply.outcome));
        let after = match reply.outcome {
            ReplyOutcome::Silence => ANSWER_TIMEOUT,
            ReplyOutcome::Done(_) | ReplyOutcome::Refused { .. } | ReplyOutcome::Broken => {
                reply.after
            }
        };
        self.calendar.add(now + after, Happening::Answered(index));
    }

    fn answered(&mut self, now: Timestamp, index: u32) {
        let row = &mut self.rows[(index % self.credentials) as usize];
        let Some((sent_at, outcome)) = row.under_way.take() else { return };
        let event = match outcome {
            ReplyOutcome::Done(Granted { expires_in, .. }) => {
                let generation = row.held.map_or(0, |held| held.generation) + 1;
                let held = Held { generation, sent_at, lifetime: expires_in };
                row.held = Some(held);
                Event::Granted { member: 0, held }
            }
            ReplyOutcome::Refused { retry_after, throttled, .. } => {
                let cause = if throttled { Cause::Throttled } else { Cause::Passing };
                let failure = Failure { cause, retry_after };
                Event::Failed { member: 0, failure, doubt_since: None }
            }
            ReplyOutcome::Broken | ReplyOutcome::Silence => {
                let failure = Failure::new(Cause::Passing);
                Event::Failed { member: 0, failure, doubt_since: None }
            }
        };
        self.tell(now, index, event);
    }
}
