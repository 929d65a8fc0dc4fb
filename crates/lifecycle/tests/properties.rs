//! What holds whatever happens, in whatever order: checked against a plain model of the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_lifecycle::{
    Action, Admission, Allowance, Backoff, Cause, Demand, Event, Failure, Held, Lifecycle, Need,
    Policy, Replay, Settled, State, Ticket, Timestamp, Verdict, WaiterId,
};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(100_000);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Ask { hand_out: bool, patience: u64 },
    Refused { member: u16, behind: u64, accepted_since: bool, patience: u64 },
    NoCache { patience: u64 },
    ReplayRefused { member: u16, behind: u64 },
    Accepted { member: u16, behind: u64 },
    FoundDead { member: u16, behind: u64 },
    Restored { member: u16, generation: u64, age: u64, life: Option<u64> },
    Grant { which: usize, gained: u64, age: u64, life: Option<u64> },
    Fail { which: usize, cause: Cause, retry_after: Option<u64> },
    Elsewhere { which: usize, retry_after: u64 },
    Used,
    Renew,
    Reconfigured,
}

/// Milliseconds from an instant to an hour, short ones as likely as long ones.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..50_u64, 50..2_000_u64, 2_000..60_000_u64, 60_000..3_600_000_u64]
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..5_u16;
    let life = || proptest::option::weighted(0.9, span());
    let cause = prop_oneof![
        3 => Just(Cause::Passing),
        2 => Just(Cause::Throttled),
        2 => Just(Cause::InDoubt),
        1 => Just(Cause::Reauthorize),
        1 => Just(Cause::Misconfigured),
    ];
    prop_oneof![
        8 => span().prop_map(Step::Pass),
        6 => (any::<bool>(), span()).prop_map(|(hand_out, patience)| Step::Ask { hand_out, patience }),
        3 => (member.clone(), 0..3_u64, any::<bool>(), span()).prop_map(
            |(member, behind, accepted_since, patience)| Step::Refused {
                member, behind, accepted_since, patience,
            }
        ),
        2 => span().prop_map(|patience| Step::NoCache { patience }),
        1 => (member.clone(), 0..3_u64)
            .prop_map(|(member, behind)| Step::ReplayRefused { member, behind }),
        2 => (member.clone(), 0..3_u64).prop_map(|(member, behind)| Step::Accepted { member, behind }),
        1 => (member.clone(), 0..3_u64).prop_map(|(member, behind)| Step::FoundDead { member, behind }),
        1 => (member, 0..9_u64, span(), life()).prop_map(|(member, generation, age, life)| {
            Step::Restored { member, generation, age, life }
        }),
        8 => (0..5_usize, 0..3_u64, prop_oneof![3 => Just(0), 1 => span()], life()).prop_map(
            |(which, gained, age, life)| Step::Grant { which, gained, age, life }
        ),
        5 => (0..5_usize, cause, proptest::option::of(span())).prop_map(
            |(which, cause, retry_after)| Step::Fail { which, cause, retry_after }
        ),
        1 => (0..5_usize, span()).prop_map(|(which, retry_after)| Step::Elsewhere { which, retry_after }),
        1 => Just(Step::Used),
        1 => Just(Step::Renew),
        1 => Just(Step::Reconfigured),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let demand = prop_oneof![
        Just(Demand::Always),
        span().prop_map(|idle| Demand::WhileUsed { idle_after: millis(idle) }),
    ];
    let replay = prop_oneof![
        Just(Replay::Free),
        span().prop_map(|window| Replay::Within(millis(window))),
        span().prop_map(|window| Replay::LastPair(millis(window))),
        Just(Replay::LastResort),
    ];
    (1..5_u16, demand, replay).prop_map(|(pool, demand, replay)| Policy {
        pool,
        demand,
        replay,
        ..Policy::DEFAULT
    })
}

/// What the outside knows of a credential.
struct Outside {
    now: Timestamp,
    policy: Policy,
    lifecycle: Lifecycle,
    units: Box<dyn FnMut() -> f64>,
    wake_at: Option<Timestamp>,
    under_way: BTreeSet<u16>,
    published: BTreeMap<u16, Held>,
    generations: BTreeMap<u16, u64>,
    waiters: BTreeMap<WaiterId, Waiter>,
    next_waiter: u64,
    /// No request of the member before this, for all the lifecycle was told.
    not_before: BTreeMap<u16, Timestamp>,
    retry_after: Timestamp,
}

#[derive(Clone, Copy)]
struct Waiter {
    until: Timestamp,
    /// Does not help: what was refused.
    refused: Option<(u16, u64)>,
}

impl Outside {
    fn new(policy: Policy, units: Vec<f64>) -> Self {
        let mut units = units.into_iter().cycle();
        let mut outside = Self {
            now: START,
            policy,
            lifecycle: Lifecycle::new(policy, START),
            units: Box::new(move || units.next().unwrap_or(0.5)),
            wake_at: None,
            under_way: BTreeSet::new(),
            published: BTreeMap::new(),
            generations: BTreeMap::new(),
            waiters: BTreeMap::new(),
            next_waiter: 0,
            not_before: BTreeMap::new(),
            retry_after: Timestamp::ZERO,
        };
        outside.tell(Event::Woken);
        outside
    }

    fn tell(&mut self, event: Event) {
        let (now, was_stopped) = (self.now, self.is_stopped());
        let actions = self.lifecycle.handle(now, event, &mut self.units);
        let granted = if let Event::Granted { member, .. } = event { Some(member) } else { None };
        self.wake_at = None;
        for action in actions {
            assert!(self.wake_at.is_none(), "waking comes last: {action:?}");
            match action {
                Action::Renew { member, .. } => {
                    assert!(self.under_way.insert(member), "{member} is being renewed");
                    assert!(now >= self.retry_after, "Retry-After undercut");
                    assert!(!self.is_stopped(), "nothing is sent before somebody authorises");
                    let not_before = self.not_before.get(&member).copied().unwrap_or_default();
                    assert!(now >= not_before, "{member} asked again after {event:?}");
                    self.not_before.insert(member, now + self.policy.least_interval);
                }
                Action::Publish { member, held } => {
                    let known = self.generations.entry(member).or_default();
                    assert!(held.generation >= *known, "{held:?} after {known}");
                    *known = held.generation;
                    self.published.insert(member, held);
                }
                Action::Withdraw { member } => {
                    self.published.remove(&member);
                }
                Action::Answer { waiter, verdict } => {
                    let known = self.waiters.remove(&waiter).expect("answered once");
                    assert!(now <= known.until, "answered late");
                    if let Verdict::Serve { member } = verdict {
                        let held = self.published.get(&member).expect("served what is published");
                        assert!(held.is_alive(now) || granted == Some(member), "an ended token");
                        let refused = known.refused.is_some_and(|(refused, generation)| {
                            refused == member && held.generation <= generation
                        });
                        assert!(!refused, "served with what was refused");
                    }
                }
                Action::WakeAt(at) => {
                    assert!(at > now, "woken in the past");
                    self.wake_at = Some(at);
                }
            }
        }
        if was_stopped {
            let may_start =
                matches!(event, Event::Reconfigured | Event::Granted { .. }) || self.is_stopped();
            assert!(may_start, "started again by {event:?}");
        }
        for waiter in self.waiters.values() {
            assert!(waiter.until > now, "out of time, and not answered");
        }
    }

    fn is_stopped(&self) -> bool {
        self.lifecycle.status().state == State::NeedsReauth
    }

    fn pass(&mut self, until: Timestamp) {
        let mut woken = 0;
        while let Some(at) = self.wake_at.filter(|&at| at <= until) {
            self.now = at;
            self.tell(Event::Woken);
            woken += 1;
            assert!(woken < 10_000, "woken without end");
        }
        self.now = until;
    }

    fn ask(
        &mut self,
        patience: u64,
        refused: Option<(u16, u64)>,
        event: impl FnOnce(WaiterId, Timestamp) -> Event,
    ) {
        self.next_waiter += 1;
        let (waiter, until) = (WaiterId(self.next_waiter), self.now + millis(patience));
        self.waiters.insert(waiter, Waiter { until, refused });
        self.tell(event(waiter, until));
    }

    fn generation(&self, member: u16, behind: u64) -> u64 {
        self.generations.get(&member).map_or(0, |known| known.saturating_sub(behind))
    }

    fn finish(&mut self, which: usize) -> Option<u16> {
        let member = self.under_way.iter().copied().nth(which % self.under_way.len().max(1))?;
        self.under_way.remove(&member);
        Some(member)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Pass(span) => self.pass(self.now + millis(span)),
            Step::Ask { hand_out, patience } => {
                let need = if hand_out { Need::HandOut } else { Need::Use };
                self.ask(patience, None, |waiter, until| Event::Asked { waiter, need, until });
            }
            Step::Refused { member, behind, accepted_since, patience } => {
                let generation = self.generation(member, behind);
                self.ask(patience, Some((member, generation)), |waiter, until| Event::Refused {
                    waiter,
                    member,
                    generation,
                    accepted_since,
                    until,
                });
            }
            Step::NoCache { patience } => {
                self.ask(patience, None, |waiter, until| Event::NoCache { waiter, until });
            }
            Step::ReplayRefused { member, behind } => {
                let generation = self.generation(member, behind);
                self.tell(Event::ReplayRefused { member, generation });
            }
            Step::Accepted { member, behind } => {
                let generation = self.generation(member, behind);
                self.tell(Event::Accepted { member, generation });
            }
            Step::FoundDead { member, behind } => {
                let generation = self.generation(member, behind);
                self.tell(Event::FoundDead { member, generation });
            }
            Step::Restored { member, generation, age, life } => {
                let held = self.held(generation, age, life);
                self.tell(Event::Restored { member, held });
            }
            Step::Grant { which, gained, age, life } => {
                if let Some(member) = self.finish(which) {
                    self.retry_after = Timestamp::ZERO;
                    let held = self.held(self.generation(member, 1) + gained, age, life);
                    self.tell(Event::Granted { member, held });
                }
            }
            Step::Fail { which, cause, retry_after } => {
                if let Some(member) = self.finish(which) {
                    let retry_after = retry_after.map(millis);
                    let until = self.now + retry_after.unwrap_or_default();
                    if !self.is_stopped() {
                        self.retry_after = self.retry_after.max(until);
                    }
                    let failure = Failure { cause, retry_after };
                    self.tell(Event::Failed { member, failure, doubt_since: None });
                }
            }
            Step::Elsewhere { which, retry_after } => {
                if let Some(member) = self.finish(which) {
                    // Another holder is asked about; the server is not.
                    self.not_before.insert(member, self.now + millis(retry_after.max(10)));
                    self.tell(Event::Elsewhere { member, retry_after: millis(retry_after) });
                }
            }
            Step::Used => self.tell(Event::Used),
            Step::Renew => self.tell(Event::Renew),
            Step::Reconfigured => {
                self.retry_after = Timestamp::ZERO;
                self.not_before.clear();
                self.tell(Event::Reconfigured);
            }
        }
    }

    fn held(&self, generation: u64, age: u64, life: Option<u64>) -> Held {
        Held { generation, sent_at: self.now - millis(age), lifetime: life.map(millis) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_credential(
        policy in policy(),
        units in prop::collection::vec(0.0..1.0_f64, 1..8),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut outside = Outside::new(policy, units);
        for step in steps {
            outside.take(step);
        }
        // Renewals that never end are no reason to forget a caller.
        let last = outside.waiters.values().map(|waiter| waiter.until).max();
        outside.pass(last.unwrap_or(START).max(outside.now));
        prop_assert_eq!(outside.waiters.len(), 0);
        prop_assert_eq!(outside.lifecycle.waiter_count(), 0);
    }
}

#[derive(Clone, Debug)]
enum AtTheDoor {
    Want { client: u64, urgency: u64 },
    Settle { which: usize, how: Option<bool>, retry_after: Option<u64> },
    Withdraw { which: usize },
    Pass(u64),
}

fn at_the_door() -> impl Strategy<Value = AtTheDoor> {
    let how = prop_oneof![4 => Just(Some(true)), 3 => Just(Some(false)), 1 => Just(None)];
    prop_oneof![
        5 => (0..4_u64, 0..9_u64).prop_map(|(client, urgency)| AtTheDoor::Want { client, urgency }),
        5 => (0..20_usize, how, proptest::option::weighted(0.2, 0..20_000_u64)).prop_map(
            |(which, how, retry_after)| AtTheDoor::Settle { which, how, retry_after }
        ),
        1 => (0..20_usize).prop_map(|which| AtTheDoor::Withdraw { which }),
        4 => (0..3_000_u64).prop_map(AtTheDoor::Pass),
    ]
}

/// A door and those before and behind it.
struct Queue {
    now: Timestamp,
    door: Admission,
    waiting: BTreeMap<Ticket, u64>,
    inside: BTreeMap<Ticket, u64>,
    sent: Vec<(Timestamp, u64)>,
    failing: bool,
    retry_after: Timestamp,
    wake_at: Option<Timestamp>,
}

const ALLOWANCE: Allowance = Allowance { per_second: 4.0, burst: 3 };

impl Queue {
    fn admit(&mut self) {
        let (admitted, wake_at) = self.door.admit(self.now);
        assert!(wake_at.is_none_or(|at| at > self.now), "woken in the past");
        self.wake_at = wake_at;
        for ticket in admitted {
            assert!(!self.failing || self.inside.is_empty(), "one probe at a time");
            assert!(self.now >= self.retry_after, "Retry-After undercut");
            let client = self.waiting.remove(&ticket).expect("admitted once, while it waits");
            self.inside.insert(ticket, client);
            self.sent.push((self.now, client));
        }
        assert_eq!(self.door.waiting_count(), self.waiting.len());
        let wakes = self.wake_at.is_some() || !self.inside.is_empty();
        assert!(self.waiting.is_empty() || wakes, "nobody is forgotten");
    }

    fn pass(&mut self, until: Timestamp) {
        while let Some(at) = self.wake_at.filter(|&at| at <= until) {
            self.now = at;
            self.admit();
        }
        self.now = until;
    }

    fn settle(&mut self, which: usize, settled: Settled) {
        let Some((ticket, client)) =
            self.inside.iter().nth(which % self.inside.len().max(1)).map(|(t, c)| (*t, *c))
        else {
            return;
        };
        self.inside.remove(&ticket);
        match settled {
            Settled::Answered => self.failing = false,
            Settled::Faulted { retry_after } => {
                self.failing = true;
                self.retry_after = self.retry_after.max(self.now + retry_after.unwrap_or_default());
            }
            Settled::NotSent => {
                let of_client = self.sent.iter().rposition(|&(_, sender)| sender == client);
                of_client.map(|sent| self.sent.remove(sent));
            }
        }
        self.door.settle(self.now, ticket, settled, &mut || 0.3);
        self.admit();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_at_the_door(steps in prop::collection::vec(at_the_door(), 1..120)) {
        let mut queue = Queue {
            now: START,
            door: Admission::new(ALLOWANCE, Backoff::PASSING),
            waiting: BTreeMap::new(),
            inside: BTreeMap::new(),
            sent: Vec::new(),
            failing: false,
            retry_after: Timestamp::ZERO,
            wake_at: None,
        };
        for (number, step) in (0_u64..).zip(steps) {
            match step {
                AtTheDoor::Want { client, urgency } => {
                    queue.waiting.insert(Ticket(number), client);
                    queue.door.want(Ticket(number), client, Timestamp::from_secs(urgency));
                    queue.admit();
                }
                AtTheDoor::Settle { which, how, retry_after } => {
                    let retry_after = retry_after.map(millis);
                    queue.settle(which, match how {
                        Some(true) => Settled::Answered,
                        Some(false) => Settled::Faulted { retry_after },
                        None => Settled::NotSent,
                    });
                }
                AtTheDoor::Withdraw { which } => {
                    if let Some(&ticket) = queue.waiting.keys().nth(which) {
                        queue.waiting.remove(&ticket);
                        queue.door.withdraw(ticket);
                        queue.admit();
                    }
                }
                AtTheDoor::Pass(span) => queue.pass(queue.now + millis(span)),
            }
        }
        // Once the server answers again, everyone gets in.
        for _ in 0..400 {
            queue.settle(0, Settled::Answered);
            queue.pass(queue.now + millis(250));
        }
        prop_assert_eq!(queue.waiting.len(), 0);

        let of_client = |client| queue.sent.iter().filter(move |(_, sender)| *sender == client);
        for client in 0..4 {
            let sent: Vec<Timestamp> = of_client(client).map(|&(at, _)| at).collect();
            for (i, &from) in sent.iter().enumerate() {
                for (count, &until) in (1_u32..).zip(&sent[i..]) {
                    let span = until.since(from).as_secs_f64();
                    let most = f64::from(ALLOWANCE.burst) + span * ALLOWANCE.per_second;
                    prop_assert!(f64::from(count) <= most + 1e-6, "{} in {} s", count, span);
                }
            }
        }
    }
}
