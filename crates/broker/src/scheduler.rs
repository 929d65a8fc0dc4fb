//! One task that owns every credential's lifecycle, every door and every timer.
//!
//! It alone decides; renewals fly in tasks of their own and report back. So a caller that goes
//! away, a slow server or a panic in a renewal cannot leave anything half done.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_lifecycle::renewal::Order;
use bellwether_lifecycle::{
    Action, Cause, Chance, Demand, Event, Lifecycle, Policy, Settled, State, Ticket, Timestamp,
    WaiterId,
};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use crate::command::{Answer, Ask, Command, Tell};
use crate::doors::{DoorId, Doors};
use crate::entry::{Entry, Waiters};
use crate::error::NoToken;
use crate::flight::{Aftermath, Flight, Landed, Outcome};
use crate::news::News;
use crate::restore;
use crate::settings::Credential;
use crate::shared::{Counters, CredentialId, Shared};
use crate::surroundings::Surroundings;
use crate::token::Token;

/// Timers stand still while the machine sleeps; so look at the clock at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// How often credentials that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(600);

pub(crate) struct Scheduler {
    surroundings: Arc<Surroundings>,
    commands: mpsc::UnboundedReceiver<Command>,
    news: broadcast::Sender<News>,
    /// Boxed, since a tree's leaves are half empty.
    credentials: BTreeMap<CredentialId, Box<Entry>>,
    policies: Vec<Arc<Policy>>,
    doors: Doors,
    timers: BinaryHeap<Reverse<(Timestamp, Wake)>>,
    flights: JoinSet<Ended>,
    in_flight: HashMap<tokio::task::Id, Passenger>,
    queued: BTreeMap<Ticket, Passenger>,
    next_waiter: u64,
    next_sweep: Timestamp,
    chance: fastrand::Rng,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Credential(CredentialId),
    Door(Arc<DoorId>),
}

#[derive(Clone, Debug)]
struct Passenger {
    ticket: Ticket,
    door: Arc<DoorId>,
    credential: CredentialId,
    member: u16,
}

/// How far a renewal's task has come.
enum Ended {
    /// There is something to tell; the rest goes on behind.
    Landed(Landed, Box<Aftermath>),
    Finished,
}

impl Scheduler {
    pub(crate) fn new(
        surroundings: Arc<Surroundings>,
        commands: mpsc::UnboundedReceiver<Command>,
        doors: Doors,
        news: broadcast::Sender<News>,
        seed: u64,
    ) -> Self {
        let next_sweep = surroundings.clock.now() + SWEEP;
        Self {
            surroundings,
            commands,
            news,
            credentials: BTreeMap::new(),
            policies: Vec::new(),
            doors,
            timers: BinaryHeap::new(),
            flights: JoinSet::new(),
            in_flight: HashMap::new(),
            queued: BTreeMap::new(),
            next_waiter: 0,
            next_sweep,
            chance: fastrand::Rng::with_seed(seed),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let pause = self.pause();
            tokio::select! {
                biased;
                Some(landed) = self.flights.join_next_with_id(), if !self.flights.is_empty() => {
                    self.land(landed);
                }
                command = self.commands.recv() => match command {
                    Some(Command::Stop(done)) => {
                        self.drain().await;
                        // Whoever waited for the stop may have given up.
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.obey(command),
                    None => return self.drain().await,
                },
                () = sleep(pause) => {}
            }
            self.wake();
        }
    }

    /// Lets renewals under way finish, so that nothing a server granted is thrown away.
    async fn drain(&mut self) {
        // What the store does not take now stays in the escrow.
        self.surroundings.stopping.send_replace(true);
        while let Some(landed) = self.flights.join_next_with_id().await {
            self.land(landed);
        }
    }

    fn pause(&self) -> Duration {
        let now = self.surroundings.clock.now();
        let next = self.timers.peek().map_or(Timestamp::NEVER, |Reverse((at, _))| *at);
        now.until(next.min(self.next_sweep)).min(LONGEST_SLEEP)
    }

    fn wake(&mut self) {
        let now = self.surroundings.clock.now();
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
        {
            match self.timers.pop() {
                Some(Reverse((at, Wake::Credential(id)))) => {
                    let entry = self.credentials.get_mut(&id);
                    // An earlier one was wound up since.
                    let Some(entry) = entry.filter(|entry| entry.rings_at == at) else { continue };
                    entry.rings_at = Timestamp::NEVER;
                    match entry.lifecycle.wakes_at() {
                        Some(at) if now < at => self.wind_up(id, at),
                        Some(_) => self.handle(id, Event::Woken),
                        None => {}
                    }
                }
                Some(Reverse((_, Wake::Door(door)))) => self.admit(&door),
                None => {}
            }
        }
        if now >= self.next_sweep {
            self.sweep(now);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add { shared, restored, attempts, is_unsettled } => {
                let id = shared.id;
                self.add(shared, restored, attempts);
                self.handle(id, if is_unsettled { Event::Renew } else { Event::Woken });
            }
            Command::Remove(id) => self.remove(id),
            Command::Replace { id, settings, done } => {
                if let Some(entry) = self.credentials.get(&id) {
                    let keyring = &self.surroundings.keyring;
                    let before = entry.shared.settings.swap(Arc::clone(&settings));
                    // Asked for otherwise, a token is another one: what is held is nobody's any more.
                    if before.identity(keyring) != settings.identity(keyring) {
                        let held = (0_u16..).zip(entry.lifecycle.held());
                        let held =
                            held.filter_map(|(member, held)| Some((member, held?.generation)));
                        for (member, generation) in held.collect::<Vec<_>>() {
                            self.handle(id, Event::FoundDead { member, generation });
                        }
                    }
                    self.handle(id, Event::Reconfigured);
                }
                // Whoever waited may have gone.
                let _ = done.send(());
            }
            Command::Ask { id, ask, until, reply } => self.ask(id, ask, until, reply),
            Command::Tell { id, tell } => match tell {
                Tell::Accepted { member, generation } => {
                    self.handle(id, Event::Accepted { member, generation });
                }
                Tell::FoundDead { member, generation } => {
                    self.handle(id, Event::FoundDead { member, generation });
                }
                Tell::ReplayRefused { member, generation } => {
                    self.handle(id, Event::ReplayRefused { member, generation });
                }
                Tell::Renew => self.handle(id, Event::Renew),
                Tell::Reconfigured => self.handle(id, Event::Reconfigured),
            },
            Command::Visit { server, client, reply } => {
                let now = self.surroundings.clock.now();
                let door = self.doors.visit(&server, client.as_deref(), now, reply);
                self.admit(&door);
            }
            Command::Leave { door, ticket, settled } => self.leave(&door, ticket, settled),
            // `run` takes it before it comes here.
            Command::Stop(_) => {}
        }
    }

    fn add(&mut self, shared: Arc<Shared>, restored: Vec<Token>, attempts: Vec<u64>) {
        let id = shared.id;
        let settings = shared.settings.load_full();
        let now = self.surroundings.clock.now();
        let lifecycle = Lifecycle::new(self.policy(settings.policy()), now);
        let entry = Entry {
            lifecycle,
            rings_at: Timestamp::NEVER,
            waiters: Waiters::default(),
            attempts: attempts.into_iter().collect(),
            shared,
        };
        self.credentials.insert(id, Box::new(entry));
        for token in restored {
            let (member, held) = (token.member(), *token.held());
            self.handle_with(id, Event::Restored { member, held }, Some(token.inherited()));
        }
    }

    /// The same policy for all who are kept alike.
    fn policy(&mut self, policy: Policy) -> Arc<Policy> {
        match self.policies.iter().find(|known| ***known == policy) {
            Some(known) => Arc::clone(known),
            None => {
                let policy = Arc::new(policy);
                self.policies.push(Arc::clone(&policy));
                policy
            }
        }
    }

    fn remove(&mut self, id: CredentialId) {
        self.credentials.remove(&id);
        let queued = self.queued.values().filter(|passenger| passenger.credential == id);
        let queued: Vec<Passenger> = queued.cloned().collect();
        for passenger in queued {
            self.queued.remove(&passenger.ticket);
            self.doors.withdraw(&passenger.door, passenger.ticket);
        }
    }

    /// Forgets callers' own credentials that nobody asked for during a whole lifetime.
    fn sweep(&mut self, now: Timestamp) {
        self.next_sweep = now + SWEEP;
        let (mut idle, mut used) = (Vec::new(), Vec::new());
        for (id, entry) in &self.credentials {
            let settings = entry.shared.settings.load();
            if settings.demand == Demand::Always {
                continue;
            }
            if entry.shared.is_used() {
                used.push(*id);
            } else if entry.lifecycle.is_idle(now) {
                idle.push((*id, Arc::clone(&entry.shared)));
            }
        }
        for id in used {
            self.handle(id, Event::Woken);
        }
        for (id, shared) in idle {
            self.remove(id);
            let name = shared.settings.load().name.to_string();
            let _ = self.news.send(News::Forgotten { name });
            let surroundings = Arc::clone(&self.surroundings);
            tokio::spawn(async move {
                restore::forget(&surroundings, &shared.settings.load()).await;
            });
        }
    }

    fn ask(
        &mut self,
        id: CredentialId,
        ask: Ask,
        until: Timestamp,
        reply: oneshot::Sender<Answer>,
    ) {
        self.next_waiter += 1;
        let waiter = WaiterId(self.next_waiter);
        let Some(entry) = self.credentials.get_mut(&id) else {
            // Whoever asked may have gone.
            let _ = reply.send(Err(NoToken::stopped()));
            return;
        };
        entry.waiters.insert(waiter, reply);
        let event = match ask {
            Ask::Token(need) => Event::Asked { waiter, need, until },
            Ask::Cure { member, generation, accepted_since } => {
                Event::Refused { waiter, member, generation, accepted_since, until }
            }
            Ask::NoCache => Event::NoCache { waiter, until },
        };
        self.handle(id, event);
    }

    fn handle(&mut self, id: CredentialId, event: Event) {
        self.handle_with(id, event, None);
    }

    /// Passes an event to a credential's lifecycle and carries out what it decides. `token` is the
    /// one that the event is about.
    fn handle_with(&mut self, id: CredentialId, event: Event, token: Option<Token>) {
        let now = self.surroundings.clock.now();
        let Some(entry) = self.credentials.get_mut(&id) else { return };
        let chance = &mut Spread(&mut self.chance);
        if entry.shared.take_used() {
            // No event of its own: nothing is renewed before what is stored is restored.
            entry.lifecycle.note_used(now);
        }
        let mut token = token;
        let known = token.as_ref().map_or(0, |token| entry.generation(token.member()));
        let actions = entry.lifecycle.handle(now, event, chance);
        let mut renewals = Vec::new();
        for action in actions {
            match action {
                Action::Renew { member, urgency } => renewals.push((member, urgency)),
                Action::Publish { held, .. } => {
                    if let Some(token) = token.take() {
                        entry.shared.publish(token, held.generation.saturating_sub(known));
                    }
                }
                Action::Withdraw { member } => {
                    Counters::add(&entry.shared.counters.forced);
                    entry.shared.withdraw(member);
                }
                Action::Answer { waiter, verdict } => entry.answer(waiter, verdict),
                // Below, from where the latest is kept.
                Action::WakeAt(_) => {}
            }
        }
        entry.tell_status(&self.news);
        if let Some(at) = entry.lifecycle.wakes_at() {
            self.wind_up(id, at);
        }
        for (member, urgency) in renewals {
            self.queue(id, member, urgency);
        }
    }

    /// Has a timer ring by then; one that rings earlier is wound up again when it does.
    fn wind_up(&mut self, id: CredentialId, at: Timestamp) {
        let entry = self.credentials.get_mut(&id);
        if let Some(entry) = entry.filter(|entry| at < entry.rings_at) {
            entry.rings_at = at;
            self.timers.push(Reverse((at, Wake::Credential(id))));
        }
    }

    /// Sends a renewal to the door of its authorization server.
    fn queue(&mut self, id: CredentialId, member: u16, urgency: Timestamp) {
        let Some(entry) = self.credentials.get(&id) else { return };
        let settings = entry.shared.settings.load();
        let client = (!entry.is_unverified()).then_some(settings.client.id.as_str());
        let (door, ticket) = self.doors.want(&settings.authorization_server, client, urgency);
        let passenger = Passenger { ticket, door: Arc::clone(&door), credential: id, member };
        self.queued.insert(ticket, passenger);
        self.admit(&door);
    }

    fn admit(&mut self, door: &Arc<DoorId>) {
        let now = self.surroundings.clock.now();
        let (admitted, wake) = self.doors.admit(door, now);
        if let Some(at) = wake {
            self.timers.push(Reverse((at, Wake::Door(Arc::clone(door)))));
        }
        for ticket in admitted {
            if let Some(passenger) = self.queued.remove(&ticket) {
                self.take_off(passenger);
            }
        }
    }

    fn take_off(&mut self, passenger: Passenger) {
        let Some(entry) = self.credentials.get(&passenger.credential) else {
            return self.settle(&passenger, Settled::NotSent);
        };
        let settings: Arc<Credential> = entry.shared.settings.load_full();
        let attempt = entry.attempts.get(usize::from(passenger.member));
        let order = Order {
            generation: entry.generation(passenger.member),
            attempt: attempt.copied().unwrap_or(0),
            spends: settings.spends(),
            replay: settings.policy().replay,
            usable_until: entry.lifecycle.usable_until(),
            is_probe: entry.shared.status().state == State::Misconfigured,
            request_limit: settings.authorization_server.request_limit,
        };
        let surroundings = Arc::clone(&self.surroundings);
        let flight = Flight::new(surroundings, settings, passenger.member, order);
        let task = self.flights.spawn(async move {
            let (landed, aftermath) = flight.fly().await;
            Ended::Landed(landed, Box::new(aftermath))
        });
        self.in_flight.insert(task.id(), passenger);
    }

    fn land(&mut self, ended: Result<(tokio::task::Id, Ended), JoinError>) {
        let (task, landed) = match ended {
            Ok((_, Ended::Finished)) => return,
            Ok((task, Ended::Landed(landed, aftermath))) => {
                self.flights.spawn(async move {
                    aftermath.finish().await;
                    Ended::Finished
                });
                (task, landed)
            }
            Err(error) => {
                tracing::error!("a renewal panicked; it is tried again");
                (error.id(), Landed::panicked())
            }
        };
        let Some(passenger) = self.in_flight.remove(&task) else { return };
        let settled = match (&landed.outcome, landed.sent) {
            (_, false) => Settled::NotSent,
            (Outcome::Failed { failure, .. }, true) if failure.cause.is_passing() => {
                Settled::Faulted { retry_after: failure.retry_after }
            }
            (
                Outcome::Granted { .. } | Outcome::Failed { .. } | Outcome::Elsewhere { .. },
                true,
            ) => Settled::Answered,
        };
        self.report(&passenger, landed);
        self.settle(&passenger, settled);
    }

    fn settle(&mut self, passenger: &Passenger, settled: Settled) {
        self.leave(&passenger.door, passenger.ticket, settled);
    }

    fn leave(&mut self, door: &Arc<DoorId>, ticket: Ticket, settled: Settled) {
        let now = self.surroundings.clock.now();
        self.doors.settle(now, door, ticket, settled, &mut Spread(&mut self.chance));
        self.admit(door);
    }

    fn report(&mut self, passenger: &Passenger, landed: Landed) {
        let (id, member) = (passenger.credential, passenger.member);
        let Some(entry) = self.credentials.get_mut(&id) else { return };
        let counters = &entry.shared.counters;
        if let Some(attempt) = entry.attempts.get_mut(usize::from(member)) {
            *attempt = landed.attempt.max(*attempt);
        }
        if landed.sent {
            Counters::add(&counters.token_requests);
        }
        match landed.outcome {
            Outcome::Granted { token } => {
                Counters::add(&counters.renewals);
                if !landed.sent {
                    Counters::add(&counters.adopted);
                }
                entry.shared.set_last_error(None);
                let token = if landed.sent { token } else { token.inherited() };
                let held = *token.held();
                if held.generation < entry.generation(member) {
                    let name = entry.shared.settings.load().name.to_string();
                    self.surroundings.tally.violated(&name, "a generation goes down");
                }
                self.handle_with(id, Event::Granted { member, held }, Some(token));
                if landed.is_unsettled {
                    self.handle(id, Event::Renew);
                }
            }
            Outcome::Elsewhere { retry_after } => {
                self.handle(id, Event::Elsewhere { member, retry_after });
            }
            Outcome::Failed { failure, doubt_since, error } => {
                Counters::add(&counters.failures);
                if failure.cause == Cause::InDoubt {
                    self.surroundings.tally.doubts.fetch_add(1, Ordering::Relaxed);
                }
                tracing::warn!(
                    credential = %entry.shared.settings.load().name,
                    member, cause = ?failure.cause, %error, "renewal failed"
                );
                entry.shared.set_last_error(Some(error));
                self.handle(id, Event::Failed { member, failure, doubt_since });
            }
        }
    }
}

/// Spread for the pure machines.
struct Spread<'a>(&'a mut fastrand::Rng);

impl Chance for Spread<'_> {
    fn unit(&mut self) -> f64 {
        self.0.f64()
    }
}
