//! Bellwether in a rehearsal: the real lifecycle, admission and budget of every process, and the
//! store that they share.
//!
//! The store is its promises alone: a row for each pool member with its generation, and one holder
//! of the lease at a time. What a process does between two steps of a renewal is `system`'s matter.

use std::time::Duration;

use bellwether_lifecycle as lifecycle;
use bellwether_lifecycle::{
    Action, Admission, Backoff, Budget, Cause, Event, Failure, Held, Lifecycle, Need, Policy,
    Quota, Settled, Take, Ticket, Timestamp, Verdict, WaiterId,
};

use super::Setup;
use super::machine::{Bearer, Call, LoginAnswer, NoLogin, Order, Orders, Want, WorkerNumber};
use crate::by_number::Granted;
use crate::chance::Chance;

/// How long a process waits that found another one renewing.
const LEASE_BUSY: Duration = Duration::from_millis(200);
/// The longest a caller is held.
pub(super) const PATIENCE: Duration = Duration::from_secs(14);
/// One client: all share its allowance.
const CLIENT: u64 = 0;

/// The processes of one client, over one store.
#[derive(Debug)]
pub(super) struct Brokers {
    processes: Vec<Process>,
    rows: Vec<Row>,
    chance: Chance,
    /// What lifecycles answered to waiters, until a machine has read it.
    pub(super) answers: Vec<(WorkerNumber, Verdict)>,
}

#[derive(Debug)]
struct Process {
    lifecycle: Lifecycle,
    admission: Admission,
    budget: Option<Budget>,
    published: Vec<Option<Published>>,
    /// Workers that wait for room in the budget; a new token brings its own.
    waiting: Vec<WorkerNumber>,
    door_wakes: Option<Timestamp>,
    wakes: Option<Timestamp>,
    turn: usize,
}

/// A member's token as callers of a process find it.
#[derive(Clone, Copy, Debug)]
struct Published {
    serial: u64,
    held: Held,
    accepted_sent_at: Option<Timestamp>,
    /// When the latest request was sent that was refused, and none was taken since.
    refused_sent_at: Option<Timestamp>,
}

/// A member's row in the store.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    serial: u64,
    held: Option<Held>,
    /// Which process got the token; the others take it for spent.
    renewed_by: u32,
    /// Which process renews it.
    holder: Option<u32>,
}

impl Row {
    fn generation(&self) -> u64 {
        self.held.map_or(0, |held| held.generation)
    }
}

/// Spreads leads and back-off from the rehearsal's seed.
pub(super) struct Spread<'c>(pub(super) &'c mut Chance);

impl lifecycle::Chance for Spread<'_> {
    fn unit(&mut self) -> f64 {
        (self.0.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a caller finds that wants to send one API request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spend {
    /// Send it with this token.
    With(Bearer),
    /// Every token is spent until then.
    Until(Timestamp),
    /// No token is held.
    Empty,
}

impl Brokers {
    /// `processes` of them. The API's limit is shared out, since none knows what others spend.
    pub(super) fn new(setup: &Setup, processes: u32) -> Self {
        let members = setup.pool.max(1);
        let processes = processes.max(1);
        let quota = setup
            .profile
            .api_limit
            .map(|limit| Quota { requests: (limit.count / processes).max(1), per: limit.window });
        let policy = std::sync::Arc::new(Policy { pool: members, ..Policy::DEFAULT });
        let process = |_| Process {
            lifecycle: Lifecycle::new(std::sync::Arc::clone(&policy), super::START),
            admission: Admission::new(setup.allowance, Backoff::PASSING),
            budget: quota.map(|quota| Budget::new(quota, members)),
            published: vec![None; usize::from(members)],
            waiting: Vec::new(),
            door_wakes: None,
            wakes: None,
            turn: 0,
        };
        Self {
            processes: (0..processes).map(process).collect(),
            rows: vec![Row::default(); usize::from(members)],
            chance: Chance::new(setup.seed ^ 0x6c69_6665),
            answers: Vec::new(),
        }
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.processes.len()).unwrap_or(u32::MAX)
    }

    /// Nearly always there is one, and a division for every request would show.
    fn process_of(&self, worker: WorkerNumber) -> u32 {
        if self.processes.len() == 1 { 0 } else { worker % self.count() }
    }

    /// A token for one API request, counted against its limit.
    pub(super) fn spend(&mut self, now: Timestamp, worker: WorkerNumber) -> Spend {
        let process = self.process_of(worker);
        let Process { budget, published, .. } = &mut self.processes[process as usize];
        let Some(budget) = budget else {
            return self.any(now, process).map_or(Spend::Empty, Spend::With);
        };
        loop {
            match budget.take(now) {
                Take::Spend { member } => {
                    let token = published[usize::from(member)];
                    match token.filter(|token| token.held.is_alive(now)) {
                        Some(token) => return Spend::With(bearer(member, &token)),
                        None => budget.publish(member, None),
                    }
                }
                Take::Wait(opens) => return Spend::Until(opens),
                Take::Empty => return Spend::Empty,
            }
        }
    }

    /// Where there is no limit: the members' tokens in turn.
    fn any(&mut self, now: Timestamp, process: u32) -> Option<Bearer> {
        let alive = |token: &Published| token.held.is_alive(now);
        let (member, token) = self.next(process, alive)?;
        Some(bearer(member, &token))
    }

    /// A token to keep for a while, and how long it is good, in whole seconds.
    pub(super) fn hand_out(&mut self, now: Timestamp) -> Option<Granted> {
        let (_, token) = self.next(0, |token| now < token.held.hand_out_until())?;
        Some(granted(now, &token))
    }

    /// The token of a member that a waiter was told to take.
    pub(super) fn served(&self, now: Timestamp, member: u16) -> Option<Granted> {
        let token = self.processes[0].published[usize::from(member)]?;
        Some(granted(now, &token))
    }

    fn next(
        &mut self,
        process: u32,
        fits: impl Fn(&Published) -> bool,
    ) -> Option<(u16, Published)> {
        let Process { published, turn, .. } = &mut self.processes[process as usize];
        let count = published.len();
        for offset in 0..count {
            let index = (*turn + offset) % count;
            if let Some(token) = published[index].filter(&fits) {
                *turn = index + 1;
                return Some((u16::try_from(index).unwrap_or(u16::MAX), token));
            }
        }
        None
    }

    /// A worker waits until there is room in the budget, or a new token.
    pub(super) fn wait_for_room(
        &mut self,
        worker: WorkerNumber,
        at: Timestamp,
        orders: &mut Orders,
    ) {
        let process = self.process_of(worker);
        self.processes[process as usize].waiting.push(worker);
        orders.push(Order::ResumeAt(worker, at));
    }

    /// A worker waits for a token; the lifecycle answers, maybe at once.
    pub(super) fn wait_for_token(
        &mut self,
        now: Timestamp,
        want: Want,
        need: Need,
        orders: &mut Orders,
    ) {
        let Want { worker, until } = want;
        let waiter = WaiterId(u64::from(worker));
        self.tell(now, self.process_of(worker), Event::Asked { waiter, need, until }, orders);
    }

    /// Whether a worker's process could send another API request now.
    pub(super) fn has_room(&self, now: Timestamp, worker: WorkerNumber) -> bool {
        let process = self.process_of(worker);
        let budget = self.processes[process as usize].budget.as_ref();
        budget.is_some_and(|budget| budget.left(now).is_none_or(|left| left > 0))
    }

    /// The API took a token. Nearly always this is no news.
    #[inline]
    pub(super) fn accepted(&mut self, now: Timestamp, call: Call, orders: &mut Orders) {
        let Call { worker, bearer, sent_at } = call;
        let process = self.process_of(worker);
        let slot = &mut self.processes[process as usize].published[usize::from(bearer.member)];
        let Some(token) = slot.as_mut().filter(|token| token.serial == bearer.serial) else {
            return;
        };
        let is_first = token.accepted_sent_at.is_none();
        token.accepted_sent_at = token.accepted_sent_at.max(Some(sent_at));
        let is_back = token.refused_sent_at.is_some_and(|refused| refused < sent_at);
        if is_first || is_back {
            token.refused_sent_at = None;
            let Bearer { member, generation, .. } = bearer;
            let broker = &mut self.processes[process as usize];
            if is_back && let Some(budget) = &mut broker.budget {
                budget.accepted(member, generation);
                orders.extend(broker.waiting.drain(..).map(Order::Resume));
            }
            self.tell(now, process, Event::Accepted { member, generation }, orders);
        }
    }

    /// The API refused a token; the worker waits for the lifecycle's verdict.
    pub(super) fn refused(&mut self, now: Timestamp, call: Call, orders: &mut Orders) {
        let Call { worker, bearer, sent_at } = call;
        let process = self.process_of(worker);
        let broker = &mut self.processes[process as usize];
        let held = broker.published[usize::from(bearer.member)].as_mut();
        let held = held.filter(|token| token.serial == bearer.serial);
        let accepted = held.as_ref().and_then(|token| token.accepted_sent_at);
        let accepted_since = accepted.is_some_and(|accepted| accepted > sent_at);
        if !accepted_since && let Some(token) = held {
            token.refused_sent_at = token.refused_sent_at.max(Some(sent_at));
            if let Some(budget) = &mut broker.budget {
                budget.refused(bearer.member, bearer.generation, now);
            }
        }
        let event = Event::Refused {
            waiter: WaiterId(u64::from(worker)),
            member: bearer.member,
            generation: bearer.generation,
            accepted_since,
            until: now + PATIENCE,
        };
        self.tell(now, process, event, orders);
    }

    /// The API refused what came in place of a refused token.
    pub(super) fn replay_refused(&mut self, now: Timestamp, call: Call, orders: &mut Orders) {
        let Bearer { member, generation, .. } = call.bearer;
        let event = Event::ReplayRefused { member, generation };
        let process = self.process_of(call.worker);
        if let Some(budget) = &mut self.processes[process as usize].budget {
            budget.relieve();
        }
        self.tell(now, process, event, orders);
    }

    /// The API has no room for a token until then.
    pub(super) fn throttled(&mut self, call: Call, until: Timestamp) {
        let Call { worker, bearer, .. } = call;
        let process = self.process_of(worker);
        if let Some(budget) = &mut self.processes[process as usize].budget {
            budget.throttled(bearer.member, bearer.generation, until);
        }
    }

    /// A token request was answered. Its tag is the process and the member.
    pub(super) fn login_answered(
        &mut self,
        now: Timestamp,
        answer: LoginAnswer,
        orders: &mut Orders,
    ) {
        let LoginAnswer { tag, sent_at, outcome } = answer;
        let (process, member) = untag(tag);
        let (settled, event) = match outcome {
            Ok(granted) => self.granted(process, member, granted, sent_at),
            Err(failure) => self.not_granted(member, failure),
        };
        self.settle(now, process, member, settled);
        self.tell(now, process, event, orders);
    }

    fn granted(
        &mut self,
        process: u32,
        member: u16,
        granted: Granted,
        sent_at: Timestamp,
    ) -> (Settled, Event) {
        let row = &mut self.rows[usize::from(member)];
        let generation = row.generation() + 1;
        let held = Held { generation, sent_at, lifetime: granted.expires_in };
        *row = Row { serial: granted.serial, held: Some(held), renewed_by: process, holder: None };
        (Settled::Answered, Event::Granted { member, held })
    }

    fn not_granted(&mut self, member: u16, failure: NoLogin) -> (Settled, Event) {
        self.rows[usize::from(member)].holder = None;
        let cause = match failure {
            NoLogin { throttled: true, .. } => Cause::Throttled,
            NoLogin { status: Some(400..500), .. } => Cause::Misconfigured,
            NoLogin { .. } => Cause::Passing,
        };
        let failure = Failure { cause, retry_after: failure.retry_after };
        let settled = match cause.is_passing() {
            true => Settled::Faulted { retry_after: failure.retry_after },
            false => Settled::Answered,
        };
        (settled, Event::Failed { member, failure, doubt_since: None })
    }

    /// The time came that a process asked for.
    pub(super) fn woken(&mut self, now: Timestamp, process: u32, orders: &mut Orders) {
        self.processes[process as usize].wakes = None;
        self.tell(now, process, Event::Woken, orders);
    }

    /// Passes an event to a process and carries out what its lifecycle decides.
    fn tell(&mut self, now: Timestamp, process: u32, event: Event, orders: &mut Orders) {
        let Self { processes, rows, chance, answers } = self;
        let broker = &mut processes[process as usize];
        for action in broker.lifecycle.handle(now, event, &mut Spread(chance)) {
            match action {
                Action::Renew { member, urgency } => {
                    broker.admission.want(Ticket(u64::from(member)), CLIENT, urgency);
                }
                Action::Publish { member, held } => {
                    let index = usize::from(member);
                    let serial = rows[index].serial;
                    let (accepted_sent_at, refused_sent_at) = (None, None);
                    let token = Published { serial, held, accepted_sent_at, refused_sent_at };
                    broker.published[index] = Some(token);
                    if let Some(budget) = &mut broker.budget {
                        if rows[index].renewed_by == process {
                            budget.publish(member, Some(held.generation));
                        } else {
                            budget.inherit(member, held.generation, held.sent_at, now);
                        }
                    }
                    orders.extend(broker.waiting.drain(..).map(Order::Resume));
                }
                Action::Withdraw { member } => {
                    broker.published[usize::from(member)] = None;
                    if let Some(budget) = &mut broker.budget {
                        budget.publish(member, None);
                    }
                }
                Action::Answer { waiter: WaiterId(worker), verdict } => {
                    // The fault is not the tokens'.
                    if let (Verdict::Keep, Some(budget)) = (verdict, &mut broker.budget) {
                        budget.relieve();
                        orders.extend(broker.waiting.drain(..).map(Order::Resume));
                    }
                    answers.push((worker as WorkerNumber, verdict));
                }
                // Asked for below, together with the door's.
                Action::WakeAt(_) => {}
            }
        }
        self.admit(now, process, orders);
    }

    /// Lets renewals through the door: what the store has already needs no request.
    fn admit(&mut self, now: Timestamp, process: u32, orders: &mut Orders) {
        let (admitted, wake) = self.processes[process as usize].admission.admit(now);
        self.processes[process as usize].door_wakes = wake;
        for Ticket(ticket) in admitted {
            let member = u16::try_from(ticket).unwrap_or(u16::MAX);
            let known = self.processes[process as usize].lifecycle.held().nth(usize::from(member));
            let known = known.flatten().map_or(0, |held| held.generation);
            let row = &mut self.rows[usize::from(member)];
            let found = match (row.held, row.holder) {
                (Some(held), _) if held.generation > known => Event::Granted { member, held },
                (_, Some(_)) => Event::Elsewhere { member, retry_after: LEASE_BUSY },
                (_, None) => {
                    row.holder = Some(process);
                    orders.push(Order::LogIn { tag: tag(process, member), delay: Duration::ZERO });
                    continue;
                }
            };
            self.settle(now, process, member, Settled::NotSent);
            self.tell(now, process, found, orders);
        }
        let broker = &mut self.processes[process as usize];
        let wakes = broker.lifecycle.wakes_at().into_iter().chain(broker.door_wakes).min();
        if wakes != broker.wakes {
            broker.wakes = wakes;
            orders.extend(wakes.map(|at| Order::WakeAt(process, at)));
        }
    }

    fn settle(&mut self, now: Timestamp, process: u32, member: u16, settled: Settled) {
        let ticket = Ticket(u64::from(member));
        let admission = &mut self.processes[process as usize].admission;
        admission.settle(now, ticket, settled, &mut Spread(&mut self.chance));
    }
}

fn bearer(member: u16, token: &Published) -> Bearer {
    Bearer { serial: token.serial, member, generation: token.held.generation }
}

fn granted(now: Timestamp, token: &Published) -> Granted {
    let remaining = now.until(token.held.expires_at()).as_secs();
    let expires_in = token.held.lifetime.map(|_| Duration::from_secs(remaining));
    Granted { serial: token.serial, expires_in }
}

fn tag(process: u32, member: u16) -> u64 {
    u64::from(process) << 16 | u64::from(member)
}

fn untag(tag: u64) -> (u32, u16) {
    ((tag >> 16) as u32, (tag & 0xffff) as u16)
}
