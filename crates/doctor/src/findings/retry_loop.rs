//! `retry-loop`: 401, renew, 401, renew, and no request between that succeeds.
//!
//! The newer token does not cure the 401, so renewing again cannot. A token that others have pushed
//! out is another matter: here nobody came between.

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity, span};
use crate::callers::Situation;
use crate::moment::Moment;
use crate::observation::{Identity, Observation};

/// Refused so soon after its issue, a token never was any good.
const AT_ONCE: i64 = 10_000;
const LEAST_TURNS: u32 = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Loop {
    /// A token was issued, and nothing has succeeded since.
    renewed_at: Option<Moment>,
    turns: u32,
}

#[derive(Debug, Default)]
pub(super) struct RetryLoop {
    loops: Vec<Loop>,
    examples: Examples,
    longest: u32,
    caught: u64,
    api_successes: u64,
}

impl Detector for RetryLoop {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if now.caller >= self.loops.len() {
            self.loops.resize(now.caller + 1, Loop::default());
        }
        let turning = &mut self.loops[now.caller];
        if seen.is_token_request() {
            if seen.succeeded() {
                turning.renewed_at = Some(seen.done_at);
            }
            return;
        }
        if !seen.is_refused_token() {
            if seen.succeeded() {
                self.api_successes += 1;
                *turning = Loop::default();
            }
            return;
        }
        let Some(renewed_at) = turning.renewed_at.take() else { return };
        let age = seen.done_at.since(renewed_at);
        let alone = seen.identity == Identity::Address
            || now.token.is_none_or(|token| token.newer <= 2)
            || self.api_successes == 0;
        if !(0..=AT_ONCE).contains(&age) || !alone {
            return;
        }
        turning.turns += 1;
        self.longest = self.longest.max(turning.turns);
        if turning.turns >= LEAST_TURNS {
            self.caught += u64::from(turning.turns == LEAST_TURNS);
            let turns = turning.turns;
            self.examples.note(seen, || {
                format!("turn {turns}: refused {} after it had renewed{}", span(age), quoted(seen))
            });
        }
    }

    fn begin_run(&mut self) {
        self.loops.clear();
    }

    fn tell(&self, _overall: &Overall<'_>, found: &mut Vec<Found>) {
        let count = self.examples.count();
        if count == 0 {
            return;
        }
        found.push(Found {
            id: Id::RetryLoop,
            severity: Severity::High,
            confidence: if self.longest >= 5 { 0.9 } else { 0.75 },
            summary: format!(
                "{} callers went round 401 and renewal without a request that succeeds, up to {} \
                 times",
                self.caught, self.longest,
            ),
            count,
            examples: self.examples.kept(),
            advice: "A newer token does not cure this 401: it is meant for another region or \
                     audience, its client lacks something, or the API itself is ill. Renew once, \
                     then pass the 401 on. Bellwether replays once, and does not force another \
                     renewal for 30 s, then longer, until one helps."
                .to_owned(),
        });
    }
}
