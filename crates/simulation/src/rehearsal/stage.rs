//! Where a rehearsal is played: workers, slots, what is under way, and the counting.

use std::collections::VecDeque;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::machine::{
    Access, Bearer, Call, LoginAnswer, Machine, NoLogin, Order, Orders, Refusal, Want, WorkerNumber,
};
use super::outcome::{Latencies, Outcome, Polls, Seen};
use super::series::Series;
use super::slots::Slots;
use super::{START, Setup, Strategy, wall};
use crate::by_number::{Granted, Reply, ReplyOutcome};
use crate::client::Client;
use crate::organisation::Organisation;
use crate::timeline::Timeline;

/// A worker's first pause after a failure in a slot; it doubles with each …
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// … up to this. Both are the poller's.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// How long a caller waits for an answer, of API and token endpoint alike.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A sample that comes later than this share of the period is late.
const LATE_AFTER: u32 = 4;
/// What is under way when the last slot closes is waited for.
const GRACE: Duration = Duration::from_secs(15);
/// Progress is told every so many slots.
const TELL_EVERY: u64 = 1 << 16;
const CLIENT: &str = "rehearsal";

/// What happens at an instant, besides slots that fall due.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// An API request is answered.
    Answered(WorkerNumber),
    /// A worker's pause is over, or the longest that it waits.
    Rested { worker: WorkerNumber, turn: u32 },
    /// A token request that was put off is sent.
    LogIn { login: u32 },
    /// A token request is answered.
    LoggedIn { login: u32 },
    /// A process asked for it.
    Woken { process: u32, turn: u32 },
}

/// What a worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// Nothing that a machine knows of.
    No,
    /// A token.
    ForToken,
    /// The end of a renewal, after a 401 that it saw; then it pauses.
    ForRenewal,
    /// A cure of a 401 that it did not see.
    ForCure,
}

#[derive(Clone, Copy, Debug)]
struct Worker {
    due: Timestamp,
    closes: Timestamp,
    sent_at: Timestamp,
    pause: Duration,
    bearer: Bearer,
    reply: ReplyOutcome<()>,
    /// Counts what it waited for, so that a late alarm is known as such.
    turn: u32,
    waits: Waits,
    busy: bool,
}

/// A token request under way, or put off.
#[derive(Clone, Copy, Debug)]
struct Login {
    tag: u64,
    sent_at: Timestamp,
    reply: ReplyOutcome<Granted>,
}

/// Everything that a rehearsal with one strategy needs.
pub(super) struct Stage<M> {
    organisation: Organisation,
    client: usize,
    machine: M,
    slots: Slots,
    period: Duration,
    /// When the last slot closes.
    end: Timestamp,
    workers: Vec<Worker>,
    /// In the order in which they became free.
    idle: VecDeque<WorkerNumber>,
    timeline: Timeline<Happening>,
    logins: Vec<Login>,
    free_logins: Vec<u32>,
    /// The latest alarm of each process.
    alarms: Vec<u32>,
    orders: Orders,
    being_carried_out: Orders,
    polls: Polls,
    seen: Seen,
    latency: Latencies,
    service: Latencies,
    series: Series,
}

impl<M: Machine> Stage<M> {
    pub(super) fn open(setup: &Setup, machine: M) -> Self {
        let profile = setup.profile.clone().client(Client::new(CLIENT, CLIENT));
        let mut organisation = Organisation::new(profile, setup.seed);
        for fault in &setup.faults {
            let at = |instant: Timestamp| START + Timestamp::ZERO.until(instant);
            organisation.add_fault(crate::Fault {
                from: at(fault.from),
                until: at(fault.until),
                ..fault.clone()
            });
        }
        let client = organisation.client_number(CLIENT).unwrap_or_default();
        let slots = Slots::within(setup.agents, setup.period, setup.length);
        let worker = Worker {
            due: START,
            closes: START,
            sent_at: START,
            pause: SHORTEST_PAUSE,
            bearer: Bearer::lone(0),
            reply: ReplyOutcome::Broken,
            turn: 0,
            waits: Waits::No,
            busy: false,
        };
        let workers = setup.workers.max(1);
        let end = START + setup.length + setup.period;
        Self {
            organisation,
            client,
            period: setup.period,
            end,
            slots,
            workers: vec![worker; workers as usize],
            idle: (0..workers).collect(),
            timeline: Timeline::starting_at(START),
            logins: Vec::new(),
            free_logins: Vec::new(),
            alarms: vec![0; machine.sleepers() as usize],
            machine,
            orders: Orders::new(),
            being_carried_out: Orders::new(),
            polls: Polls::default(),
            seen: Seen::default(),
            latency: Latencies::new(),
            service: Latencies::new(),
            series: Series::over(setup.length + setup.period),
        }
    }

    /// From the first slot to the last.
    pub(super) fn play(mut self, strategy: Strategy, progress: &mut dyn FnMut(u64)) -> Outcome {
        let processes = u32::try_from(self.alarms.len()).unwrap_or(u32::MAX);
        for process in 0..processes {
            self.machine.woken(START, process, &mut self.orders);
        }
        self.carry_out(START);
        let last = self.end + GRACE;
        loop {
            let due = self.slots.due().filter(|_| !self.idle.is_empty());
            match self.timeline.next_before(due.unwrap_or(last)) {
                Some((now, happening)) => {
                    self.series.advance(now, &self.organisation);
                    self.happen(now, happening);
                }
                None => match due {
                    Some(due) => {
                        let now = due.max(self.timeline.now());
                        self.series.advance(now, &self.organisation);
                        self.begin_slot(now, due);
                    }
                    None => break,
                },
            }
            if !self.orders.is_empty() {
                self.carry_out(self.timeline.now());
            }
            if self.polls.due.is_multiple_of(TELL_EVERY) {
                progress(self.polls.due);
            }
            if self.slots.left() == 0 && self.idle.len() == self.workers.len() {
                break;
            }
        }
        self.close(strategy)
    }

    /// Slots that nobody came round to are gaps, and so are those of workers that hang.
    fn close(mut self, strategy: Strategy) -> Outcome {
        let is_waiting = |worker: &&Worker| worker.waits != Waits::No;
        let hung = self.workers.iter().filter(is_waiting).count();
        let no_login = self.free_logins.len() == self.logins.len();
        for number in 0..self.workers.len() {
            if self.workers[number].busy {
                self.note_gap(self.workers[number].closes);
            }
        }
        while let Some(due) = self.slots.due() {
            self.slots.advance();
            self.polls.due += 1;
            self.note_gap(self.slots.closes(due));
        }
        let now = self.timeline.now();
        self.series.end(now, &self.organisation);
        let live = self.series.spans.iter().map(|span| span.live_tokens);
        Outcome {
            strategy,
            totals: self.organisation.totals(now),
            seen: self.seen,
            polls: self.polls,
            latency: self.latency,
            service: self.service,
            most_live_tokens: live.max().unwrap_or_default(),
            series: self.series,
            hung_workers: if no_login { u32::try_from(hung).unwrap_or(u32::MAX) } else { 0 },
        }
    }

    fn begin_slot(&mut self, now: Timestamp, due: Timestamp) {
        self.slots.advance();
        self.polls.due += 1;
        let closes = self.slots.closes(due);
        if now >= closes {
            return self.note_gap(closes);
        }
        let Some(number) = self.idle.pop_front() else { return };
        let worker = &mut self.workers[number as usize];
        (worker.due, worker.closes) = (due, closes);
        (worker.pause, worker.busy) = (SHORTEST_PAUSE, true);
        self.attempt(now, number);
    }

    fn attempt(&mut self, now: Timestamp, number: WorkerNumber) {
        let closes = self.workers[number as usize].closes;
        if now >= closes {
            self.note_gap(closes);
            return self.release(number);
        }
        let want = Want { worker: number, until: closes };
        match self.machine.ask(now, want, &mut self.orders) {
            Access::Use(bearer) => self.send(now, number, bearer),
            Access::None { retry_after } => self.pause(now, number, retry_after),
            Access::Throttled { retry_after } => {
                self.note_seen(now, 429);
                self.pause(now, number, Some(retry_after));
            }
            Access::Wait => self.wait(number, Waits::ForToken),
        }
    }

    fn send(&mut self, now: Timestamp, number: WorkerNumber, bearer: Bearer) {
        let reply = self.organisation.call(now, wall(now), bearer.serial);
        let worker = &mut self.workers[number as usize];
        (worker.sent_at, worker.bearer, worker.reply) = (now, bearer, reply.outcome);
        worker.waits = Waits::No;
        self.timeline.add(now + waits_for(&reply), Happening::Answered(number));
    }

    fn pause(&mut self, now: Timestamp, number: WorkerNumber, retry_after: Option<Duration>) {
        let worker = &mut self.workers[number as usize];
        let rest = retry_after.unwrap_or(worker.pause).min(now.until(self.end));
        worker.pause = (worker.pause * 2).min(LONGEST_PAUSE);
        worker.waits = Waits::No;
        worker.turn += 1;
        let turn = worker.turn;
        self.timeline.add(now + rest, Happening::Rested { worker: number, turn });
    }

    fn wait(&mut self, number: WorkerNumber, waits: Waits) {
        let worker = &mut self.workers[number as usize];
        worker.waits = waits;
        worker.turn += 1;
    }

    fn release(&mut self, number: WorkerNumber) {
        let worker = &mut self.workers[number as usize];
        (worker.waits, worker.busy) = (Waits::No, false);
        self.idle.push_back(number);
    }

    fn happen(&mut self, now: Timestamp, happening: Happening) {
        match happening {
            Happening::Answered(number) => self.answered(now, number),
            Happening::Rested { worker, turn } => {
                let Worker { turn: current, waits, .. } = self.workers[worker as usize];
                if turn == current {
                    match waits {
                        Waits::No => self.attempt(now, worker),
                        Waits::ForToken | Waits::ForRenewal | Waits::ForCure => {
                            self.resume(now, worker);
                        }
                    }
                }
            }
            Happening::LogIn { login } => self.log_in(now, login),
            Happening::LoggedIn { login } => self.logged_in(now, login),
            Happening::Woken { process, turn } => {
                if self.alarms[process as usize] == turn {
                    self.machine.woken(now, process, &mut self.orders);
                }
            }
        }
    }

    fn answered(&mut self, now: Timestamp, number: WorkerNumber) {
        let Worker { reply, bearer, sent_at, .. } = self.workers[number as usize];
        let call = Call { worker: number, bearer, sent_at };
        match reply {
            ReplyOutcome::Done(()) => {
                self.machine.accepted(now, call, &mut self.orders);
                self.sampled(now, number);
            }
            ReplyOutcome::Refused { status: 401, .. } => {
                let refusal = self.machine.refused(now, call, &mut self.orders);
                self.refused(now, number, 401, refusal);
            }
            ReplyOutcome::Refused { status: 429, retry_after, .. } => {
                let asked = retry_after.unwrap_or(Duration::from_secs(1));
                let refusal = self.machine.throttled(now, call, asked);
                self.refused(now, number, 429, refusal);
            }
            ReplyOutcome::Refused { retry_after, .. } => self.pause(now, number, retry_after),
            ReplyOutcome::Broken | ReplyOutcome::Silence => self.pause(now, number, None),
        }
    }

    fn sampled(&mut self, now: Timestamp, number: WorkerNumber) {
        let Worker { due, closes, sent_at, .. } = self.workers[number as usize];
        if now >= closes {
            self.note_gap(closes);
        } else {
            let latency = due.until(now);
            self.latency.note(latency);
            self.service.note(sent_at.until(now));
            self.series.now().sampled += 1;
            if latency > self.period / LATE_AFTER {
                self.polls.late += 1;
            } else {
                self.polls.done += 1;
            }
        }
        self.release(number);
    }

    fn refused(&mut self, now: Timestamp, number: WorkerNumber, status: u16, refusal: Refusal) {
        match refusal {
            Refusal::Seen { retry_after } => {
                self.note_seen(now, status);
                self.pause(now, number, retry_after);
            }
            Refusal::SeenAndWaits => {
                self.note_seen(now, status);
                self.wait(number, Waits::ForRenewal);
            }
            Refusal::Unseen => self.wait(number, Waits::ForCure),
            Refusal::Again(bearer) => self.send(now, number, bearer),
        }
    }

    fn note_seen(&mut self, now: Timestamp, status: u16) {
        match status {
            401 => {
                self.seen.status_401 += 1;
                self.series.note_401(now);
            }
            429 => {
                self.seen.status_429 += 1;
                self.series.note_429(now);
            }
            _ => {}
        }
    }

    fn note_gap(&mut self, closed: Timestamp) {
        self.polls.gaps += 1;
        self.latency.note(self.period);
        self.series.note_gap(closed);
    }

    /// What a machine orders may lead to more orders.
    fn carry_out(&mut self, now: Timestamp) {
        while !self.orders.is_empty() {
            std::mem::swap(&mut self.orders, &mut self.being_carried_out);
            for at in 0..self.being_carried_out.len() {
                self.obey(now, self.being_carried_out[at]);
            }
            self.being_carried_out.clear();
        }
    }

    fn obey(&mut self, now: Timestamp, order: Order) {
        match order {
            Order::LogIn { tag, delay } => {
                let pending = Login { tag, sent_at: now, reply: ReplyOutcome::Broken };
                let login = match self.free_logins.pop() {
                    Some(free) => {
                        self.logins[free as usize] = pending;
                        free
                    }
                    None => {
                        self.logins.push(pending);
                        u32::try_from(self.logins.len() - 1).unwrap_or(u32::MAX)
                    }
                };
                if delay.is_zero() {
                    self.log_in(now, login);
                } else {
                    self.timeline.add(now + delay, Happening::LogIn { login });
                }
            }
            Order::Resume(worker) => self.resume(now, worker),
            Order::ResumeAt(worker, at) => {
                let turn = self.workers[worker as usize].turn;
                self.timeline.add(at, Happening::Rested { worker, turn });
            }
            Order::Fail(worker, retry_after) => {
                match self.workers[worker as usize].waits {
                    Waits::No => return,
                    Waits::ForToken | Waits::ForRenewal => {}
                    Waits::ForCure => self.note_seen(now, 401),
                }
                self.pause(now, worker, retry_after);
            }
            Order::WakeAt(process, at) => {
                let turn = &mut self.alarms[process as usize];
                *turn += 1;
                let turn = *turn;
                self.timeline.add(at, Happening::Woken { process, turn });
            }
        }
    }

    fn resume(&mut self, now: Timestamp, number: WorkerNumber) {
        match self.workers[number as usize].waits {
            Waits::No => {}
            Waits::ForToken | Waits::ForCure => {
                self.workers[number as usize].waits = Waits::No;
                self.attempt(now, number);
            }
            Waits::ForRenewal => self.pause(now, number, None),
        }
    }

    fn log_in(&mut self, now: Timestamp, login: u32) {
        let reply = self.organisation.log_in(now, wall(now), self.client);
        self.series.note_token_request(now);
        let pending = &mut self.logins[login as usize];
        (pending.sent_at, pending.reply) = (now, reply.outcome);
        self.timeline.add(now + waits_for(&reply), Happening::LoggedIn { login });
    }

    fn logged_in(&mut self, now: Timestamp, login: u32) {
        let Login { tag, sent_at, reply } = self.logins[login as usize];
        self.free_logins.push(login);
        let outcome = match reply {
            ReplyOutcome::Done(granted) => Ok(granted),
            ReplyOutcome::Refused { status, retry_after, throttled } => {
                if !M::SHIELDS {
                    self.note_seen(now, status);
                    self.seen.throttled_logins += u64::from(throttled);
                }
                Err(NoLogin { status: Some(status), retry_after, throttled })
            }
            ReplyOutcome::Broken | ReplyOutcome::Silence => {
                Err(NoLogin { status: None, retry_after: None, throttled: false })
            }
        };
        let answer = LoginAnswer { tag, sent_at, outcome };
        self.machine.login_answered(now, answer, &mut self.orders);
    }
}

/// How long a caller waits for this.
fn waits_for<T>(reply: &Reply<T>) -> Duration {
    match reply.outcome {
        ReplyOutcome::Silence => ANSWER_TIMEOUT,
        ReplyOutcome::Done(_) | ReplyOutcome::Refused { .. } | ReplyOutcome::Broken => {
            reply.after.min(ANSWER_TIMEOUT)
        }
    }
}
