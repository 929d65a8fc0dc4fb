//! One renewal of a grant, from the lease to its end: the order of its steps, and what each of them
//! may meet.
//!
//! The order is what makes it safe. Take the lease, read the row and the escrow, and only then ask
//! the server; write down that a refresh token is about to be spent before it leaves, and keep what
//! the server answered before anybody reads it or hears of it:
//!
//! ```text
//!  Acquire ─▶ Load ─▶ Reserve ─▶ Save(Intent) ─▶ Send ─▶ Escrow ─▶ Read ─▶ Save(Accept) ─▶ Publish ─▶ Release
//!               └─ what another process obtained, or failed with ──────────────────────────▶ ┘
//! ```
//!
//! A process may die, pause or lose its store between any two of them. Whoever comes next finds the
//! answer in the escrow, or an intent without an answer: that is doubt, and it is never guessed away.

use std::time::Duration;

use crate::failure::{Cause, Failure};
use crate::lead::Held;
use crate::time::Timestamp;

mod found;
mod look;
mod step;

pub use found::{Answer, Escrowed, Grant, Met, Order, Recorded};
pub use step::{Change, Meeting, Outcome, Report, Source, Step};

/// How often a process looks whether another one has finished.
const LOOK_AGAIN: Duration = Duration::from_millis(40);
/// A disk that takes longer than this to keep an answer may never do so.
const HOLDS_ON_FOR: Duration = Duration::from_secs(120);
/// Between attempts to bring an answer into a store that does not take it: from, to.
const SAVE_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What the last step was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Acquiring,
    /// Somebody else has the lease.
    Looking {
        retry_after: Duration,
    },
    Loading,
    /// After a refusal: has somebody else spent the token?
    Confirming {
        failure: Failure,
    },
    Reserving,
    Intending,
    Sending,
    Escrowing,
    Reading,
    Accepting {
        held: Held,
        source: Source,
    },
    Failing {
        outcome: Outcome,
    },
    Withdrawing,
    Publishing,
    Pausing,
    Releasing,
}

/// Decides what one renewal does next; does nothing itself.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    order: Order,
    doing: Doing,
    recorded: Recorded,
    lease_until: Option<Timestamp>,
    /// The row could not be read: it is not written either.
    is_blind: bool,
    attempt: u64,
    sent_at: Option<Timestamp>,
    /// The answer is in the escrow.
    is_escrowed: bool,
    /// Since when requests may have been sent that an older copy of the row does not tell of, or
    /// that have ended the token in hand.
    lost_since: Option<Timestamp>,
    /// A token that the row does not have yet.
    unsaved: Option<(Held, Source)>,
    is_published: bool,
    /// The token that it ends with is not all: the row is in doubt.
    is_unsettled: bool,
    pauses: u32,
}

impl Renewal {
    /// A renewal and its first step.
    pub fn begin(order: Order) -> (Self, Step) {
        let renewal = Self {
            order,
            doing: Doing::Acquiring,
            recorded: Recorded::default(),
            lease_until: None,
            is_blind: false,
            attempt: order.attempt,
            sent_at: None,
            is_escrowed: false,
            lost_since: None,
            unsaved: None,
            is_published: false,
            is_unsettled: false,
            pauses: 0,
        };
        (renewal, Step::Acquire)
    }

    /// The latest token request that is known of.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Whether a token request was sent, or may have been.
    pub fn has_sent(&self) -> bool {
        self.sent_at.is_some()
    }

    /// Whether the row has every token that came.
    pub fn is_saved(&self) -> bool {
        self.unsaved.is_none()
    }

    /// Whether it gave a token while the row is in doubt: to be settled by another renewal at once,
    /// since a server's window passes. Tells nothing before the outcome is published.
    pub fn is_unsettled(&self) -> bool {
        self.is_unsettled
    }

    /// Whether a holder whose disk takes long to keep an answer is to ask for its lease once more.
    /// The next one would take the answer for lost, and could use up the refresh token that it
    /// brings; where the server takes the old one again until then, it had better not wait.
    pub fn holds_on(&self, now: Timestamp) -> bool {
        let (Some(sent_at), Some(until)) = (self.sent_at, self.lease_until) else { return false };
        let since = self.known_doubt().unwrap_or(sent_at);
        let is_destructive = self.order.replay.safe_until(since) <= until;
        let is_at_it = self.doing == Doing::Escrowing && now < sent_at + HOLDS_ON_FOR;
        self.order.spends && is_at_it && is_destructive
    }

    /// What comes after a step that came to `report`.
    pub fn next(&mut self, now: Timestamp, report: Report) -> Step {
        match (self.doing, report) {
            (Doing::Acquiring, Report::Leased { until }) => {
                self.lease_until = Some(until);
                self.doing = Doing::Loading;
                Step::Load
            }
            (Doing::Acquiring, Report::Busy { retry_after }) if self.unsaved.is_some() => {
                self.pause(retry_after)
            }
            (Doing::Acquiring, Report::Busy { retry_after }) => {
                self.doing = Doing::Looking { retry_after };
                Step::Load
            }
            (Doing::Acquiring | Doing::Loading, Report::Broken(_)) if self.unsaved.is_some() => {
                self.pause_longer()
            }
            // A grant that spends nothing can be used without coordination; what it costs is at
            // most one request for each process.
            (Doing::Acquiring | Doing::Loading, Report::Broken(_)) if !self.order.spends => {
                self.recorded = Recorded { grant: Grant::Usable, ..Recorded::default() };
                self.is_blind = true;
                self.send(now)
            }
            (Doing::Looking { retry_after }, Report::Loaded { recorded, .. }) => {
                let outcome = self.adopt(now, &recorded, false);
                let retry_after = retry_after.min(LOOK_AGAIN);
                self.publish(outcome.unwrap_or(Outcome::Elsewhere { retry_after }))
            }
            (Doing::Looking { retry_after }, Report::Broken(_)) => {
                self.publish(Outcome::Elsewhere { retry_after: retry_after.min(LOOK_AGAIN) })
            }
            (Doing::Loading, Report::Loaded { recorded, escrowed }) => {
                self.decide(now, recorded, escrowed)
            }
            (Doing::Confirming { failure }, Report::Loaded { recorded, escrowed }) => {
                self.confirm(failure, recorded, escrowed)
            }
            (Doing::Confirming { failure }, Report::Broken(_)) => self.fail(failure, true, false),
            (Doing::Reserving, Report::Done) => {
                self.attempt = self.recorded.attempt + 1;
                self.doing = Doing::Intending;
                let doubt_since = self.known_doubt();
                Step::Save(Change::Intent { attempt: self.attempt, doubt_since })
            }
            (Doing::Intending, Report::Done) => self.send(now),
            (Doing::Intending, Report::Superseded) => {
                self.attempt = self.order.attempt;
                self.publish(Outcome::Elsewhere { retry_after: LOOK_AGAIN })
            }
            (Doing::Sending, Report::Answered) if self.order.spends => {
                self.doing = Doing::Escrowing;
                Step::Escrow
            }
            (Doing::Sending, Report::Answered) => {
                self.doing = Doing::Reading;
                Step::Read
            }
            (Doing::Sending, Report::Unanswered(failure)) => self.fail(failure, false, false),
            (Doing::Sending, Report::TooLate) => {
                self.sent_at = None;
                self.doing = Doing::Withdrawing;
                Step::Save(Change::Unsent)
            }
            (Doing::Withdrawing, Report::Done | Report::Superseded | Report::Broken(_)) => {
                self.publish(Outcome::Elsewhere { retry_after: LOOK_AGAIN })
            }
            (Doing::Escrowing, Report::Done | Report::Broken(_)) => {
                self.is_escrowed |= report == Report::Done;
                match self.unsaved {
                    None => {
                        self.doing = Doing::Reading;
                        Step::Read
                    }
                    Some((held, source)) if self.is_escrowed && !self.is_published => {
                        self.publish(Outcome::Granted { held, source })
                    }
                    Some(_) => self.acquire(),
                }
            }
            (Doing::Reading, Report::Read(answer)) => self.on_answer(answer),
            (Doing::Accepting { held, source }, Report::Done) => {
                self.unsaved = None;
                match self.is_published {
                    true => self.release(),
                    // The row lacked what this process has, or what has ended meanwhile; it is to
                    // be replaced all the same.
                    false if !self.is_worth_giving(now, held, source) => {
                        self.is_escrowed = false;
                        self.doing = Doing::Loading;
                        Step::Load
                    }
                    false => self.publish(Outcome::Granted { held, source }),
                }
            }
            (Doing::Accepting { .. }, Report::Broken(failure)) if self.order.spends => {
                self.on_unsaved(now, failure)
            }
            (Doing::Accepting { .. }, Report::Superseded) if self.order.spends => {
                self.lease_until = None;
                self.acquire()
            }
            (Doing::Accepting { held, source }, Report::Superseded | Report::Broken(_)) => {
                self.unsaved = None;
                self.publish(Outcome::Granted { held, source })
            }
            (Doing::Failing { outcome }, Report::Done | Report::Superseded | Report::Broken(_)) => {
                self.publish(outcome)
            }
            (Doing::Publishing, Report::Done) if self.unsaved.is_some() => self.pause_longer(),
            (Doing::Publishing, Report::Done) => self.release(),
            (Doing::Pausing, Report::Done) if !self.is_escrowed && !self.is_published => {
                self.doing = Doing::Escrowing;
                Step::Escrow
            }
            (Doing::Pausing, Report::Done) => self.acquire(),
            (Doing::Pausing, Report::Stopping) => match self.unsaved {
                Some((held, source)) if self.is_escrowed && !self.is_published => {
                    self.publish(Outcome::Granted { held, source })
                }
                Some(_) if !self.is_published => self.publish_loss(),
                Some(_) | None => self.release(),
            },
            (
                Doing::Acquiring | Doing::Loading | Doing::Reserving | Doing::Intending,
                Report::Broken(failure),
            ) => self.publish(Outcome::Failed {
                failure,
                doubt_since: self.known_doubt(),
                met: Meeting::Here,
            }),
            (Doing::Releasing, _) => Step::End,
            // Nothing else comes of those steps. Should it all the same, nobody waits for ever and
            // the lease is given back.
            (_, _) if !self.is_published => self.publish_loss(),
            (_, _) => self.release(),
        }
    }

    fn send(&mut self, now: Timestamp) -> Step {
        let not_after = match self.lease_until {
            Some(until) if self.order.spends => {
                (until - self.order.request_limit).min(self.send_by(now))
            }
            Some(_) | None => Timestamp::NEVER,
        };
        self.sent_at = Some(now);
        // Nobody else has had what comes now.
        self.lost_since = None;
        self.attempt = self.attempt.max(self.recorded.attempt + 1);
        self.doing = Doing::Sending;
        Step::Send { not_after }
    }

    /// A request in doubt is sent again while the server takes it, or when nothing is left to lose.
    fn send_by(&self, now: Timestamp) -> Timestamp {
        let Some(since) = self.known_doubt() else { return Timestamp::NEVER };
        let safe_until = self.order.replay.safe_until(since);
        let newer = self.recorded.held.filter(|held| held.generation > self.order.generation);
        let last_end = newer.map_or(Timestamp::ZERO, |held| held.expires_at());
        match now < safe_until || now < last_end.max(self.order.usable_until) {
            true => safe_until,
            false => Timestamp::NEVER,
        }
    }

    fn on_answer(&mut self, answer: Answer) -> Step {
        match answer {
            Answer::Granted { sent_at, lifetime } => {
                let generation = self.recorded.generation.max(self.order.generation) + 1;
                self.accept(Held { generation, sent_at, lifetime }, Source::Server)
            }
            Answer::Failed { failure, refused: true, rotated: false } => {
                self.doing = Doing::Confirming { failure };
                Step::Load
            }
            Answer::Failed { failure, refused, rotated } => self.fail(failure, refused, rotated),
        }
    }

    fn accept(&mut self, held: Held, source: Source) -> Step {
        if self.is_blind {
            return self.publish(Outcome::Granted { held, source });
        }
        self.unsaved = Some((held, source));
        self.doing = Doing::Accepting { held, source };
        let (generation, doubt_since) = (held.generation, self.lost_since);
        Step::Save(Change::Accept { generation, source, doubt_since })
    }

    /// Whether an answer ends the renewal. One from the escrow may be no news, or too old.
    fn is_worth_giving(&self, now: Timestamp, held: Held, source: Source) -> bool {
        let is_news = held.generation > self.order.generation && now < held.hand_out_until();
        source != Source::Escrow || is_news
    }

    /// The store does not take the answer. It may go to callers as soon as it cannot be lost.
    fn on_unsaved(&mut self, now: Timestamp, failure: Failure) -> Step {
        match self.unsaved {
            Some((held, source))
                if !self.is_published && !self.is_worth_giving(now, held, source) =>
            {
                // The escrow has it for the next renewal.
                self.unsaved = None;
                let (doubt_since, met) = (self.lost_since, Meeting::Here);
                self.publish(Outcome::Failed { failure, doubt_since, met })
            }
            Some((held, source)) if self.is_escrowed && !self.is_published => {
                self.publish(Outcome::Granted { held, source })
            }
            Some(_) | None => self.pause_longer(),
        }
    }

    fn fail(&mut self, failure: Failure, refused: bool, rotated: bool) -> Step {
        let own = self.sent_at.filter(|_| failure.cause == Cause::InDoubt && self.order.spends);
        let doubt_since = self.known_doubt().or(own);
        let outcome = Outcome::Failed { failure, doubt_since, met: Meeting::Here };
        if self.is_blind {
            return self.publish(outcome);
        }
        self.doing = Doing::Failing { outcome };
        Step::Save(Change::Fail {
            generation: self.recorded.generation + u64::from(rotated),
            source: Source::Server,
            refused,
            // What may have happened to the old one matters no more.
            doubt_since: doubt_since.filter(|_| !rotated),
        })
    }

    /// Since when the refresh token may be spent, before this renewal's own request.
    fn known_doubt(&self) -> Option<Timestamp> {
        self.recorded.doubt_since.or(self.recorded.intent).filter(|_| self.order.spends)
    }

    fn acquire(&mut self) -> Step {
        self.doing = Doing::Acquiring;
        Step::Acquire
    }

    /// What came is kept nowhere, or nobody knows what came.
    fn publish_loss(&mut self) -> Step {
        let cause = if self.order.spends { Cause::InDoubt } else { Cause::Passing };
        let doubt_since = self.known_doubt().or(self.sent_at);
        let (failure, met) = (Failure::new(cause), Meeting::Here);
        self.publish(Outcome::Failed { failure, doubt_since, met })
    }

    fn publish(&mut self, outcome: Outcome) -> Step {
        if self.is_published {
            return self.release();
        }
        self.is_published = true;
        self.doing = Doing::Publishing;
        Step::Publish(outcome)
    }

    fn pause_longer(&mut self) -> Step {
        let (from, to) = SAVE_AGAIN;
        self.pauses += 1;
        self.pause(to.min(from * 2_u32.saturating_pow(self.pauses - 1)))
    }

    fn pause(&mut self, pause: Duration) -> Step {
        self.doing = Doing::Pausing;
        Step::Wait(pause)
    }

    fn release(&mut self) -> Step {
        self.doing = Doing::Releasing;
        match self.lease_until.take() {
            Some(_) => Step::Release,
            None => Step::End,
        }
    }
}
