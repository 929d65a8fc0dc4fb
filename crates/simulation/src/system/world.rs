//! The loop: what happens next, to whom, and what the checkers are told of it.

use std::time::Duration;

use bellwether_lifecycle::renewal::{Order, Step};
use bellwether_lifecycle::{
    Action, Cause, Event, Failure, Held, Lifecycle, Need, Renewal, State, Timestamp, Verdict,
    WaiterId,
};

use super::checkers::{Checkers, Violation};
use super::escrow::Escrow;
use super::fact::{Fact, Place};
use super::fault::Fault;
use super::machine::{Machine, SYNCHRONISED};
use super::mistake::Mistake;
use super::node::{Flight, FlightId, Keeper, Node, Published, Request, Token};
use super::scenario::Scenario;
use super::server::Server;
use super::step::{Errand, Job};
use super::store::{Holder, Store};
use super::totals::Totals;
use crate::chance::Chance;
use crate::timeline::Timeline;

/// What happens next.
#[derive(Debug)]
pub(super) enum Happening {
    /// To a process; those that are stopped meet it later.
    Wake {
        node: usize,
        incarnation: u32,
        credential: usize,
        at: Timestamp,
    },
    Call {
        node: usize,
        credential: usize,
    },
    Refuse {
        node: usize,
        credential: usize,
        generation: u64,
    },
    Watch {
        node: usize,
        incarnation: u32,
        credential: usize,
    },
    Take(FlightId),
    Came {
        flight: FlightId,
        asked: u32,
        job: Box<Job>,
    },
    Leave(usize),
    Back(usize),
    Deadline {
        flight: FlightId,
        request: usize,
    },
    /// An answer is not kept yet, and the lease that it came under runs out.
    Prolong {
        flight: FlightId,
        asked: u32,
    },
    Reload {
        node: usize,
        credential: usize,
        secret: u32,
    },
    /// To the world.
    Carry(Box<Errand>),
    Arrive(usize),
    Start(usize),
    Kill {
        node: usize,
        incarnation: u32,
    },
    Resume(usize),
    Storm(bool),
    Strike(Fault),
    Look {
        last: bool,
    },
    Reauthorise(usize),
}

/// The whole simulated system.
#[derive(Debug)]
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) mistake: Option<Mistake>,
    pub(super) chance: Chance,
    pub(super) timeline: Timeline<Happening>,
    pub(super) now: Timestamp,
    pub(super) machines: Vec<Machine>,
    pub(super) escrows: Vec<Escrow>,
    pub(super) store: Store,
    pub(super) servers: Vec<Server>,
    pub(super) nodes: Vec<Node>,
    pub(super) requests: Vec<Request>,
    pub(super) weather: super::weather::Weather,
    pub(super) grants: Vec<super::truth::Grant>,
    pub(super) totals: Totals,
    checkers: Checkers,
    pub(super) violation: Option<Violation>,
    pub(super) trace: Option<super::trace::Trace>,
    next_serial: u64,
    next_waiter: u64,
}

/// When the world begins: machines have been up for a while.
const BEGIN: Timestamp = Timestamp::from_secs(1_000_000);

impl World {
    pub(super) fn new(scenario: Scenario, mistake: Option<Mistake>, is_traced: bool) -> Self {
        let keys = scenario.plans.len() * 2;
        let mut chance = Chance::new(crate::chance::mix(scenario.seed));
        let machines = (0..scenario.machines)
            .map(|boot| {
                let up_for = Duration::from_secs(1 + chance.below(900_000));
                let error = chance.between(Duration::ZERO, SYNCHRONISED * 2).as_millis() as i64
                    - SYNCHRONISED.as_millis() as i64;
                Machine::booted(boot as u64, BEGIN - up_for, error)
            })
            .collect();
        let mut world = Self {
            chance,
            timeline: Timeline::starting_at(BEGIN),
            now: BEGIN,
            machines,
            escrows: (0..scenario.machines).map(|_| Escrow::new(keys)).collect(),
            store: Store::new(keys),
            servers: scenario.plans.iter().map(|_| Server::new()).collect(),
            nodes: scenario.nodes.iter().map(|&machine| Node::new(machine)).collect(),
            requests: Vec::new(),
            weather: super::weather::Weather::new(&scenario),
            grants: scenario.plans.iter().map(|_| super::truth::Grant::default()).collect(),
            totals: Totals::default(),
            checkers: Checkers::new(&scenario),
            violation: None,
            trace: is_traced.then(super::trace::Trace::default),
            next_serial: 0,
            next_waiter: 0,
            mistake,
            scenario,
        };
        for (credential, plan) in world.scenario.plans.clone().into_iter().enumerate() {
            world.note(None, Some(credential), || format!("{plan:?}"));
        }
        world.begin();
        world
    }

    fn begin(&mut self) {
        for credential in 0..self.scenario.plans.len() {
            let plan = format!("{:?}", self.scenario.plans[credential]);
            self.note(None, Some(credential), || plan);
            for key in [credential, credential + self.scenario.plans.len()] {
                let refresh = self.scenario.plans[credential].spends.then_some(0);
                let row =
                    super::store::Row { generation: 1, refresh, epoch: 1, ..Default::default() };
                self.store.write(self.now, key, row);
                self.store.forget_history(key);
            }
        }
        for node in 0..self.nodes.len() {
            let after = Duration::from_millis(self.chance.below(2_000));
            self.timeline.add(self.now + after, Happening::Start(node));
            for credential in 0..self.scenario.plans.len() {
                self.call_later(node, credential);
            }
        }
        self.timeline.add(self.now + self.scenario.calm, Happening::Storm(true));
    }

    pub(super) fn run(&mut self) {
        let end = BEGIN + self.scenario.length;
        while self.violation.is_none() {
            let Some((now, happening)) = self.timeline.next_before(end) else { break };
            self.now = now;
            self.happen(happening);
        }
        let lived = self.now.min(end).since(BEGIN);
        self.totals.simulated +=
            if self.violation.is_none() { self.scenario.length } else { lived };
        self.totals.runs += 1;
    }

    /// Tells the checkers.
    pub(super) fn tell(&mut self, fact: Fact) {
        self.trace_fact(&fact);
        if self.violation.is_none()
            && let Err(violation) = self.checkers.see(self.now, &fact)
        {
            self.violation = Some(violation);
        }
    }

    pub(super) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    pub(super) fn place(&self, node: usize, credential: usize) -> Place {
        Place { node, incarnation: self.nodes[node].incarnation, credential }
    }

    pub(super) fn local(&self, node: usize) -> Timestamp {
        self.machines[self.nodes[node].machine].now(self.now)
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(node) = Self::process_of(&happening, &self.requests)
            && self.nodes[node].is_up
            && self.now < self.nodes[node].paused_until
        {
            return self.nodes[node].deferred.push(happening);
        }
        match happening {
            Happening::Wake { node, incarnation, credential, at } => {
                let process = &mut self.nodes[node];
                if process.incarnation == incarnation
                    && let Some(keeper) = process.keepers.get_mut(credential)
                    && keeper.wake_at == Some(at)
                {
                    keeper.wake_at = None;
                    self.handle(node, credential, Event::Woken, None);
                }
            }
            Happening::Call { node, credential } => self.call(node, credential),
            Happening::Refuse { node, credential, generation } => {
                self.refuse(node, credential, generation);
            }
            Happening::Watch { node, incarnation, credential } => {
                self.watch(node, incarnation, credential);
            }
            Happening::Take(flight) => self.take(flight),
            Happening::Carry(errand) => self.carry(&errand),
            Happening::Came { flight, asked, job } => self.came(flight, asked, *job),
            Happening::Leave(request) => self.leave(request),
            Happening::Arrive(request) => self.arrive(request),
            Happening::Back(request) => self.back(request),
            Happening::Deadline { flight, request } => self.out_of_time(flight, request),
            Happening::Prolong { flight, asked } => self.prolong(flight, asked),
            Happening::Reload { node, credential, secret } => {
                self.nodes[node].secret = secret;
                self.reconfigure(node, credential);
            }
            Happening::Start(node) => self.start(node),
            Happening::Kill { node, incarnation } => {
                if self.nodes[node].incarnation == incarnation {
                    self.kill(node);
                }
            }
            Happening::Resume(node) => self.resume(node),
            Happening::Storm(begins) => self.turn(begins),
            Happening::Strike(fault) => self.strike(fault),
            Happening::Look { last } => self.look(last),
            Happening::Reauthorise(credential) => self.reauthorise(credential),
        }
    }

    /// The process that something happens to.
    fn process_of(happening: &Happening, requests: &[Request]) -> Option<usize> {
        match *happening {
            Happening::Wake { node, .. }
            | Happening::Call { node, .. }
            | Happening::Refuse { node, .. }
            | Happening::Watch { node, .. }
            | Happening::Reload { node, .. } => Some(node),
            Happening::Take(flight)
            | Happening::Came { flight, .. }
            | Happening::Deadline { flight, .. }
            | Happening::Prolong { flight, .. } => Some(flight.node),
            Happening::Leave(request) | Happening::Back(request) => {
                Some(requests[request].flight.node)
            }
            Happening::Carry(_)
            | Happening::Arrive(_)
            | Happening::Start(_)
            | Happening::Kill { .. }
            | Happening::Resume(_)
            | Happening::Storm(_)
            | Happening::Strike(_)
            | Happening::Look { .. }
            | Happening::Reauthorise(_) => None,
        }
    }

    /// A process that was stopped goes on with what came meanwhile.
    fn resume(&mut self, node: usize) {
        if self.now < self.nodes[node].paused_until {
            return;
        }
        for happening in std::mem::take(&mut self.nodes[node].deferred) {
            self.timeline.add(self.now, happening);
        }
    }

    /// Passes an event to a credential's lifecycle and carries out what it decides.
    pub(super) fn handle(
        &mut self,
        node: usize,
        credential: usize,
        event: Event,
        token: Option<Token>,
    ) {
        self.totals.events += 1;
        let now = self.local(node);
        let incarnation = self.nodes[node].incarnation;
        let Some(keeper) = self.nodes[node].keepers.get_mut(credential) else { return };
        let chance = &mut self.chance;
        let mut unit = || (chance.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        let actions = keeper.lifecycle.handle(now, event, &mut unit);
        let mut wake_at = None;
        for action in actions {
            match action {
                Action::Renew { .. } => self.fly(node, credential),
                Action::Publish { held, .. } => self.publish(node, credential, held, token),
                Action::Withdraw { .. } => {
                    let keeper = &mut self.nodes[node].keepers[credential];
                    if let Some(published) = &mut keeper.published {
                        (published.withdrawn, published.at) = (true, self.now);
                    }
                    self.tell(Fact::Withdrawn { place: self.place(node, credential) });
                }
                Action::Answer { waiter, verdict } => {
                    self.answer(node, credential, waiter, verdict);
                }
                Action::WakeAt(at) => wake_at = Some(at),
            }
        }
        if self.makes(Mistake::TimerLost) && self.chance.below(40) == 0 {
            wake_at = None;
        }
        let at = wake_at.map(|at| self.machines[self.nodes[node].machine].world(at));
        let keeper = &mut self.nodes[node].keepers[credential];
        let is_known = keeper.wake_at == wake_at;
        keeper.wake_at = wake_at;
        let state = keeper.lifecycle.status().state;
        let changed = keeper.state != state;
        keeper.state = state;
        if let (Some(local), Some(at), false) = (wake_at, at, is_known) {
            let wake = Happening::Wake { node, incarnation, credential, at: local };
            self.timeline.add(at, wake);
        }
        if changed && state == State::NeedsReauth {
            let soon = self.now + Duration::from_secs(1);
            self.timeline.add(soon, Happening::Watch { node, incarnation, credential });
        }
        if changed {
            self.tell(Fact::Became { place: self.place(node, credential), state });
        }
    }

    fn publish(&mut self, node: usize, credential: usize, held: Held, token: Option<Token>) {
        let Some(token) = token else { return };
        let at = self.now;
        let keeper = &mut self.nodes[node].keepers[credential];
        keeper.generation = held.generation;
        keeper.published = Some(Published { held, token, withdrawn: false, at });
        self.grants[credential].newest = self.grants[credential].newest.max(held.generation);
    }

    /// A caller is told.
    fn answer(&mut self, node: usize, credential: usize, waiter: WaiterId, verdict: Verdict) {
        let keeper = &mut self.nodes[node].keepers[credential];
        if self.mistake == Some(Mistake::WaitersDropped) && matches!(verdict, Verdict::Failed(_)) {
            return;
        }
        let Some(index) = keeper.waiters.iter().position(|&(id, _)| id == waiter) else { return };
        keeper.waiters.swap_remove(index);
        match verdict {
            Verdict::Serve { .. } => self.serve(node, credential),
            Verdict::Keep => {}
            Verdict::Failed(_) => {
                let usable = keeper.published.filter(|published| !published.withdrawn);
                let machine = self.machines[self.nodes[node].machine];
                let usable_until =
                    usable.map(|published| machine.world(published.held.expires_at()));
                let place = self.place(node, credential);
                self.tell(Fact::TurnedAway { place, usable_until });
            }
        }
    }

    /// A caller takes the published token, and uses it.
    fn serve(&mut self, node: usize, credential: usize) {
        let Some(published) = self.nodes[node].keepers[credential].published else { return };
        self.totals.served += 1;
        let Token { access, credential: owner, tolerance } = published.token;
        let server = &mut self.servers[owner];
        let ends_at = server.expires_at(access).unwrap_or(Timestamp::ZERO);
        let taken = server.show(self.now, access);
        let place = self.place(node, credential);
        let just_granted = published.at == self.now;
        let withdrawn = published.withdrawn;
        self.tell(Fact::Served { place, owner, ends_at, tolerance, withdrawn, just_granted });
        let refused = self.weather.is_storm && self.strikes(Fault::TokenRefused);
        if (!taken || refused) && self.chance.below(3) > 0 {
            let generation = published.held.generation;
            let soon = self.now + Duration::from_millis(1);
            self.timeline.add(soon, Happening::Refuse { node, credential, generation });
        }
    }

    /// A caller was refused by the resource server and asks for a cure.
    fn refuse(&mut self, node: usize, credential: usize, generation: u64) {
        if !self.nodes[node].is_up {
            return;
        }
        let waiter = self.wait(node, credential);
        let until = self.local(node) + Duration::from_secs(5);
        let event = Event::Refused { waiter, member: 0, generation, accepted_since: false, until };
        self.handle(node, credential, event, None);
    }

    fn wait(&mut self, node: usize, credential: usize) -> WaiterId {
        self.next_waiter += 1;
        let waiter = WaiterId(self.next_waiter);
        let until = self.now + Duration::from_secs(5);
        self.nodes[node].keepers[credential].waiters.push((waiter, until));
        waiter
    }

    fn call_later(&mut self, node: usize, credential: usize) {
        let every = self.scenario.plans[credential].called_every;
        let after = self.chance.between(Duration::from_millis(10), every * 2);
        self.timeline.add(self.now + after, Happening::Call { node, credential });
    }

    /// A caller needs a token.
    fn call(&mut self, node: usize, credential: usize) {
        self.call_later(node, credential);
        if !self.nodes[node].is_up {
            return;
        }
        self.look_for_forgotten(node, credential);
        let now = self.local(node);
        let need = if self.chance.below(2) == 0 { Need::Use } else { Need::HandOut };
        let ignores = (self.makes(Mistake::ExpiredServed), self.makes(Mistake::WithdrawnServed));
        let serves = |published: &Published| {
            let held = published.held;
            let is_alive = held.is_alive(now) || ignores.0;
            let is_far = need == Need::Use || now < held.hand_out_until();
            is_alive && is_far && (!published.withdrawn || ignores.1)
        };
        if self.nodes[node].keepers[credential].published.as_ref().is_some_and(serves) {
            return self.serve(node, credential);
        }
        let waiter = self.wait(node, credential);
        let until = now + Duration::from_secs(5);
        self.handle(node, credential, Event::Asked { waiter, need, until }, None);
    }

    pub(super) fn look_for_forgotten(&mut self, node: usize, credential: usize) {
        let (now, slack) = (self.now, Duration::from_secs(1));
        if self.weather.is_storm || now.since(self.weather.changed_at) < Duration::from_secs(10) {
            return;
        }
        let waiters = &self.nodes[node].keepers[credential].waiters;
        if let Some(&(_, until)) = waiters.iter().find(|&&(_, until)| until + slack < now) {
            self.tell(Fact::Forgotten { place: self.place(node, credential), until });
        }
    }

    /// Begins a renewal.
    fn fly(&mut self, node: usize, credential: usize) {
        self.next_serial += 1;
        let serial = self.next_serial;
        let plan = &self.scenario.plans[credential];
        let machine = self.nodes[node].machine;
        let per_scope = self.makes(Mistake::FlightPerScope) && node % 2 == 1;
        let key = credential + if per_scope { self.scenario.plans.len() } else { 0 };
        let keeper = &self.nodes[node].keepers[credential];
        let order = Order {
            generation: keeper.generation,
            attempt: keeper.attempt,
            spends: plan.spends,
            replay: plan.replay(),
            usable_until: keeper.lifecycle.usable_until(),
            is_probe: keeper.state == State::Misconfigured,
            request_limit: self.scenario.request_limit,
        };
        let order = self.mistaken_order(order);
        let (renewal, step) = Renewal::begin(order);
        let name = if self.makes(Mistake::OneHolderForAll) { 0 } else { serial };
        let incarnation = self.nodes[node].incarnation;
        let flight = Flight {
            serial,
            credential,
            key,
            renewal,
            order,
            holder: Holder { node, incarnation, machine, name },
            fence: None,
            step,
            asked: 0,
            row: None,
            loaded: None,
            has_room: false,
            intended_at: None,
            saved_at: None,
            loaded_at: Timestamp::ZERO,
            request: None,
            request_ended: false,
            sent_at: Timestamp::ZERO,
            presented: None,
            response: None,
            from_escrow: None,
            met: Failure::new(Cause::Passing),
            met_by_others: false,
            is_published: false,
            is_kept: false,
            has_read: false,
        };
        self.totals.flights += 1;
        debug_assert!(step == Step::Acquire);
        let flights = &mut self.nodes[node].flights;
        let free = flights.iter().position(Option::is_none);
        let slot = free.unwrap_or(flights.len());
        if free.is_none() {
            flights.push(None);
        }
        flights[slot] = Some(Box::new(flight));
        let soon = self.now + Duration::from_micros(20);
        self.timeline.add(soon, Happening::Take(FlightId { node, slot, serial }));
    }

    /// A process starts with what the row and the escrow have.
    fn start(&mut self, node: usize) {
        if self.nodes[node].is_up {
            return;
        }
        let now = self.local(node);
        let process = &mut self.nodes[node];
        (process.is_up, process.paused_until) = (true, Timestamp::ZERO);
        process.incarnation += 1;
        process.deferred.clear();
        process.flights.clear();
        process.keepers = (0..self.scenario.plans.len())
            .map(|credential| Keeper {
                lifecycle: Lifecycle::new(self.scenario.plans[credential].policy(), now),
                published: None,
                generation: 0,
                attempt: 0,
                wake_at: None,
                waiters: Vec::new(),
                state: State::Renewing,
                began_at: now,
                has_loaded: false,
            })
            .collect();
        self.tell(Fact::Started { node });
        for credential in 0..self.scenario.plans.len() {
            self.restore(node, credential);
            self.handle(node, credential, Event::Woken, None);
        }
    }

    /// A person changed something.
    pub(super) fn reconfigure(&mut self, node: usize, credential: usize) {
        if self.nodes[node].is_up {
            self.tell(Fact::Reconfigured { node, credential });
            self.nodes[node].keepers[credential].began_at = self.local(node);
            self.handle(node, credential, Event::Reconfigured, None);
        }
    }
}
