//! One task that owns every credential's lifecycle, every door and every timer.
//!
//! It alone decides; renewals fly in tasks of their own and report back. So a caller that goes
//! away, a slow server or a panic in a renewal cannot leave anything half done.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::{
    Action, Admission, Allowance, Backoff, Chance, Demand, Event, Lifecycle, Settled, State,
    Ticket, Timestamp, Verdict, WaiterId,
};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::command::{Answer, Ask, Command, Tell};
use crate::error::{NoToken, RenewalError};
use crate::flight::{Flight, Landed, Outcome, Surroundings};
use crate::news::News;
use crate::restore;
use crate::settings::{AuthorizationServer, CredentialSettings};
use crate::shared::{Counters, CredentialId, Shared};
use crate::token::Token;

/// Timers stand still while the machine sleeps; so look at the clock at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// How often credentials that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(600);

/// For all secrets that an authorization server has yet to confirm.
const UNVERIFIED: Allowance = Allowance { per_second: 5.0, burst: 50 };

pub(crate) struct Scheduler {
    surroundings: Arc<Surroundings>,
    commands: mpsc::UnboundedReceiver<Command>,
    news: broadcast::Sender<News>,
    credentials: BTreeMap<CredentialId, Entry>,
    doors: HashMap<DoorId, Admission>,
    clients: HashMap<String, u64>,
    timers: BinaryHeap<Reverse<(Timestamp, Wake)>>,
    flights: JoinSet<Landed>,
    in_flight: HashMap<tokio::task::Id, Passenger>,
    queued: HashMap<Ticket, Passenger>,
    next_ticket: u64,
    next_waiter: u64,
    next_sweep: Timestamp,
    chance: fastrand::Rng,
}

/// A door before an authorization server; unproven secrets have one of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct DoorId {
    token_endpoint: String,
    unverified: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Credential(CredentialId),
    Door(DoorId),
}

#[derive(Clone, Debug)]
struct Passenger {
    ticket: Ticket,
    door: DoorId,
    credential: CredentialId,
    member: u16,
}

struct Entry {
    shared: Arc<Shared>,
    lifecycle: Lifecycle,
    wake_at: Option<Timestamp>,
    waiters: HashMap<WaiterId, oneshot::Sender<Answer>>,
    generations: Vec<u64>,
    attempts: Vec<u64>,
    state: State,
    unverified: bool,
}

impl Scheduler {
    pub(crate) fn new(
        surroundings: Arc<Surroundings>,
        commands: mpsc::UnboundedReceiver<Command>,
        news: broadcast::Sender<News>,
        seed: u64,
    ) -> Self {
        let next_sweep = surroundings.clock.now() + SWEEP;
        Self {
            surroundings,
            commands,
            news,
            credentials: BTreeMap::new(),
            doors: HashMap::new(),
            clients: HashMap::new(),
            timers: BinaryHeap::new(),
            flights: JoinSet::new(),
            in_flight: HashMap::new(),
            queued: HashMap::new(),
            next_ticket: 0,
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
                Some(Reverse((at, Wake::Credential(id))))
                    if self.credentials.get(&id).is_some_and(|entry| entry.wake_at == Some(at)) =>
                {
                    self.handle(id, Event::Woken);
                }
                // An earlier event moved it.
                Some(Reverse((_, Wake::Credential(_)))) => {}
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
            Command::Add { shared, restored, attempts } => self.add(shared, restored, attempts),
            Command::Remove(id) => self.remove(id),
            Command::Replace { id, settings } => {
                if let Some(entry) = self.credentials.get(&id) {
                    entry.shared.settings.store(settings);
                    self.handle(id, Event::Reconfigured);
                }
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
            // `run` takes it before it comes here.
            Command::Stop(_) => {}
        }
    }

    fn add(&mut self, shared: Arc<Shared>, restored: Vec<Token>, attempts: Vec<u64>) {
        let id = shared.id;
        let settings = shared.settings.load_full();
        let now = self.surroundings.clock.now();
        let lifecycle = Lifecycle::new(settings.policy(), now);
        let entry = Entry {
            lifecycle,
            wake_at: None,
            waiters: HashMap::new(),
            generations: vec![0; usize::from(settings.pool.max(1))],
            attempts,
            state: State::Renewing,
            unverified: settings.unverified && restored.is_empty(),
            shared,
        };
        self.credentials.insert(id, entry);
        for token in restored {
            let (member, held) = (token.member(), *token.held());
            self.handle_with(id, Event::Restored { member, held }, Some(token));
        }
        self.handle(id, Event::Woken);
    }

    fn remove(&mut self, id: CredentialId) {
        self.credentials.remove(&id);
        let queued = self.queued.values().filter(|passenger| passenger.credential == id);
        let queued: Vec<Passenger> = queued.cloned().collect();
        for passenger in queued {
            self.queued.remove(&passenger.ticket);
            if let Some(door) = self.doors.get_mut(&passenger.door) {
                door.withdraw(passenger.ticket);
            }
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
            let name = shared.settings.load().name.clone();
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
        let mut actions = Vec::new();
        if entry.shared.take_used() {
            actions.append(&mut entry.lifecycle.handle(now, Event::Used, chance));
        }
        actions.append(&mut entry.lifecycle.handle(now, event, chance));
        let mut token = token;
        entry.wake_at = None;
        let mut renewals = Vec::new();
        for action in actions {
            match action {
                Action::Renew { member, urgency } => renewals.push((member, urgency)),
                Action::Publish { member, held } => {
                    let known = &mut entry.generations[usize::from(member)];
                    let gained = held.generation.saturating_sub(*known);
                    *known = held.generation;
                    if let Some(token) = token.take() {
                        entry.shared.publish(token, gained);
                    }
                }
                Action::Withdraw { member } => {
                    Counters::add(&entry.shared.counters.forced);
                    entry.shared.withdraw(member);
                }
                Action::Answer { waiter, verdict } => entry.answer(waiter, verdict),
                Action::WakeAt(at) => {
                    entry.wake_at = Some(at);
                    self.timers.push(Reverse((at, Wake::Credential(id))));
                }
            }
        }
        entry.tell_status(&self.news);
        for (member, urgency) in renewals {
            self.queue(id, member, urgency);
        }
    }

    /// Sends a renewal to the door of its authorization server.
    fn queue(&mut self, id: CredentialId, member: u16, urgency: Timestamp) {
        let Some(entry) = self.credentials.get(&id) else { return };
        let settings = entry.shared.settings.load();
        let server: &AuthorizationServer = &settings.authorization_server;
        let token_endpoint = server.token_endpoint.to_string();
        let door = DoorId { token_endpoint, unverified: entry.unverified };
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        // Unproven clients share one small allowance, whatever names they come with.
        let (client, allowance) = if entry.unverified {
            (u64::MAX, UNVERIFIED)
        } else {
            let next_client = self.clients.len() as u64;
            let client = self.clients.entry(settings.client.id.clone()).or_insert(next_client);
            (*client, server.allowance)
        };
        let passenger = Passenger { ticket, door: door.clone(), credential: id, member };
        self.queued.insert(ticket, passenger);
        self.doors
            .entry(door.clone())
            .or_insert_with(|| Admission::new(allowance, Backoff::PASSING))
            .want(ticket, client, urgency);
        self.admit(&door);
    }

    fn admit(&mut self, door: &DoorId) {
        let now = self.surroundings.clock.now();
        let Some(admission) = self.doors.get_mut(door) else { return };
        let (admitted, wake) = admission.admit(now);
        if let Some(at) = wake {
            self.timers.push(Reverse((at, Wake::Door(door.clone()))));
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
        let settings: Arc<CredentialSettings> = entry.shared.settings.load_full();
        let index = usize::from(passenger.member);
        let flight = Arc::new(Flight {
            surroundings: Arc::clone(&self.surroundings),
            settings,
            member: passenger.member,
            generation: entry.generations.get(index).copied().unwrap_or_default(),
            attempt: entry.attempts.get(index).copied().unwrap_or_default(),
        });
        let task = self.flights.spawn(flight.fly());
        self.in_flight.insert(task.id(), passenger);
    }

    fn land(&mut self, landed: Result<(tokio::task::Id, Landed), tokio::task::JoinError>) {
        let (task, landed) = match landed {
            Ok((task, landed)) => (task, landed),
            Err(error) => {
                tracing::error!("a renewal panicked; it is tried again");
                let error_value = RenewalError::Defect;
                let failure = error_value.failure(false);
                let outcome = Outcome::Failed { failure, error: Arc::new(error_value) };
                (error.id(), Landed { outcome, sent: false, attempt: 0 })
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
        let now = self.surroundings.clock.now();
        if let Some(door) = self.doors.get_mut(&passenger.door) {
            door.settle(now, passenger.ticket, settled, &mut Spread(&mut self.chance));
        }
        self.admit(&passenger.door.clone());
    }

    fn report(&mut self, passenger: &Passenger, landed: Landed) {
        let (id, member) = (passenger.credential, passenger.member);
        let Some(entry) = self.credentials.get_mut(&id) else { return };
        let counters = &entry.shared.counters;
        if let Some(attempt) = entry.attempts.get_mut(usize::from(member)) {
            *attempt = (*attempt).max(landed.attempt);
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
                entry.unverified = false;
                entry.shared.last_error.store(None);
                let held = *token.held();
                self.handle_with(id, Event::Granted { member, held }, Some(token));
            }
            Outcome::Elsewhere { retry_after } => {
                self.handle(id, Event::Elsewhere { member, retry_after });
            }
            Outcome::Failed { failure, error } => {
                Counters::add(&counters.failures);
                tracing::warn!(
                    credential = %entry.shared.settings.load().name,
                    member, cause = ?failure.cause, %error, "renewal failed"
                );
                entry.shared.last_error.store(Some(error));
                self.handle(id, Event::Failed { member, failure });
            }
        }
    }
}

impl Entry {
    fn answer(&mut self, waiter: WaiterId, verdict: Verdict) {
        let Some(reply) = self.waiters.remove(&waiter) else { return };
        let answer = match verdict {
            Verdict::Serve { member } => match self.shared.slot(member) {
                Some(token) => Ok(Some(token)),
                None => Err(NoToken::stopped()),
            },
            Verdict::Keep => Ok(None),
            Verdict::Failed(failure) => {
                Err(NoToken::new(failure, self.shared.last_error.load_full()))
            }
        };
        // The caller may have gone; what it waited for is kept all the same.
        let _ = reply.send(answer);
    }

    fn tell_status(&mut self, news: &broadcast::Sender<News>) {
        let status = self.lifecycle.status();
        let changed = status.state != self.state;
        self.state = status.state;
        if **self.shared.status.load() == status {
            return;
        }
        self.shared.status.store(Arc::new(status));
        let name = self.shared.settings.load().name.clone();
        if changed {
            tracing::info!(credential = %name, state = %status.state, "state");
        }
        // Nobody has to listen.
        let _ = news.send(News::Status { name, status });
    }
}

/// Spread for the pure machines.
struct Spread<'a>(&'a mut fastrand::Rng);

impl Chance for Spread<'_> {
    fn unit(&mut self) -> f64 {
        self.0.f64()
    }
}
