//! Between a process and the authorization server: where requests and answers get lost.

use std::time::Duration;

use bellwether_lifecycle::renewal::Report;
use bellwether_lifecycle::{Cause, Failure};

use super::fact::{Dispatch, Fact};
use super::fault::Fault;
use super::mistake::Mistake;
use super::node::{Answered, FlightId};
use super::server::Response;
use super::world::{Happening, World};
use crate::refresh_token::Redemption;
use crate::rotation::Rotation;

impl World {
    fn travel(&mut self) -> Duration {
        let slow = self.strikes(Fault::NetworkSlow);
        let usual = self.micros(2_000, 120_000);
        let limit = self.scenario.request_limit.as_micros() as u64;
        if slow { usual + self.micros(limit / 10, limit * 2) } else { usual }
    }

    fn come_back(&mut self, request: usize, answer: Answered) {
        self.requests[request].answer = answer;
        let after = self.travel();
        self.timeline.add(self.now + after, Happening::Back(request));
    }

    /// A request leaves its process.
    pub(super) fn leave(&mut self, number: usize) {
        let request = self.requests[number];
        let id = request.flight;
        if self.nodes[id.node].flight(id).is_none()
            || self.nodes[id.node].incarnation != request.incarnation
        {
            return;
        }
        self.totals.requests += 1;
        let dispatch = self.dispatch(number);
        let place = self.place(id.node, request.credential);
        if self.strikes(Fault::ConnectionRefused) {
            return self.come_back(number, Answered::NotSent);
        }
        self.tell(Fact::Sent { place, dispatch });
        self.grants[request.credential].sent(self.now, request.token);
        if self.strikes(Fault::RequestLost) || self.weather.network_away_until > self.now {
            return;
        }
        if self.strikes(Fault::ConnectionReset) {
            self.come_back(number, Answered::Reset);
            // It may have got through.
            if self.chance.below(2) == 0 {
                return;
            }
            let after = self.travel();
            return self.timeline.add(self.now + after, Happening::Arrive(number));
        }
        let after = self.travel();
        self.timeline.add(self.now + after, Happening::Arrive(number));
    }

    /// What is true when a request leaves.
    fn dispatch(&mut self, number: usize) -> Dispatch {
        let request = self.requests[number];
        let id = request.flight;
        let now = self.now;
        let machine = self.nodes[id.node].machine;
        let clocks = self.machines[machine];
        let Some(flight) = self.nodes[id.node].flight(id) else {
            unreachable!("a request leaves its flight")
        };
        let (key, attempt, fence) = (flight.key, flight.renewal.attempt(), flight.fence);
        let (intended_at, has_room) = (flight.intended_at, flight.has_room);
        let loaded_at = flight.loaded_at;
        let row = self.store.row(key).unwrap_or_default();
        let lease = self.store.lease(key);
        // A later holder may have taken over meanwhile: that is for the lease to prevent.
        let ends_earlier =
            matches!(self.scenario.plans[request.credential].rotation, Rotation::LastPair { .. });
        let mut records = self.escrows[machine].records(key).iter();
        let escrow_knows_better = records.any(|kept| {
            // What a process left in the kernel when it died may become durable after the escrow
            // was read.
            let was_there = kept.kept_at <= loaded_at;
            // A request in between may have ended what the escrow has.
            let is_last = !ends_earlier || kept.attempt + 1 >= attempt;
            kept.generation > row.generation
                && (was_there && is_last)
                && kept.presented == request.token
                && kept.response.refresh().is_some_and(|kept| Some(kept) != request.token)
        });
        let is_ours = lease.is_none() || lease.map(|lease| lease.fence) == fence;
        let is_intent_lost = intended_at.is_some_and(|at| self.store.fell_at(key) >= at);
        let about_it = |mark: super::store::Mark| mark.presented == request.token;
        let doubt = row.doubt.filter(|mark| about_it(*mark));
        let seen = |mark: super::store::Mark| clocks.world(mark.at.resolve(clocks.reading(now)));
        Dispatch {
            request: number,
            token: request.token,
            fence: fence.unwrap_or_default(),
            checked_at: request.checked_at,
            left_at: now,
            has_intent: row.intent.is_some_and(about_it) && row.attempt == attempt && is_ours
                || is_intent_lost,
            has_doubt: row.doubt.is_some_and(about_it) || is_intent_lost,
            usable_until: clocks
                .world(self.nodes[id.node].keepers[request.credential].lifecycle.usable_until()),
            is_blind: self.grants[request.credential].fell_silently
                || self.grants[request.credential].is_forked,
            doubt_since: doubt.map(seen),
            clocks_are_wrong: self.weather.clocks_are_wrong,
            escrow_knows_better,
            has_room,
            is_refused: row.refused.is_some() && row.refused == request.token,
            owes: false,
        }
    }

    /// A request reaches the server.
    pub(super) fn arrive(&mut self, number: usize) {
        let request = self.requests[number];
        let credential = request.credential;
        if self.weather.network_away_until > self.now {
            return;
        }
        let is_away = self.weather.server_away_until > self.now;
        if is_away || self.strikes(Fault::ServerErrorBefore) {
            let answer = Answered::With(Response::Broken { refresh: None });
            return self.send_back(number, answer);
        }
        if self.strikes(Fault::Throttled) {
            let seconds = [0, 1, 5, 30][self.chance.below(4) as usize];
            let retry_after = Some(Duration::from_secs(seconds)).filter(|after| !after.is_zero());
            return self.send_back(number, Answered::With(Response::Throttled { retry_after }));
        }
        let is_wrong = request.secret != self.servers[credential].secret;
        if is_wrong || self.strikes(Fault::InvalidClient) {
            return self.send_back(number, Answered::With(Response::InvalidClient));
        }
        let plan = &self.scenario.plans[credential];
        let (response, redemption) =
            self.servers[credential].process(self.now, plan, request.token);
        let spent = matches!(
            redemption,
            Some(Redemption::NewPair { .. } | Redemption::SamePair(_) | Redemption::Reused)
        );
        self.requests[number].spent = spent && response != Response::InvalidGrant;
        self.note(None, Some(credential), || format!("server: {response:?} ({redemption:?})"));
        self.tell(Fact::Processed { credential, request: number, token: request.token, spent });
        if let (Response::InvalidGrant, Some(token)) = (response, request.token) {
            self.tell(Fact::Refused { credential, token });
        }
        match redemption {
            Some(Redemption::Reused) => self.note_reuse(number),
            Some(Redemption::NewPair { ends: Some(_) }) if self.is_late(number) => {
                self.grants[credential].overtaken();
            }
            Some(
                Redemption::NewPair { .. }
                | Redemption::SamePair(_)
                | Redemption::Unchanged
                | Redemption::Refused,
            )
            | None => {}
        }
        let latest = &mut self.grants[credential].latest_request;
        *latest = number.max(*latest);
        if self.requests[number].spent {
            self.grants[credential].spent(self.now, number, request.token);
        }
        let is_granted = matches!(response, Response::Granted { .. });
        let response = if is_granted && self.strikes(Fault::AnswerBroken) {
            Response::Broken { refresh: response.refresh() }
        } else if is_granted && self.strikes(Fault::ServerErrorAfter) {
            Response::Broken { refresh: None }
        } else {
            response
        };
        self.send_back(number, Answered::With(response));
    }

    /// Whether a request arrives when nobody waits for it any longer, or after one that left later.
    fn is_late(&self, number: usize) -> bool {
        let request = &self.requests[number];
        number < self.grants[request.credential].latest_request
            || self.now.since(request.checked_at) > self.scenario.request_limit
    }

    /// A refresh token was used once too often. It was the last resort, or came when nobody waited
    /// for it any longer. Only what its own machine knows could have told it better.
    fn note_reuse(&mut self, number: usize) {
        let request = self.requests[number];
        let credential = request.credential;
        let is_late = self.is_late(number);
        let now = self.now;
        let machine = self.nodes[request.flight.node].machine;
        let has_answer = |node: &super::node::Node| {
            let mut flights = node.flights.iter().flatten();
            node.is_up
                && node.machine == machine
                && node.paused_until <= now
                && flights.any(|flight| {
                    flight.credential == credential
                        && flight.presented == request.token
                        && flight.response.is_some_and(|response| response.refresh().is_some())
                })
        };
        let somebody_knows = self.nodes.iter().any(has_answer);
        if is_late || !somebody_knows || self.weather.clocks_are_wrong {
            self.grants[credential].excused = true;
        }
    }

    fn send_back(&mut self, number: usize, answer: Answered) {
        let is_reset = self.requests[number].answer == Answered::Reset;
        if is_reset || self.strikes(Fault::AnswerLost) {
            return;
        }
        self.come_back(number, answer);
    }

    /// Something comes back to the process.
    pub(super) fn back(&mut self, number: usize) {
        let request = self.requests[number];
        let id = request.flight;
        if self.nodes[id.node].incarnation != request.incarnation {
            return;
        }
        let makes = self.mistake;
        let spends = request.token.is_some();
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        if flight.request != Some(number) || flight.response.is_some() || flight.request_ended {
            return;
        }
        let asked = flight.asked;
        match request.answer {
            Answered::Nothing => {}
            Answered::NotSent => self.unanswered(id, asked, Cause::Passing),
            Answered::Reset if makes == Some(Mistake::ResetRetriedAtOnce) => {
                self.requests.push(super::node::Request { answer: Answered::Nothing, ..request });
                let again = self.requests.len() - 1;
                flight_mut(self, id).request = Some(again);
                self.timeline.add(self.now, Happening::Leave(again));
            }
            Answered::Reset => {
                let cause = if spends { Cause::InDoubt } else { Cause::Passing };
                self.unanswered(id, asked, cause);
            }
            Answered::With(response) => {
                flight.response = Some(response);
                self.report(id, asked, Report::Answered);
            }
        }
    }

    fn unanswered(&mut self, id: FlightId, asked: u32, cause: Cause) {
        let cause = match (self.mistake, cause) {
            (Some(Mistake::TimeoutIsUnsent), Cause::InDoubt) => Cause::Passing,
            (_, cause) => cause,
        };
        let failure = Failure::new(cause);
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        flight.met = failure;
        // What comes now comes too late.
        flight.asked += 1;
        self.report(id, asked + 1, Report::Unanswered(failure));
    }

    /// Nobody waits for the answer any longer.
    pub(super) fn out_of_time(&mut self, id: FlightId, number: usize) {
        let spends = self.requests[number].token.is_some();
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        let waits = matches!(flight.step, bellwether_lifecycle::renewal::Step::Send { .. });
        if flight.request != Some(number) || flight.response.is_some() || !waits {
            return;
        }
        if flight.met.cause == Cause::InDoubt {
            return;
        }
        let asked = flight.asked;
        // No answer is taken from now on.
        flight.request_ended = true;
        let cause = if spends { Cause::InDoubt } else { Cause::Passing };
        self.unanswered(id, asked, cause);
    }
}

fn flight_mut(world: &mut World, id: FlightId) -> &mut super::node::Flight {
    match world.nodes[id.node].flights[id.slot].as_deref_mut() {
        Some(flight) => flight,
        None => unreachable!("it was there a moment ago"),
    }
}
