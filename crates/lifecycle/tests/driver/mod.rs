//! A world in virtual time: lifecycles, a door per authorization server, scripted token endpoints.
//!
//! Time jumps from one entry of the queue to the next; nothing sleeps, and a seed decides every
//! random number. While a story runs, the world itself watches over what must hold in all of
//! them: one renewal per member at a time, generations that never go back, wake-ups in the future,
//! each waiter answered once and never later than its `until`.
#![allow(dead_code, unused_imports, reason = "each test binary tells its stories with a part")]
#![allow(unreachable_pub, reason = "a module that test binaries share")]

mod endpoint;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bellwether_lifecycle::{
    Action, Admission, Allowance, Backoff, Chance, Event, Held, Lifecycle, Need, Policy, Settled,
    Ticket, Timestamp, Verdict, WaiterId,
};

pub use endpoint::{Endpoint, Fault, Reply, Script};

/// How long the gateway holds a caller.
pub const PATIENCE: Duration = Duration::from_secs(14);

pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Stories begin here, so that the time before them can be told from the first instant.
pub const START: Timestamp = Timestamp::from_secs(1000);

/// The instant that many seconds into the story.
pub fn at(seconds: f64) -> Timestamp {
    START + Duration::from_secs_f64(seconds)
}

/// Seconds into the story.
pub fn told(at: Timestamp) -> f64 {
    at.since(START).as_secs_f64()
}

/// Numbers that look random and come again with the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Chance for SplitMix {
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A token request as the authorization server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names the token it may lead to.
    pub number: usize,
    pub at: Timestamp,
    pub credential: usize,
    pub member: u16,
}

/// A token that callers can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub member: u16,
    pub held: Held,
    /// The request it came from.
    pub number: usize,
}

/// How a caller's wait ended.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub credential: usize,
    pub asked_at: Timestamp,
    pub answered_at: Timestamp,
    pub until: Timestamp,
    pub verdict: Verdict,
    /// What it was served with.
    pub token: Option<Published>,
}

impl Wait {
    pub fn is_served(&self) -> bool {
        matches!(self.verdict, Verdict::Serve { .. })
    }

    pub fn took(&self) -> Duration {
        self.answered_at.since(self.asked_at)
    }
}

type Then = Box<dyn FnOnce(&mut World, Wait)>;
type Happening = Box<dyn FnOnce(&mut World)>;

struct Credential {
    lifecycle: Lifecycle,
    server: usize,
    wake_at: Option<Timestamp>,
    published: Vec<Option<Published>>,
    generations: Vec<u64>,
    renewing: Vec<bool>,
    granting: Option<usize>,
    waiters: HashMap<WaiterId, (Timestamp, Timestamp, Then)>,
}

struct Server {
    door: Admission,
    endpoint: Box<dyn Endpoint>,
    wake_at: Option<Timestamp>,
}

enum Item {
    Wake(usize),
    Door(usize),
    Reply { ticket: Ticket, request: Request, reply: Reply },
    Happening(Happening),
}

/// Everything there is, and what happened so far.
pub struct World {
    pub now: Timestamp,
    pub chance: Box<dyn Chance>,
    pub requests: Vec<Request>,
    pub waits: Vec<Wait>,
    /// Callers that found a token without waiting.
    pub taken: u64,
    pub publications: u64,
    queue: BTreeMap<(Timestamp, u64), Item>,
    credentials: Vec<Credential>,
    servers: Vec<Server>,
    passengers: HashMap<Ticket, (usize, u16)>,
    counter: u64,
}

impl World {
    /// With one authorization server, whose door has the usual allowance.
    pub fn new(seed: u64, endpoint: impl Endpoint + 'static) -> Self {
        Self::with_allowance(seed, Allowance::DEFAULT, endpoint)
    }

    pub fn with_allowance(
        seed: u64,
        allowance: Allowance,
        endpoint: impl Endpoint + 'static,
    ) -> Self {
        let door = Admission::new(allowance, Backoff::PASSING);
        Self {
            now: START,
            chance: Box::new(SplitMix(seed)),
            requests: Vec::new(),
            waits: Vec::new(),
            taken: 0,
            publications: 0,
            queue: BTreeMap::new(),
            credentials: Vec::new(),
            servers: vec![Server { door, endpoint: Box::new(endpoint), wake_at: None }],
            passengers: HashMap::new(),
            counter: 0,
        }
    }

    /// A second authorization server, with a door of its own.
    pub fn add_server(&mut self, endpoint: impl Endpoint + 'static) -> usize {
        let door = Admission::new(Allowance::DEFAULT, Backoff::PASSING);
        self.servers.push(Server { door, endpoint: Box::new(endpoint), wake_at: None });
        self.servers.len() - 1
    }

    /// A credential of the first server, with a client of its own; nobody has woken it yet.
    pub fn add(&mut self, policy: Policy) -> usize {
        self.add_at(0, policy)
    }

    pub fn add_at(&mut self, server: usize, policy: Policy) -> usize {
        let pool = usize::from(policy.pool);
        self.credentials.push(Credential {
            lifecycle: Lifecycle::new(policy, self.now),
            server,
            wake_at: None,
            published: vec![None; pool],
            generations: vec![0; pool],
            renewing: vec![false; pool],
            granting: None,
            waiters: HashMap::new(),
        });
        self.credentials.len() - 1
    }

    /// A credential that starts now.
    pub fn start(&mut self, policy: Policy) -> usize {
        let credential = self.add(policy);
        self.happen(credential, Event::Woken);
        credential
    }

    pub fn lifecycle(&self, credential: usize) -> &Lifecycle {
        &self.credentials[credential].lifecycle
    }

    /// What callers of a credential can take.
    pub fn published(&self, credential: usize) -> impl Iterator<Item = Published> + '_ {
        self.credentials[credential].published.iter().flatten().copied()
    }

    pub fn published_at(&self, credential: usize, member: u16) -> Option<Published> {
        self.credentials[credential].published[usize::from(member)]
    }

    /// Something happens at `at`.
    pub fn schedule(&mut self, at: Timestamp, happening: impl FnOnce(&mut World) + 'static) {
        self.put(at, Item::Happening(Box::new(happening)));
    }

    /// Something happens every `period` from `from` until before `until`.
    pub fn repeat(
        &mut self,
        from: Timestamp,
        until: Timestamp,
        period: Duration,
        mut happening: impl FnMut(&mut World) + 'static,
    ) {
        if from < until {
            self.schedule(from, move |world| {
                happening(world);
                world.repeat(from + period, until, period, happening);
            });
        }
    }

    /// Time goes on until `end`.
    pub fn run_until(&mut self, end: Timestamp) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            let ((now, _), item) = entry.remove_entry();
            self.now = now;
            self.step(item);
        }
        self.now = end;
        for credential in &self.credentials {
            for (_, until, _) in credential.waiters.values() {
                assert!(*until >= end, "a waiter was forgotten at {}", told(*until));
            }
        }
    }

    /// A caller takes a token, or waits for one at most `patience`; `then` hears what it got.
    pub fn call(
        &mut self,
        credential: usize,
        need: Need,
        patience: Duration,
        then: impl FnOnce(&mut World, Wait) + 'static,
    ) {
        let now = self.now;
        let good = |token: &Published| match need {
            Need::Use => token.held.is_alive(now),
            Need::HandOut => now < token.held.hand_out_until(),
        };
        let found = self.published(credential).find(good);
        let Some(token) = found else {
            let asked = |waiter, until| Event::Asked { waiter, need, until };
            return self.ask(credential, patience, asked, then);
        };
        self.taken += 1;
        self.credentials[credential].lifecycle.note_used(now);
        let verdict = Verdict::Serve { member: token.member };
        let token = Some(token);
        then(
            self,
            Wait { credential, asked_at: now, answered_at: now, until: now, verdict, token },
        );
    }

    /// A caller waits for the answer to an event.
    pub fn ask(
        &mut self,
        credential: usize,
        patience: Duration,
        event: impl FnOnce(WaiterId, Timestamp) -> Event,
        then: impl FnOnce(&mut World, Wait) + 'static,
    ) {
        let (waiter, until) = (WaiterId(self.count()), self.now + patience);
        let waiters = &mut self.credentials[credential].waiters;
        waiters.insert(waiter, (self.now, until, Box::new(then)));
        self.happen(credential, event(waiter, until));
    }

    /// An event goes in, and what it leads to is carried out.
    pub fn happen(&mut self, credential: usize, event: Event) {
        let now = self.now;
        let entry = &mut self.credentials[credential];
        let actions = entry.lifecycle.handle(now, event, &mut *self.chance);
        entry.wake_at = None;
        let mut renewals = Vec::new();
        for action in actions {
            let entry = &mut self.credentials[credential];
            match action {
                Action::Renew { member, urgency } => {
                    let renewing = &mut entry.renewing[usize::from(member)];
                    assert!(!*renewing, "member {member} is being renewed");
                    *renewing = true;
                    renewals.push((member, urgency));
                }
                Action::Publish { member, held } => {
                    let known = &mut entry.generations[usize::from(member)];
                    assert!(held.generation >= *known, "{held:?} after generation {known}");
                    *known = held.generation;
                    let number = entry.granting.unwrap_or(usize::MAX);
                    let token = Published { member, held, number };
                    entry.published[usize::from(member)] = Some(token);
                    self.publications += 1;
                }
                Action::Withdraw { member } => entry.published[usize::from(member)] = None,
                Action::Answer { waiter, verdict } => self.answer(credential, waiter, verdict),
                Action::WakeAt(at) => {
                    assert!(at > now, "to be woken at {}, now {}", told(at), told(now));
                    assert!(entry.wake_at.replace(at).is_none(), "woken twice");
                    self.put(at, Item::Wake(credential));
                }
            }
        }
        let server = self.credentials[credential].server;
        for (member, urgency) in renewals {
            let ticket = Ticket(self.count());
            self.passengers.insert(ticket, (credential, member));
            self.servers[server].door.want(ticket, credential as u64, urgency);
            self.admit(server);
        }
    }

    fn answer(&mut self, credential: usize, waiter: WaiterId, verdict: Verdict) {
        let now = self.now;
        let entry = &mut self.credentials[credential];
        let known = entry.waiters.remove(&waiter);
        let (asked_at, until, then) = known.expect("a waiter is answered once");
        assert!(now <= until.max(asked_at), "answered {:?} late", now.since(until));
        let token = match verdict {
            Verdict::Serve { member } => {
                let token = entry.published[usize::from(member)];
                Some(token.expect("served with what is published"))
            }
            Verdict::Keep | Verdict::Failed(_) => None,
        };
        let wait = Wait { credential, asked_at, answered_at: now, until, verdict, token };
        self.waits.push(wait);
        self.schedule(now, move |world| then(world, wait));
    }

    fn admit(&mut self, server: usize) {
        let (admitted, wake_at) = self.servers[server].door.admit(self.now);
        if let Some(at) = wake_at {
            assert!(at > self.now, "the door opens at {}", told(at));
            if self.servers[server].wake_at.replace(at) != Some(at) {
                self.put(at, Item::Door(server));
            }
        }
        for ticket in admitted {
            let (credential, member) = self.passengers[&ticket];
            let number = self.requests.len();
            let request = Request { number, at: self.now, credential, member };
            self.requests.push(request);
            let reply = self.servers[server].endpoint.answer(&request);
            self.put(self.now + reply.after, Item::Reply { ticket, request, reply });
        }
    }

    fn step(&mut self, item: Item) {
        match item {
            Item::Wake(credential) => {
                if self.credentials[credential].wake_at == Some(self.now) {
                    self.happen(credential, Event::Woken);
                }
            }
            Item::Door(server) => {
                if self.servers[server].wake_at == Some(self.now) {
                    self.servers[server].wake_at = None;
                    self.admit(server);
                }
            }
            Item::Reply { ticket, request, reply } => self.land(ticket, request, reply),
            Item::Happening(happening) => happening(self),
        }
    }

    fn land(&mut self, ticket: Ticket, request: Request, reply: Reply) {
        let Request { number, at, credential, member } = request;
        self.passengers.remove(&ticket);
        let entry = &mut self.credentials[credential];
        let index = usize::from(member);
        assert!(entry.renewing[index], "an answer nobody asked for");
        entry.renewing[index] = false;
        let settled = match reply.outcome {
            Ok(lifetime) => {
                let generation = entry.generations[index] + 1;
                let held = Held { generation, sent_at: at, lifetime };
                entry.granting = Some(number);
                self.happen(credential, Event::Granted { member, held });
                self.credentials[credential].granting = None;
                Settled::Answered
            }
            Err(failure) => {
                self.happen(credential, Event::Failed { member, failure, doubt_since: None });
                if failure.cause.is_passing() {
                    Settled::Faulted { retry_after: failure.retry_after }
                } else {
                    Settled::Answered
                }
            }
        };
        let server = self.credentials[credential].server;
        self.servers[server].door.settle(self.now, ticket, settled, &mut *self.chance);
        self.admit(server);
    }

    fn put(&mut self, at: Timestamp, item: Item) {
        let order = self.count();
        self.queue.insert((at, order), item);
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}
