//! Where mistakes are planted: orders, reports, steps and failures are rewritten on their way
//! between the machines and the world. Without a mistake everything passes as it is.

use std::time::Duration;

use bellwether_lifecycle::renewal::{Answer, Change, Order, Recorded, Report, Source, Step};
use bellwether_lifecycle::{Cause, Failure, Replay, Timestamp};

use super::mistake::Mistake;
use super::node::FlightId;
use super::step::Job;
use super::world::World;

impl World {
    pub(super) fn mistaken_order(&self, order: Order) -> Order {
        match self.mistake {
            Some(Mistake::ReplayOutsideWindow) => match order.replay {
                Replay::Within(window) => Order { replay: Replay::Within(window * 20), ..order },
                Replay::LastPair(window) => {
                    Order { replay: Replay::LastPair(window * 20), ..order }
                }
                Replay::Free | Replay::LastResort => order,
            },
            Some(Mistake::StrictTakenForWindowed) if order.replay == Replay::LastResort => {
                Order { replay: Replay::Within(Duration::from_secs(60)), ..order }
            }
            Some(Mistake::UsableTokenIgnored) => Order { usable_until: Timestamp::ZERO, ..order },
            Some(Mistake::OlderRowTrusted) => Order { generation: 0, ..order },
            Some(_) | None => order,
        }
    }

    pub(super) fn mistaken_recorded(
        &mut self,
        id: FlightId,
        credential: usize,
        recorded: Recorded,
    ) -> Recorded {
        let now = self.local(id.node);
        let keeper = &mut self.nodes[id.node].keepers[credential];
        let is_first = !std::mem::replace(&mut keeper.has_loaded, true);
        let mut recorded = recorded;
        match self.mistake {
            Some(Mistake::DoubtForgottenAtStart) if is_first => {
                (recorded.intent, recorded.doubt_since) = (None, None);
            }
            Some(Mistake::DoubtEndsByTime) => {
                let is_recent = |since: &Timestamp| now.since(*since) < Duration::from_secs(60);
                recorded.intent = recorded.intent.filter(is_recent);
                recorded.doubt_since = recorded.doubt_since.filter(is_recent);
            }
            Some(Mistake::DoubtCountsFromFailure) => {
                recorded.intent = recorded.intent.map(|_| now);
                recorded.doubt_since = recorded.doubt_since.map(|_| now);
            }
            Some(Mistake::RefusedTokenSent | Mistake::TerminalProbed) => {
                recorded.grant = bellwether_lifecycle::renewal::Grant::Usable;
            }
            Some(Mistake::LifetimeStretched) => {
                if let Some(held) = &mut recorded.held {
                    held.lifetime = held.lifetime.map(|life| life + life / 4);
                }
            }
            Some(Mistake::RestoreNotNoticed) => recorded.is_restored = false,
            Some(Mistake::ForeignFailureShared) => {
                if let Some(met) = &mut recorded.failure {
                    met.is_ours = true;
                }
            }
            Some(_) | None => {}
        }
        recorded
    }

    /// What is reported instead of saving, if the row is not to be written.
    pub(super) fn mistaken_save(&mut self, id: FlightId, change: Change) -> Option<Report> {
        let Change::Intent { doubt_since, .. } = change else { return None };
        let flight = self.nodes[id.node].flight(id)?;
        let skips = match self.mistake {
            Some(Mistake::NoIntent | Mistake::IntentAfterSend) => true,
            Some(Mistake::ReplayWithoutIntent) => doubt_since.is_some(),
            Some(_) | None => false,
        };
        if skips {
            let row = flight.row.unwrap_or_default();
            flight.row = Some(row);
        }
        skips.then_some(Report::Done)
    }

    pub(super) fn mistaken_change(&self, change: Change) -> Change {
        match (self.mistake, change) {
            (Some(Mistake::AttemptNotCounted), Change::Intent { attempt, doubt_since }) => {
                Change::Intent { attempt: attempt - 1, doubt_since }
            }
            (
                Some(Mistake::DoubtClearedByFailure),
                Change::Fail { generation, source, refused, .. },
            ) => Change::Fail { generation, source, refused, doubt_since: None },
            (
                Some(Mistake::GenerationNotRaised),
                Change::Accept { generation, source, doubt_since },
            ) => Change::Accept { generation: generation - 1, source, doubt_since },
            (_, change) => change,
        }
    }

    pub(super) fn mistaken_answer(&self, answer: Answer) -> Answer {
        let Answer::Failed { failure, refused, rotated } = answer else { return answer };
        match (self.mistake, failure.cause) {
            (Some(Mistake::InvalidClientMarks), Cause::Misconfigured) => {
                Answer::Failed { failure, refused: true, rotated }
            }
            (Some(Mistake::ServerErrorIsUnsent), Cause::InDoubt) => {
                Answer::Failed { failure: Failure::new(Cause::Passing), refused, rotated }
            }
            (Some(Mistake::RefreshTokenOfFailureDropped), _) => {
                Answer::Failed { failure, refused, rotated: false }
            }
            (Some(Mistake::RetryAfterIgnored), _) => {
                let failure = Failure { retry_after: None, ..failure };
                Answer::Failed { failure, refused, rotated }
            }
            (_, _) => answer,
        }
    }

    /// What the escrow has, as a mistaken system reads it.
    pub(super) fn mistaken_kept_answer(&self, answer: Answer) -> Answer {
        match (self.mistake, answer) {
            (
                Some(Mistake::RefreshTokenOfFailureDropped),
                Answer::Failed { failure, refused, rotated: _ },
            ) => Answer::Failed { failure, refused, rotated: false },
            (_, answer) => answer,
        }
    }

    /// What a report becomes on its way to a mistaken system.
    pub(super) fn mistaken_report(&self, step: Step, report: Report) -> Report {
        match (self.mistake, step, report) {
            (
                Some(Mistake::IntentFailureIgnored),
                Step::Save(Change::Intent { .. }),
                Report::Broken(_),
            )
            | (
                Some(Mistake::IntentSupersededIgnored),
                Step::Save(Change::Intent { .. }),
                Report::Superseded,
            ) => Report::Done,
            (_, _, report) => report,
        }
    }

    pub(super) fn mistaken_failure(
        &self,
        failure: Failure,
        doubt_since: Option<Timestamp>,
    ) -> (Failure, Option<Timestamp>) {
        match (self.mistake, failure.cause) {
            (Some(Mistake::TerminalProbed), Cause::Reauthorize) => {
                (Failure::new(Cause::Passing), doubt_since)
            }
            (_, _) => (failure, doubt_since),
        }
    }

    /// The step that follows a report, as a mistaken system would take it.
    pub(super) fn mistaken_step(&mut self, id: FlightId, step: Step, report: Report) -> Step {
        let now = self.local(id.node);
        let Some(flight) = self.nodes[id.node].flight(id) else { return step };
        let asked = flight.asked;
        match (self.mistake, step) {
            (Some(Mistake::IntentAfterSend), Step::Escrow) => {
                let attempt = flight.renewal.attempt();
                let change = Change::Intent { attempt, doubt_since: None };
                let (fence, presented) = (flight.fence, flight.to_send());
                let row = self.changed(id, change);
                if let Some(fence) = fence {
                    self.ask(id, asked, Job::Save { row, fence, change, presented });
                }
                step
            }
            (Some(Mistake::EscrowAfterPublish), Step::Release | Step::End) => {
                if let Some(record) = self.record(id) {
                    self.ask(id, asked, Job::Append(record));
                }
                step
            }
            (Some(Mistake::LostAnswerIsRefusal), Step::Save(Change::Fail { .. }))
                if matches!(report, Report::Unanswered(_)) =>
            {
                flight.response = Some(super::server::Response::InvalidGrant);
                flight.has_read = true;
                let _ = now;
                Step::Save(Change::Fail {
                    generation: flight.row.map_or(0, |row| row.generation),
                    source: Source::Server,
                    refused: true,
                    doubt_since: None,
                })
            }
            (_, step) => step,
        }
    }
}
