//! `duplicate-token-requests`: several renew at the same moment.
//!
//! First logins do not count: somebody has to begin. Where nothing ever failed, only bursts of
//! renewals close together count, since some coincidence is to be expected.

use super::{Detector, Examples, Found, Id, Overall, Severity, percent};
use crate::callers::Situation;
use crate::moment::Moment;
use crate::observation::{Identity, Observation};

const NEAR: i64 = 1_000;
const CLOSE: i64 = 100;
/// Callers told apart in one group.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct DuplicateTokenRequests {
    near: Groups,
    close: Groups,
    renewals: u64,
}

/// Renewals within some time of the first of them.
#[derive(Debug, Default)]
struct Groups {
    begun: Option<Moment>,
    size: u64,
    callers: Vec<usize>,
    /// Groups of more than one caller.
    shared: u64,
    in_shared: u64,
    largest: u64,
    examples: Examples,
}

impl Detector for DuplicateTokenRequests {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if now.is_renewal {
            self.renewals += 1;
            self.near.add(seen, now, NEAR);
            self.close.add(seen, now, CLOSE);
        }
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let (groups, within, least_share) =
            if overall.is_troubled() { (&self.near, NEAR, 30) } else { (&self.close, CLOSE, 50) };
        let share = percent(groups.in_shared, self.renewals);
        let enough = groups.shared >= 3 || groups.largest >= 5;
        if !enough || share < least_share {
            return;
        }
        let needless = groups.in_shared - groups.shared;
        found.push(Found {
            id: Id::DuplicateTokenRequests,
            severity: if overall.is_troubled() { Severity::High } else { Severity::Medium },
            confidence: if overall.is_troubled() { 0.85 } else { 0.7 },
            summary: format!(
                "{} of {} renewals were sent within {within} ms of another, up to {} together; one \
                 for all would have saved {needless} token requests",
                groups.in_shared, self.renewals, groups.largest,
            ),
            count: groups.in_shared,
            examples: groups.examples.kept(),
            advice:
                "Let one renew and the others wait for its answer: one cache of tokens with one \
                     writer, for threads, processes and machines alike (a lock in one process does \
                     nothing for the next). Bellwether makes one token request however many ask."
                    .to_owned(),
        });
    }
}

impl Groups {
    fn add(&mut self, seen: &Observation, now: &Situation, within: i64) {
        let sent = seen.sent_at();
        let joins = self.begun.is_some_and(|begun| sent.since(begun).abs() <= within);
        if !joins {
            self.begun = Some(sent);
            self.size = 0;
            self.callers.clear();
        }
        self.size += 1;
        let known = self.callers.contains(&now.caller);
        if !known && self.callers.len() < MOST {
            self.callers.push(now.caller);
        }
        let members = match seen.identity {
            Identity::Thread => self.callers.len() as u64,
            Identity::Address => self.size,
        };
        if members < 2 || (known && seen.identity == Identity::Thread) {
            return;
        }
        if members == 2 {
            self.shared += 1;
            self.in_shared += 1;
        }
        self.in_shared += 1;
        self.largest = self.largest.max(members);
        let after = self.begun.map_or(0, |begun| sent.since(begun).abs());
        self.examples
            .note(seen, || format!("number {members} to renew, {after} ms from the first of them"));
    }
}
