//! `stale-token-401`: somebody else has renewed the token, and this caller still used the old one.
//!
//! Told by how it ends: the caller goes on without a token request of its own; or by how it began:
//! the caller never had a token of its own.

use super::{Detector, Examples, Found, Id, Overall, Severity, span};
use crate::callers::Situation;
use crate::moment::Moment;
use crate::observation::{Identity, Observation};

/// A renewal that long ago has reached everybody.
const RECENT: i64 = 600_000;
const LEAST: u64 = 2;

#[derive(Debug, Default)]
pub(super) struct StaleToken {
    /// Of each caller: a 401 that waits for its end.
    waiting: Vec<Option<Observation>>,
    renewed: Vec<Moment>,
    examples: Examples,
    /// Ends by a token that was not the newest.
    other_ends: u64,
}

impl Detector for StaleToken {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if seen.is_refused_token() {
            self.begin(seen, now);
            return;
        }
        let Some(waiting) = self.waiting.get_mut(now.caller).filter(|it| it.is_some()) else {
            return;
        };
        if seen.is_token_request() {
            let Some(refused) = waiting.take() else { return };
            if now.token.is_none() && seen.identity == Identity::Thread {
                let since = span(refused.done_at.since(self.renewed[now.caller]));
                self.examples.note(&refused, || {
                    format!(
                        "somebody else had renewed {since} before, and it had no token of its own"
                    )
                });
            }
        } else if seen.succeeded() {
            let Some(refused) = waiting.take() else { return };
            if seen.token.is_some() && now.token.is_some_and(|token| token.newer > 0) {
                self.other_ends += 1;
                return;
            }
            let renewed = self.renewed[now.caller];
            self.examples.note(&refused, || {
                format!(
                    "somebody else had renewed {} before; the caller went on without a renewal of \
                     its own",
                    span(refused.done_at.since(renewed)),
                )
            });
        }
    }

    fn begin_run(&mut self) {
        self.waiting.clear();
        self.renewed.clear();
    }

    fn tell(&self, _overall: &Overall<'_>, found: &mut Vec<Found>) {
        let count = self.examples.count();
        if count < LEAST || count <= self.other_ends {
            return;
        }
        found.push(Found {
            id: Id::StaleToken401,
            severity: Severity::Medium,
            confidence: 0.8,
            summary: format!(
                "{count} requests got 401 with a token that somebody else had renewed already"
            ),
            count,
            examples: self.examples.kept(),
            advice:
                "Read the shared token for each request, not once for each thread; and on a 401 \
                     renew only if the token that was refused is still the current one. Bellwether \
                     compares the two, and its gateway replays such a request once with the newer \
                     token."
                    .to_owned(),
        });
    }
}

impl StaleToken {
    fn begin(&mut self, seen: &Observation, now: &Situation) {
        // Many threads behind one address: whose token it was cannot be said.
        if seen.identity == Identity::Address && seen.token.is_none() {
            return;
        }
        let superseded = match now.token {
            Some(token) if seen.token.is_some() => (token.newer > 0).then_some(token.issued_at),
            Some(_) | None => now.renewed_by_other,
        };
        let Some(renewed) = superseded.filter(|at| seen.done_at.since(*at) <= RECENT) else {
            return;
        };
        if self.waiting.len() <= now.caller {
            self.waiting.resize(now.caller + 1, None);
            self.renewed.resize(now.caller + 1, Moment::default());
        }
        self.waiting[now.caller] = Some(seen.clone());
        self.renewed[now.caller] = renewed;
    }
}
