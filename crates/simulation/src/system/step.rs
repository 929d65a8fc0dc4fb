//! The executor: takes a renewal's steps as the broker's flight does, each with an effect in the
//! world after a while, and a report after another.

use std::time::Duration;

use bellwether_lifecycle::renewal::{Change, Report, Step};
use bellwether_lifecycle::{Cause, Event, Failure, Timestamp};

use super::escrow::Record;
use super::fact::{Fact, Place};
use super::fault::Fault;
use super::mistake::Mistake;
use super::node::{FlightId, Request};
use super::store::{Row, Saved};
use super::world::{Happening, World};

/// What is asked of store or escrow, and then what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    Acquire {
        asked_at: Timestamp,
    },
    Load,
    Save {
        row: Row,
        fence: u64,
        change: Change,
        presented: Option<u64>,
    },
    Release {
        fence: u64,
    },
    Reserve,
    Append(Record),
    /// What came of it.
    Lent {
        until: Timestamp,
        fence: u64,
    },
    Loaded(Option<Row>),
    Report(Report),
}

/// A job on its way, with who asked.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) flight: FlightId,
    pub(super) asked: u32,
    pub(super) place: Place,
    pub(super) key: usize,
    machine: usize,
    boot: u64,
    request: Option<usize>,
    pub(super) job: Job,
}

/// Nothing is known against trying again.
pub(super) const BROKEN: Report =
    Report::Broken(Failure { cause: Cause::Passing, retry_after: None });

impl World {
    pub(super) fn micros(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_micros(least + self.chance.below(most - least))
    }

    /// Takes the step that a flight is at.
    pub(super) fn take(&mut self, id: FlightId) {
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        let (step, credential) = (flight.step, flight.credential);
        flight.asked += 1;
        let asked = flight.asked;
        self.note(Some(id.node), Some(credential), || format!("{step:?}"));
        if self.weather.is_storm && self.falls(id, step) {
            return;
        }
        let local = self.local(id.node);
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        match step {
            Step::Acquire => self.ask(id, asked, Job::Acquire { asked_at: local }),
            Step::Load => self.ask(id, asked, Job::Load),
            Step::Reserve => self.ask(id, asked, Job::Reserve),
            Step::Save(change) => self.take_save(id, asked, change),
            Step::Send { not_after } => self.send(id, not_after),
            Step::Escrow => match self.record(id) {
                Some(record) => self.append(id, asked, record),
                None => self.report(id, asked, Report::Done),
            },
            Step::Read => self.read(id, asked),
            Step::Publish(outcome) => {
                flight.is_published = true;
                self.land(id, outcome);
                self.report(id, asked, Report::Done);
            }
            Step::Wait(pause) => {
                let report = Box::new(Job::Report(Report::Done));
                let came = Happening::Came { flight: id, asked, job: report };
                self.timeline.add(self.now + pause, came);
            }
            Step::Release => match flight.fence.take() {
                Some(fence) => self.ask(id, asked, Job::Release { fence }),
                None => self.report(id, asked, Report::Done),
            },
            Step::End => self.nodes[id.node].flights[id.slot] = None,
        }
    }

    fn take_save(&mut self, id: FlightId, asked: u32, change: Change) {
        if let Some(report) = self.mistaken_save(id, change) {
            return self.report(id, asked, report);
        }
        let change = self.mistaken_change(change);
        let row = self.changed(id, change);
        let blind = self.makes(Mistake::NoLease)
            || self.makes(Mistake::RecoveredWithoutLease)
                && matches!(change, Change::Accept { source, .. } if source == bellwether_lifecycle::renewal::Source::Escrow);
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        let presented = flight.to_send();
        flight.row = Some(row);
        match flight.fence.or(blind.then_some(0)) {
            Some(fence) => self.ask(id, asked, Job::Save { row, fence, change, presented }),
            None => self.report(id, asked, Report::Superseded),
        }
    }

    fn append(&mut self, id: FlightId, asked: u32, record: Record) {
        if self.makes(Mistake::NoEscrow)
            || self.makes(Mistake::EscrowAfterRead)
            || self.makes(Mistake::EscrowAfterPublish)
        {
            return self.report(id, asked, Report::Done);
        }
        if self.makes(Mistake::EscrowNotFlushed) {
            self.report(id, asked, Report::Done);
            return self.ask(id, asked - 1, Job::Append(record));
        }
        if self.makes(Mistake::PublishBeforeEscrow) {
            self.publish_early(id);
        }
        self.ask(id, asked, Job::Append(record));
        self.prolong_later(id, asked);
    }

    fn prolong_later(&mut self, id: FlightId, asked: u32) {
        let after = self.scenario.request_limit / 2;
        let prolong = Happening::Prolong { flight: id, asked };
        self.timeline.add(self.now + after, prolong);
    }

    /// Whoever waits for the disk with an answer in hand keeps its lease, as long as it has it.
    pub(super) fn prolong(&mut self, id: FlightId, asked: u32) {
        let asked_at = self.local(id.node);
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        if flight.asked != asked || !flight.renewal.holds_on(asked_at) {
            return;
        }
        let (key, fence) = (flight.key, flight.fence);
        self.prolong_later(id, asked);
        let machine = self.nodes[id.node].machine;
        if self.store_is_away(machine) || self.strikes(Fault::StoreFails) {
            return;
        }
        let now = self.now;
        let lease = self.store.lease(key).filter(|lease| now < lease.until);
        let is_ours = lease.is_some_and(|lease| Some(lease.fence) == fence);
        if is_ours
            && let Job::Lent { fence, .. } = self.lend(id, key, asked_at)
            && let Some(flight) = self.nodes[id.node].flight(id)
        {
            flight.fence = Some(fence);
        }
    }

    /// Asks store or escrow.
    pub(super) fn ask(&mut self, id: FlightId, asked: u32, job: Job) {
        let slow = match job {
            Job::Reserve | Job::Append(_) => Fault::EscrowSlow,
            Job::Acquire { .. } | Job::Load | Job::Save { .. } | Job::Release { .. } => {
                Fault::StoreSlow
            }
            Job::Lent { .. } | Job::Loaded(_) | Job::Report(_) => return,
        };
        let mut after = self.micros(100, 3_000);
        if self.strikes(slow) {
            after += self.micros(100_000, 15_000_000);
        }
        let machine = self.nodes[id.node].machine;
        let boot = self.machines[machine].boot;
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        let (key, request, credential) = (flight.key, flight.request, flight.credential);
        let place = self.place(id.node, credential);
        let errand = Errand { flight: id, asked, place, key, machine, boot, request, job };
        self.timeline.add(self.now + after, Happening::Carry(Box::new(errand)));
    }

    /// Tells the flight what its step came to.
    pub(super) fn report(&mut self, id: FlightId, asked: u32, report: Report) {
        let after = self.micros(5, 60);
        let came = Happening::Came { flight: id, asked, job: Box::new(Job::Report(report)) };
        self.timeline.add(self.now + after, came);
    }

    /// Store or escrow do what they were asked.
    pub(super) fn carry(&mut self, errand: &Errand) {
        let Errand { flight: id, asked, place, machine, boot, job, .. } = *errand;
        let process = &self.nodes[place.node];
        let is_dead = process.incarnation != place.incarnation || !process.is_up;
        // What a process asked for last may not have left it.
        if is_dead && (self.machines[machine].boot != boot || self.chance.below(2) == 0) {
            return;
        }
        let came = match job {
            Job::Reserve if self.disk_is_full(machine) || self.strikes(Fault::EscrowFails) => {
                match self.makes(Mistake::NoRoomIgnored) {
                    true => Job::Report(Report::Done),
                    false => Job::Report(BROKEN),
                }
            }
            Job::Reserve => {
                if let Some(flight) = self.nodes[id.node].flight(id) {
                    flight.has_room = true;
                }
                Job::Report(Report::Done)
            }
            Job::Append(record) => Job::Report(self.keep(errand, record)),
            Job::Lent { .. } | Job::Loaded(_) | Job::Report(_) => return,
            Job::Acquire { .. } | Job::Load | Job::Save { .. } | Job::Release { .. } => {
                if self.store_is_away(machine) || self.strikes(Fault::StoreFails) {
                    Job::Report(BROKEN)
                } else {
                    let came = self.ask_store(errand);
                    match self.strikes(Fault::StoreOutcomeUnknown) {
                        true => Job::Report(BROKEN),
                        false => came,
                    }
                }
            }
        };
        let back = self.micros(50, 1_500);
        let came = Happening::Came { flight: id, asked, job: Box::new(came) };
        self.timeline.add(self.now + back, came);
    }

    fn ask_store(&mut self, errand: &Errand) -> Job {
        let Errand { flight: id, key, job, .. } = *errand;
        match job {
            Job::Acquire { asked_at } => self.lend(id, key, asked_at),
            Job::Load => Job::Loaded(self.store.row(key)),
            Job::Save { row, fence, change, presented } => {
                let saved = self.save(errand, row, fence, change, presented);
                Job::Report(match saved {
                    Saved::Done => Report::Done,
                    Saved::Fenced | Saved::Behind => Report::Superseded,
                })
            }
            Job::Release { fence } => {
                let lease = self.store.lease(key);
                let is_careless = self.makes(Mistake::ReleaseWithoutFence);
                self.store.release(
                    key,
                    lease.map_or(fence, |l| if is_careless { l.fence } else { fence }),
                );
                if let Some(lease) = lease.filter(|_| self.store.lease(key).is_none()) {
                    let is_own = lease.serial == id.serial || lease.fence == fence;
                    self.tell(Fact::Released { place: errand.place, is_own });
                }
                Job::Report(Report::Done)
            }
            Job::Reserve | Job::Append(_) | Job::Lent { .. } | Job::Loaded(_) | Job::Report(_) => {
                job
            }
        }
    }

    fn lend(&mut self, id: FlightId, key: usize, asked_at: Timestamp) -> Job {
        let Some(flight) = self.nodes[id.node].flight(id) else { return Job::Report(BROKEN) };
        let (holder, credential) = (flight.holder, flight.credential);
        let asked = flight.order.lease();
        if self.makes(Mistake::NoLease) {
            return Job::Report(Report::Leased { until: asked_at + asked });
        }
        let ttl = match self.makes(Mistake::LeaseShorterThanRequest) {
            true => asked / 40,
            false => asked,
        };
        let before = self.store.lease(key);
        let (nodes, now, mistake) = (&self.nodes, self.now, self.mistake);
        let wall_error = self.machines[holder.machine].wall_error;
        let lives = |lease: &super::store::Lease| {
            let process = &nodes[lease.holder.node];
            process.is_up && process.incarnation == lease.holder.incarnation
        };
        let is_free = |lease: &super::store::Lease| match mistake {
            Some(Mistake::LiveHolderSucceeded) => true,
            Some(Mistake::DeadHolderNeverSucceeded) => false,
            Some(Mistake::LeaseByWallClock) => {
                let until = lease.until.as_nanos() / 1_000_000;
                (now.as_nanos() / 1_000_000).saturating_add_signed(wall_error) >= until
            }
            _ => now >= lease.until || (lease.holder.machine == holder.machine && !lives(lease)),
        };
        let was_alive = before.as_ref().is_some_and(lives);
        match self.store.acquire(now, key, (holder, id.serial), ttl, is_free) {
            Ok(fence) => {
                let others = before.filter(|lease| lease.serial != id.serial);
                let before = others.map(|lease| (lease, was_alive));
                let place = self.place(id.node, credential);
                self.tell(Fact::Leased { place, fence, before, asked });
                Job::Lent { until: asked_at + asked, fence }
            }
            Err(left) => {
                Job::Report(Report::Busy { retry_after: left.min(Duration::from_millis(250)) })
            }
        }
    }

    fn save(
        &mut self,
        &Errand { place, key, flight: errand_flight, .. }: &Errand,
        row: Row,
        fence: u64,
        change: Change,
        presented: Option<u64>,
    ) -> Saved {
        let before = self.store.row(key);
        let lease = self.store.lease(key).map(|lease| lease.fence);
        let grant = &self.grants[place.credential];
        let fell_back = self.store.fell_back(key) || grant.is_forked || grant.fell_silently;
        let row = Row { epoch: self.store.epoch, ..row };
        let careless = self.makes(Mistake::NoFenceCheck)
            || self.makes(Mistake::NoLease)
            || self.makes(Mistake::RecoveredWithoutLease)
            || self.makes(Mistake::LoserMarksTheRow)
                && matches!(change, Change::Fail { refused: true, .. });
        let saved = match careless {
            true => {
                self.store.write(self.now, key, row);
                Saved::Done
            }
            false => self.store.save(self.now, key, fence, row),
        };
        if saved == Saved::Done {
            if let Some(flight) = self.nodes[errand_flight.node].flight(errand_flight) {
                flight.saved_at = Some(self.now);
            }
            self.note_given_up(place.credential, before.and_then(|row| row.refresh));
            if matches!(change, Change::Accept { .. }) {
                self.store.settle(key);
            }
            self.tell(Fact::Saved {
                place,
                fence,
                lease,
                change,
                before,
                after: row,
                presented,
                fell_back,
            });
        }
        saved
    }

    fn keep(&mut self, errand: &Errand, record: Record) -> Report {
        let Errand { flight: id, key, machine, request, .. } = *errand;
        let credential = record.credential;
        if self.disk_is_full(machine) || self.strikes(Fault::EscrowFails) {
            self.grants[credential].is_not_kept |= record.response.refresh().is_some();
            if let Some(request) = request {
                self.tell(Fact::NotKept { request });
            }
            return BROKEN;
        }
        self.escrows[machine].append(key, Record { kept_at: self.now, ..record });
        if let Some(request) = request {
            let carries = record.response.refresh().is_some();
            self.tell(Fact::Kept { credential, request, carries });
        }
        if record.response.refresh().is_some() {
            let rotation = self.scenario.plans[credential].rotation;
            self.grants[credential].heard(request, record.presented, rotation);
        }
        if let Some(flight) = self.nodes[id.node].flight(id) {
            flight.is_kept = true;
        }
        Report::Done
    }

    /// A report reaches the flight, which says what comes next.
    pub(super) fn came(&mut self, id: FlightId, asked: u32, job: Job) {
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        if flight.asked != asked {
            return;
        }
        let credential = flight.credential;
        let report = match job {
            Job::Lent { until, fence } => {
                flight.fence = Some(fence);
                Report::Leased { until }
            }
            Job::Loaded(row) => self.loaded(id, row),
            Job::Report(report) => report,
            Job::Acquire { .. }
            | Job::Load
            | Job::Save { .. }
            | Job::Release { .. }
            | Job::Reserve
            | Job::Append(_) => return,
        };
        self.note(Some(id.node), Some(credential), || format!("  ─▶ {report:?}"));
        self.totals.events += 1;
        let local = self.local(id.node);
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        let step = flight.step;
        let report = self.mistaken_report(step, report);
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        if matches!(step, Step::Save(Change::Intent { .. })) && report == Report::Done {
            flight.intended_at = flight.saved_at;
        }
        let step = flight.renewal.next(local, report);
        flight.step = step;
        let step = self.mistaken_step(id, step, report);
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        flight.step = step;
        let after = self.micros(1, 20);
        self.timeline.add(self.now + after, Happening::Take(id));
    }

    fn send(&mut self, id: FlightId, not_after: Timestamp) {
        let local = self.local(id.node);
        let ignores = self.makes(Mistake::TooLateIgnored);
        let (incarnation, secret) = (self.nodes[id.node].incarnation, self.nodes[id.node].secret);
        let number = self.requests.len();
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        if local > not_after && !ignores {
            let asked = flight.asked;
            return self.report(id, asked, Report::TooLate);
        }
        (flight.sent_at, flight.presented) =
            (local, flight.to_send().filter(|_| flight.order.spends));
        (flight.request, flight.response) = (Some(number), None);
        let request = Request {
            flight: id,
            incarnation,
            credential: flight.credential,
            secret,
            token: flight.presented,
            checked_at: self.now,
            spent: false,
            answer: super::node::Answered::Nothing,
        };
        self.requests.push(request);
        let after = self.micros(20, 200);
        self.timeline.add(self.now + after, Happening::Leave(number));
        let limit = self.now + self.scenario.request_limit;
        self.timeline.add(limit, Happening::Deadline { flight: id, request: number });
        if self.weather.is_storm {
            self.falls_on_the_way(id);
        }
    }

    /// A renewal told how it ended; the rest goes on behind.
    pub(super) fn land(&mut self, id: FlightId, outcome: bellwether_lifecycle::renewal::Outcome) {
        use bellwether_lifecycle::renewal::{Meeting, Outcome};
        let token = self.token_of(id, &outcome);
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        let (credential, attempt) = (flight.credential, flight.renewal.attempt());
        let (has_read, request, theirs) = (flight.has_read, flight.request, flight.met_by_others);
        let (response, is_unsettled) = (flight.response, flight.renewal.is_unsettled());
        let place = self.place(id.node, credential);
        let keeper = &mut self.nodes[id.node].keepers[credential];
        keeper.attempt = keeper.attempt.max(attempt);
        match outcome {
            Outcome::Granted { held, source } => {
                self.totals.renewals += 1;
                let grant = &self.grants[credential];
                let is_forked = grant.is_forked || grant.was_forked;
                let is_lost = is_forked || grant.fell_silently || self.store.fell_back(credential);
                let durable = self.is_durable(id) || is_lost;
                if let Some(token) = token {
                    let (generation, serial, owner) =
                        (held.generation, token.access, token.credential);
                    let known = self.nodes[id.node].keepers[credential].generation;
                    if generation >= known {
                        let published = Fact::Published {
                            is_forked,
                            place,
                            generation,
                            serial,
                            owner,
                            source,
                            durable,
                        };
                        self.tell(published);
                    }
                }
                self.handle(id.node, credential, Event::Granted { member: 0, held }, token);
                if is_unsettled {
                    self.handle(id.node, credential, Event::Renew, None);
                }
            }
            Outcome::Elsewhere { retry_after } => {
                self.handle(id.node, credential, Event::Elsewhere { member: 0, retry_after }, None);
            }
            Outcome::Failed { failure, doubt_since, met } => {
                if met == Meeting::Here
                    && let Some(super::server::Response::Throttled { retry_after: Some(wait) }) =
                        response
                {
                    self.tell(Fact::ToldToWait { place, wait });
                }
                let (failure, doubt_since) = self.mistaken_failure(failure, doubt_since);
                let event = Event::Failed { member: 0, failure, doubt_since };
                self.handle(id.node, credential, event, None);
                let spent = request.is_some_and(|request| {
                    self.requests[request].spent && self.requests[request].token.is_some()
                });
                self.tell(Fact::Failed {
                    place,
                    cause: failure.cause,
                    in_doubt: failure.cause == Cause::InDoubt || doubt_since.is_some(),
                    unheard: spent && !has_read,
                    foreign: met == Meeting::Row && theirs && failure.cause == Cause::Misconfigured,
                    state: self.nodes[id.node].keepers[credential].lifecycle.status().state,
                });
            }
        }
    }
}
