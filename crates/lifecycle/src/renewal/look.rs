//! What a renewal makes of the row and the escrow, before it sends and after a refusal: another
//! process may have obtained a token, or failed, or left a doubt.

use std::time::Duration;

use super::found::{Answer, Escrowed, Grant, Met, Recorded};
use super::step::{Change, Meeting, Outcome, Source, Step};
use super::{Doing, LOOK_AGAIN, Renewal};
use crate::failure::{Cause, Failure};
use crate::lead::Held;
use crate::policy::Replay;
use crate::time::Timestamp;

/// A failure that another process met this recently is ours too; longer, if the server asked all
/// to wait.
const FAILURE_SHARED_FOR: Duration = Duration::from_secs(5);
/// While a person must act, one process probes for all who know of it.
const PROBE_SHARED_FOR: Duration = Duration::from_secs(600);

impl Renewal {
    /// With the lease, and nothing sent yet.
    pub(super) fn decide(
        &mut self,
        now: Timestamp,
        recorded: Recorded,
        escrowed: Option<Escrowed>,
    ) -> Step {
        let is_same_row = recorded.generation == self.recorded.generation;
        self.recorded = recorded;
        if let Some((held, source)) = self.unsaved {
            if recorded.generation >= held.generation {
                // Another holder's answer came later: it is the one the server issued last.
                return self.superseded(recorded);
            }
            let ended_since = self.may_be_ended(self.attempt);
            let may_wait = self.is_escrowed && !self.is_published && is_same_row;
            if !(may_wait && self.is_asked_again(now, ended_since)) {
                self.lost_since = self.lost_since.or(ended_since.map(|_| held.sent_at));
                return self.accept(held, source);
            }
            (self.unsaved, self.is_escrowed) = (None, false);
        }
        let escrowed = escrowed.filter(|kept| {
            let ended_since = self.may_be_ended(kept.attempt).filter(|_| kept.is_ours);
            !self.is_asked_again(now, ended_since)
        });
        if let Some(step) = escrowed.and_then(|escrowed| self.recover(&recorded, escrowed)) {
            return step;
        }
        if let Some(outcome) = self.adopt(now, &recorded, true) {
            return self.publish(outcome);
        }
        // An older copy of the row does not tell of requests after it: neither does the escrow, of
        // those without an answer.
        let is_older = recorded.is_restored || recorded.generation < self.order.generation;
        if self.order.spends && is_older && self.known_doubt().is_none() {
            return self.doubt_the_store();
        }
        if recorded.grant != Grant::Usable {
            let failure = Failure::new(Cause::Reauthorize);
            let met = Meeting::Nothing(recorded.grant);
            return self.publish(Outcome::Failed { failure, doubt_since: None, met });
        }
        if !self.order.spends {
            return self.send(now);
        }
        if now >= self.send_by(now) {
            let (failure, doubt_since) = (Failure::new(Cause::InDoubt), self.known_doubt());
            self.attempt = self.attempt.max(recorded.attempt);
            let met = Meeting::Unheard;
            return self.publish(Outcome::Failed { failure, doubt_since, met });
        }
        self.doing = Doing::Reserving;
        Step::Reserve
    }

    /// Since when there may have been a later request, without an answer, that ended what `attempt`
    /// brought.
    fn may_be_ended(&self, attempt: u64) -> Option<Timestamp> {
        match self.order.replay {
            Replay::LastPair(_) => self.known_doubt().filter(|_| self.recorded.attempt > attempt),
            Replay::Free | Replay::Within(_) | Replay::LastResort => None,
        }
    }

    /// Whether the server still takes the refresh token that such a request has sent. Then it is
    /// asked again; what the escrow has is what remains when the window is over.
    fn is_asked_again(&self, now: Timestamp, ended_since: Option<Timestamp>) -> bool {
        ended_since.is_some_and(|since| now < self.order.replay.safe_until(since))
    }

    /// What the escrow has and the row has not.
    fn recover(&mut self, recorded: &Recorded, escrowed: Escrowed) -> Option<Step> {
        let Escrowed { generation, attempt, answer, .. } = escrowed;
        // Its own request's intent is the last that the row was told. If not, the row may be older,
        // and does not tell of requests after that answer.
        let is_next = generation == recorded.generation + 1 && escrowed.settles(recorded);
        let is_as_left = is_next && !recorded.is_restored;
        match answer {
            Answer::Granted { sent_at, lifetime } if generation > recorded.generation => {
                self.attempt = self.attempt.max(attempt).max(recorded.attempt);
                self.is_escrowed = true;
                self.lost_since = Some(sent_at).filter(|_| !is_as_left);
                Some(self.accept(Held { generation, sent_at, lifetime }, Source::Escrow))
            }
            // A refresh token that came with a failure exists nowhere else.
            Answer::Failed { failure, refused, rotated }
                if escrowed.settles(recorded) || rotated && generation > recorded.generation =>
            {
                self.attempt = attempt.max(recorded.attempt);
                let in_doubt = recorded.intent.filter(|_| failure.cause == Cause::InDoubt);
                let doubt_since = match rotated {
                    // Of the new one; since when, nobody knows.
                    true => Some(Timestamp::ZERO).filter(|_| !is_as_left),
                    false => recorded.doubt_since.or(in_doubt),
                };
                let generation = if rotated { generation } else { recorded.generation };
                let (source, met) = (Source::Escrow, Meeting::Escrow);
                let outcome = Outcome::Failed { failure, doubt_since, met };
                self.doing = Doing::Failing { outcome };
                Some(Step::Save(Change::Fail { generation, source, refused, doubt_since }))
            }
            Answer::Granted { .. } | Answer::Failed { .. } => None,
        }
    }

    /// What another process obtained, or failed with, since this one last looked. Whoever has the
    /// lease knows that nobody is at it any more.
    pub(super) fn adopt(
        &mut self,
        now: Timestamp,
        recorded: &Recorded,
        has_lease: bool,
    ) -> Option<Outcome> {
        let unheard = recorded.intent.filter(|_| has_lease);
        let doubt_since = recorded.doubt_since.or(unheard).filter(|_| self.order.spends);
        let newer = recorded.held.filter(|held| held.generation > self.order.generation);
        if let Some(held) = newer.filter(|held| now < held.hand_out_until()) {
            self.attempt = self.attempt.max(recorded.attempt);
            self.is_unsettled = doubt_since.is_some();
            return Some(Outcome::Granted { held, source: Source::Row });
        }
        if recorded.attempt <= self.order.attempt {
            return None;
        }
        let failed = |failure, met| Some(Outcome::Failed { failure, doubt_since, met });
        let recent = recorded.failure.and_then(|met| self.shared(now, met));
        let outcome = match (recent, doubt_since) {
            (Some(failure), _) => failed(failure, Meeting::Row),
            // Time does not end a doubt, but whoever has the lease may.
            (None, Some(_)) if has_lease => failed(Failure::new(Cause::InDoubt), Meeting::Unheard),
            (None, Some(_) | None) => None,
        };
        if outcome.is_some() {
            self.attempt = recorded.attempt;
        }
        outcome
    }

    /// Another process's failure, with what is left of its `Retry-After`, if it is this one's too.
    fn shared(&self, now: Timestamp, met: Met) -> Option<Failure> {
        let age = now.since(met.at);
        let retry_after = met.failure.retry_after.unwrap_or_default();
        let shared_for = if self.order.is_probe { PROBE_SHARED_FOR } else { FAILURE_SHARED_FOR };
        let is_doubt = met.failure.cause == Cause::InDoubt;
        let is_recent = met.is_ours && age < shared_for.max(retry_after);
        if !(is_doubt || is_recent) {
            return None;
        }
        let left = retry_after.saturating_sub(age);
        Some(Failure { retry_after: Some(left).filter(|left| !left.is_zero()), ..met.failure })
    }

    /// After a refusal, before anything is stopped: only what was presented is refused.
    pub(super) fn confirm(
        &mut self,
        failure: Failure,
        recorded: Recorded,
        escrowed: Option<Escrowed>,
    ) -> Step {
        if recorded.generation > self.recorded.generation {
            return self.superseded(recorded);
        }
        let newer = escrowed.filter(|known| matches!(known.answer, Answer::Granted { .. }));
        if let Some(step) = newer.and_then(|known| self.recover(&recorded, known)) {
            return step;
        }
        if recorded.attempt > self.attempt {
            // Somebody took the lease meanwhile.
            return self.publish(Outcome::Elsewhere { retry_after: LOOK_AGAIN });
        }
        self.fail(failure, true, false)
    }

    /// Another holder was faster.
    pub(super) fn superseded(&mut self, recorded: Recorded) -> Step {
        self.unsaved = None;
        self.attempt = self.attempt.max(recorded.attempt);
        if self.is_published {
            return self.release();
        }
        let newer = recorded.held.filter(|held| held.generation > self.order.generation);
        let doubt_since = recorded.doubt_since.or(recorded.intent);
        self.is_unsettled = newer.is_some() && self.order.spends && doubt_since.is_some();
        self.publish(match newer {
            Some(held) => Outcome::Granted { held, source: Source::Row },
            None => Outcome::Elsewhere { retry_after: LOOK_AGAIN },
        })
    }

    /// The store is an older copy of itself: its refresh token may be spent, and the one that came
    /// after it is not here.
    fn doubt_the_store(&mut self) -> Step {
        self.attempt = self.order.attempt.max(self.recorded.attempt) + 1;
        // It may have been spent as soon as it was there.
        let since = self.recorded.held.map_or(Timestamp::ZERO, |held| held.sent_at);
        let outcome = Outcome::Failed {
            failure: Failure::new(Cause::InDoubt),
            doubt_since: Some(since),
            met: Meeting::Restored,
        };
        self.doing = Doing::Failing { outcome };
        // The generation stays: whoever has a later answer in an escrow is to see that it is later.
        let (generation, attempt) = (self.recorded.generation, self.attempt);
        Step::Save(Change::Doubt { generation, attempt, since })
    }
}
