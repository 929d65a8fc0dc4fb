//! What a flight makes of rows and records: what it tells its renewal of them, and what it writes.

use std::time::Duration;

use bellwether_lifecycle::renewal::{
    Answer, Change, Escrowed, Grant, Met, Outcome, Recorded, Report, Source,
};
use bellwether_lifecycle::{Cause, Event, Failure, Held};

use super::escrow::Record;
use super::fact::Fact;
use super::machine::{Reading, Stamp};
use super::mistake::Mistake;
use super::node::{FlightId, Token};
use super::server::Response;
use super::store::{Mark, Row, StoredFailure, StoredToken};
use super::world::World;

/// What a server's answer comes to, as the broker judges it.
pub(super) fn failure_of(response: Response, spends: bool) -> Failure {
    match response {
        Response::InvalidGrant if spends => Failure::new(Cause::Reauthorize),
        Response::InvalidGrant | Response::InvalidClient => Failure::new(Cause::Misconfigured),
        Response::Throttled { retry_after } => Failure { cause: Cause::Throttled, retry_after },
        Response::Broken { .. } if spends => Failure::new(Cause::InDoubt),
        Response::Broken { .. } | Response::Granted { .. } => Failure::new(Cause::Passing),
    }
}

fn answer_of(response: Response, spends: bool, sent_at: bellwether_lifecycle::Timestamp) -> Answer {
    match response {
        Response::Granted { lifetime, .. } => Answer::Granted { sent_at, lifetime: Some(lifetime) },
        Response::InvalidGrant
        | Response::InvalidClient
        | Response::Throttled { .. }
        | Response::Broken { .. } => Answer::Failed {
            failure: failure_of(response, spends),
            refused: spends && response == Response::InvalidGrant,
            rotated: spends && response.refresh().is_some(),
        },
    }
}

/// How much too late a stored end may seem, read by another clock than wrote it.
fn tolerance(stamp: Stamp, writer: i64, now: Reading, reader: i64) -> Duration {
    if stamp.is_of(now) {
        return Duration::ZERO;
    }
    Duration::from_millis(u64::try_from(writer.saturating_sub(reader)).unwrap_or(0) + 3)
}

impl World {
    pub(super) fn reading(&self, node: usize) -> Reading {
        let machine = &self.machines[self.nodes[node].machine];
        let mut reading = machine.reading(self.now);
        if self.makes(Mistake::ExpiryByWallClock) {
            // Every instant is another boot's.
            reading.boot = u64::MAX;
        }
        reading
    }

    fn wall_error(&self, node: usize) -> i64 {
        self.machines[self.nodes[node].machine].wall_error
    }

    fn held(&self, node: usize, row: &Row) -> Option<(Held, Token)> {
        let stored = row.token?;
        let now = self.reading(node);
        let sent_at = stored.sent_at.resolve(now);
        let ends_at = stored.expires_at.resolve(now);
        let lifetime = Some(sent_at.until(ends_at));
        let real = Reading { boot: self.machines[self.nodes[node].machine].boot, ..now };
        let tolerance =
            tolerance(stored.expires_at, stored.wall_error, real, self.wall_error(node))
                + Duration::from_millis(stored.inexact.unsigned_abs());
        let held = Held { generation: row.generation, sent_at, lifetime };
        Some((held, Token { access: stored.access, credential: stored.credential, tolerance }))
    }

    /// What the renewal is told of a row that was read.
    pub(super) fn loaded(&mut self, id: FlightId, row: Option<Row>) -> Report {
        let confirms = !self.makes(Mistake::LoserMarksTheRow);
        let loaded_at = self.now;
        let Some(flight) = self.nodes[id.node].flight(id) else { return super::step::BROKEN };
        flight.loaded_at = loaded_at;
        let row = match flight.loaded.filter(|_| flight.has_read && !confirms) {
            Some(before) => before,
            None => row.unwrap_or_default(),
        };
        let (key, order, credential) = (flight.key, flight.order, flight.credential);
        flight.row = Some(row);
        let ours = flight.to_send();
        let machine = self.nodes[id.node].machine;
        let other = (key + 1) % self.scenario.plans.len();
        let from = if self.makes(Mistake::EscrowOfAnotherGrant) { other } else { key };
        let now = self.reading(id.node);
        let about_ours = |mark: &Mark| mark.presented == ours;
        let secret = self.nodes[id.node].secret;
        let recorded = Recorded {
            generation: row.generation,
            attempt: row.attempt,
            held: self.held(id.node, &row).map(|(held, _)| held),
            grant: match (order.spends, row.refresh, ours) {
                (false, ..) | (_, _, Some(_)) => Grant::Usable,
                (true, Some(_), None) => Grant::Refused,
                (true, None, None) => Grant::Missing,
            },
            failure: row.failure.map(|met| Met {
                failure: met.failure,
                at: met.at.resolve(now),
                is_ours: met.secret == secret,
            }),
            intent: row.intent.filter(about_ours).map(|mark| mark.at.resolve(now)),
            doubt_since: row.doubt.filter(about_ours).map(|mark| mark.at.resolve(now)),
            is_restored: row.epoch != self.store.epoch,
        };
        let recorded = self.mistaken_recorded(id, credential, recorded);
        let is_read = order.spends && !self.makes(Mistake::EscrowIgnoredAtRecovery);
        let kept = if is_read { self.escrows[machine].records(from) } else { &[] };
        let known = |record: &Record| self.escrowed(now, order.spends, ours, record);
        let best = recorded.best_of(kept.iter().map(known)).map(|index| kept[index]);
        let escrowed = best.as_ref().map(known);
        if let Some(flight) = self.nodes[id.node].flight(id) {
            flight.from_escrow = best;
            flight.met_by_others = row.failure.is_some_and(|met| met.secret != secret);
            flight.loaded = Some(row);
        }
        Report::Loaded { recorded, escrowed }
    }

    /// What the renewal is told of an answer that the escrow has.
    fn escrowed(&self, now: Reading, spends: bool, ours: Option<u64>, record: &Record) -> Escrowed {
        let sent_at = record.sent_at.resolve(now);
        let answer = match answer_of(record.response, spends, sent_at) {
            // What was sent before this boot ends no later for that.
            Answer::Granted { sent_at, lifetime } => Answer::Granted {
                sent_at,
                lifetime: lifetime
                    .map(|life| sent_at.until(record.sent_at.later(life).resolve(now))),
            },
            failed @ Answer::Failed { .. } => self.mistaken_kept_answer(failed),
        };
        Escrowed {
            generation: record.generation,
            attempt: record.attempt,
            is_ours: record.presented == ours,
            answer,
        }
    }

    /// The record that an answer becomes.
    pub(super) fn record(&mut self, id: FlightId) -> Option<Record> {
        let wall_error = self.wall_error(id.node);
        let reading = self.machines[self.nodes[id.node].machine].reading(self.now);
        let flight = self.nodes[id.node].flight(id)?;
        let known = flight.row.map_or(0, |row| row.generation);
        Some(Record {
            generation: known.max(flight.order.generation) + 1,
            attempt: flight.renewal.attempt(),
            sent_at: Stamp::seen_from(flight.sent_at, reading),
            wall_error,
            presented: flight.presented,
            credential: flight.credential,
            response: flight.response?,
            kept_at: bellwether_lifecycle::Timestamp::ZERO,
        })
    }

    /// The answer is read.
    pub(super) fn read(&mut self, id: FlightId, asked: u32) {
        let local = self.local(id.node);
        let from_receipt = self.makes(Mistake::LifeFromReceipt);
        let late = self.makes(Mistake::EscrowAfterRead);
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        let (Some(response), Some(request)) = (flight.response, flight.request) else { return };
        flight.has_read = true;
        if from_receipt {
            flight.sent_at = local;
        }
        let (spends, sent_at) = (flight.order.spends, flight.sent_at);
        let carries = spends && response.refresh().is_some();
        self.tell(Fact::Read { request, carries });
        if late && let Some(record) = self.record(id) {
            self.ask(id, asked, super::step::Job::Append(record));
        }
        let answer = self.mistaken_answer(answer_of(response, spends, sent_at));
        self.report(id, asked, Report::Read(answer));
    }

    /// The row as a change makes it.
    pub(super) fn changed(&mut self, id: FlightId, change: Change) -> Row {
        let reading = self.machines[self.nodes[id.node].machine].reading(self.now);
        let (here, secret) = (self.wall_error(id.node), self.nodes[id.node].secret);
        let keeps_nothing = self.makes(Mistake::OmittedRefreshTokenOverwrites);
        let drops = self.makes(Mistake::RefreshTokenOfFailureDropped);
        let marks_row = self.makes(Mistake::LoserMarksTheRow);
        let stored = self.nodes[id.node].flight(id).map(|flight| flight.key);
        let stored = stored.and_then(|key| self.store.row(key));
        let Some(flight) = self.nodes[id.node].flight(id) else { return Row::default() };
        let mut row = flight.row.unwrap_or_default();
        let presented = flight.to_send();
        let spends = flight.order.spends;
        let stamp = |at| Stamp::seen_from(at, reading);
        let doubt = |since: Option<_>| since.map(|since| Mark { at: stamp(since), presented });
        let from_server = flight.response.map(|response| {
            (response, stamp(flight.sent_at), flight.presented, flight.renewal.attempt(), here)
        });
        let from_escrow = flight.from_escrow.map(|record| {
            let Record { response, sent_at, presented, attempt, wall_error, .. } = record;
            (response, sent_at, presented, attempt, wall_error)
        });
        let read = |source| match source {
            Source::Server => from_server,
            Source::Escrow => from_escrow,
            Source::Row => None,
        };
        match change {
            Change::Intent { attempt, doubt_since } => {
                (row.attempt, row.failure) = (attempt, None);
                row.doubt = doubt(doubt_since);
                row.intent = Some(Mark { at: stamp(reading.at), presented });
            }
            Change::Unsent => row.intent = None,
            Change::Accept { generation, source, doubt_since } => {
                let Some((response, sent_at, _, attempt, wall_error)) = read(source) else {
                    return row;
                };
                let Response::Granted { access, refresh, lifetime } = response else { return row };
                let inexact = tolerance(sent_at, wall_error, reading, here).as_millis() as i64;
                let begins_at = sent_at.resolve(reading);
                let credential = match source {
                    Source::Escrow => {
                        flight.from_escrow.map_or(flight.credential, |r| r.credential)
                    }
                    Source::Server | Source::Row => flight.credential,
                };
                row.token = Some(StoredToken {
                    access,
                    credential,
                    sent_at: stamp(begins_at),
                    expires_at: stamp(sent_at.later(lifetime).resolve(reading)),
                    wall_error: here,
                    inexact,
                });
                if refresh.is_some() || keeps_nothing {
                    row.refresh = refresh;
                }
                (row.failure, row.intent, row.doubt, row.refused) = (None, None, None, None);
                let presented = row.refresh;
                row.doubt = doubt_since.map(|since| Mark { at: stamp(since), presented });
                row.attempt = row.attempt.max(attempt);
                row.generation = generation;
            }
            Change::Fail { generation, source, refused, doubt_since } => {
                let answer = read(source);
                row.attempt = row.attempt.max(answer.map_or(0, |(.., attempt, _)| attempt));
                row.intent = None;
                row.doubt = doubt(doubt_since);
                let failure = match answer {
                    Some((response, ..)) => failure_of(response, spends),
                    None => flight.met,
                };
                row.failure = Some(StoredFailure { failure, at: stamp(reading.at), secret });
                if refused {
                    row.refused = answer.and_then(|(_, _, presented, ..)| presented);
                    if marks_row {
                        row = Row {
                            refused: stored.and_then(|row| row.refresh),
                            ..stored.unwrap_or(row)
                        };
                    }
                }
                if let Some(salvaged) = answer.and_then(|(response, ..)| response.refresh())
                    && spends
                    && !drops
                {
                    if let Some(doubt) = &mut row.doubt {
                        doubt.presented = Some(salvaged);
                    }
                    row.refresh = Some(salvaged);
                }
                row.generation = generation.max(row.generation);
            }
            Change::Doubt { generation, attempt, since } => {
                (row.attempt, row.intent, row.failure) = (attempt, None, None);
                row.doubt = doubt(Some(since));
                row.generation = generation;
            }
        }
        row
    }

    /// The token that an outcome is about.
    pub(super) fn token_of(&mut self, id: FlightId, outcome: &Outcome) -> Option<Token> {
        let Outcome::Granted { source, .. } = *outcome else { return None };
        let wall_error = self.wall_error(id.node);
        let reading = self.machines[self.nodes[id.node].machine].reading(self.now);
        let flight = self.nodes[id.node].flight(id)?;
        let credential = flight.credential;
        match source {
            Source::Server => match flight.response? {
                Response::Granted { access, .. } => {
                    Some(Token { access, credential, tolerance: Duration::ZERO })
                }
                Response::InvalidGrant
                | Response::InvalidClient
                | Response::Throttled { .. }
                | Response::Broken { .. } => None,
            },
            Source::Escrow => {
                let record = flight.from_escrow?;
                let Response::Granted { access, .. } = record.response else { return None };
                let tolerance = tolerance(record.sent_at, record.wall_error, reading, wall_error);
                Some(Token { access, credential: record.credential, tolerance })
            }
            Source::Row => {
                let row = flight.row?;
                self.held(id.node, &row).map(|(_, token)| token)
            }
        }
    }

    /// Whether what a flight's answer brought is safe.
    pub(super) fn is_durable(&mut self, id: FlightId) -> bool {
        let machine = self.nodes[id.node].machine;
        let Some(flight) = self.nodes[id.node].flight(id) else { return true };
        let (key, spends, response) = (flight.key, flight.order.spends, flight.response);
        let Some(token) = response.and_then(|response| response.refresh()).filter(|_| spends)
        else {
            return true;
        };
        let kept = self.escrows[machine].records(key).iter();
        let mut kept = kept.filter_map(|record| record.response.refresh());
        kept.any(|kept| kept == token)
            || self.store.row(key).is_some_and(|row| row.refresh == Some(token))
    }

    /// What a process that starts finds.
    pub(super) fn restore(&mut self, node: usize, credential: usize) {
        let machine = self.nodes[node].machine;
        let is_away = self.store_is_away(machine);
        let is_read = !is_away && !self.strikes(super::fault::Fault::StoreFails);
        let found = self.store.row(credential).filter(|_| is_read).unwrap_or_default();
        let now = self.reading(node);
        let (mut generation, mut attempt) = (found.generation, found.attempt);
        let is_news = found.failure.is_some() || found.intent.is_some() || found.doubt.is_some();
        let mut held = self.held(node, &found);
        let spends = self.scenario.plans[credential].spends;
        let best = self.escrows[machine].best(credential).copied().filter(|_| spends);
        if let Some(record) = best
            && let Response::Granted { access, lifetime, .. } = record.response
            && record.generation > generation
        {
            generation = record.generation;
            attempt = attempt.max(record.attempt);
            let sent_at = record.sent_at.resolve(now);
            let wall_error = self.wall_error(node);
            let tolerance = tolerance(record.sent_at, record.wall_error, now, wall_error);
            let token = Token { access, credential: record.credential, tolerance };
            // What was sent before this boot ends no later for that.
            let lifetime = Some(sent_at.until(record.sent_at.later(lifetime).resolve(now)));
            held = Some((Held { generation, sent_at, lifetime }, token));
        }
        self.nodes[node].keepers[credential].attempt = attempt.saturating_sub(u64::from(is_news));
        // What only the escrow has goes to the store, and a doubt is resolved while it can be.
        let is_due =
            generation > found.generation || found.intent.is_some() || found.doubt.is_some();
        if let Some((held, token)) = held
            && held.is_alive(self.local(node))
        {
            let place = self.place(node, credential);
            let (serial, owner) = (token.access, token.credential);
            self.tell(Fact::Published {
                is_forked: self.grants[credential].is_forked || self.grants[credential].was_forked,
                place,
                generation: held.generation,
                serial,
                owner,
                source: Source::Row,
                durable: true,
            });
            self.handle(node, credential, Event::Restored { member: 0, held }, Some(token));
        }
        if is_due {
            self.handle(node, credential, Event::Renew, None);
        }
    }
}
