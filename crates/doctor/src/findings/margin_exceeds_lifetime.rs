//! `margin-exceeds-lifetime`: a token that is always about to expire is renewed for every request.
//!
//! Told by renewals that nothing prompted (no 401 before them) after hardly a use of the token.

use super::{Detector, Examples, Found, Id, Overall, Severity, span};
use crate::callers::Situation;
use crate::observation::{Identity, Observation};

/// Hardly used: no more API requests than this with a token.
const FEW: u32 = 2;
/// Fewer unprompted renewals of one caller are no habit.
const LEAST: u32 = 5;
/// Without API requests in the log, renewals closer than this are too close.
const TOO_CLOSE: i64 = 10_000;

#[derive(Clone, Copy, Debug, Default)]
struct Habit {
    /// API requests since the last token.
    uses: u32,
    refused: bool,
    hasty: u32,
    patient: u32,
    last: Option<crate::moment::Moment>,
}

#[derive(Debug, Default)]
pub(super) struct MarginExceedsLifetime {
    habits: Vec<Habit>,
    examples: Examples,
    api_requests: u64,
}

impl Detector for MarginExceedsLifetime {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if now.caller >= self.habits.len() {
            self.habits.resize(now.caller + 1, Habit::default());
        }
        let habit = &mut self.habits[now.caller];
        if !seen.is_token_request() {
            self.api_requests += 1;
            habit.uses += 1;
            habit.refused |= seen.is_refused_token();
            return;
        }
        if !seen.succeeded() {
            habit.refused = true;
            return;
        }
        let since = habit.last.map(|last| seen.done_at.since(last));
        // Behind an address a pool may renew its tokens one after the other.
        let is_close = seen.identity == Identity::Thread && since.is_some_and(|it| it < TOO_CLOSE);
        let hasty = habit.uses <= FEW && (habit.uses > 0 || is_close);
        if now.is_renewal && !habit.refused {
            if hasty {
                habit.hasty += 1;
                let uses = habit.uses;
                self.examples.note(seen, || {
                    let after = since.map_or_else(String::new, |it| format!(" and {}", span(it)));
                    format!(
                        "renewed after {uses} requests{after}, though nothing had refused the token"
                    )
                });
            } else {
                habit.patient += 1;
            }
        }
        *habit = Habit { uses: 0, refused: false, last: Some(seen.done_at), ..*habit };
    }

    fn begin_run(&mut self) {
        for habit in &mut self.habits {
            *habit = Habit { uses: 0, refused: false, last: None, ..*habit };
        }
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let hasty_callers =
            self.habits.iter().filter(|habit| habit.hasty >= LEAST && habit.hasty > habit.patient);
        let (callers, count) = hasty_callers
            .fold((0_u64, 0), |(callers, sum), habit| (callers + 1, sum + u64::from(habit.hasty)));
        if callers == 0 {
            return;
        }
        let known = overall.lifetime.map_or_else(String::new, |lifetime| {
            format!(" (their lifetime is {})", span(lifetime))
        });
        let confidence = match overall.lifetime {
            Some(lifetime) if lifetime <= 600_000 => 0.9,
            Some(_) => 0.6,
            None => 0.7,
        };
        found.push(Found {
            id: Id::MarginExceedsLifetime,
            severity: Severity::Medium,
            confidence,
            summary: format!(
                "{callers} callers renewed {count} times after at most {FEW} requests, though \
                 nothing had refused the token{known}: they take every token for nearly expired"
            ),
            count,
            examples: self.examples.kept(),
            advice: "The margin before expiry at which the client renews is as long as the token \
                     lives, or it logs in for every iteration. Make the margin a share of \
                     `expires_in`, or the lifetime longer; in JMeter, put the login into a Once Only \
                     Controller. Bellwether's lead is a share of the lifetime, and it never hands out \
                     a token that a usual margin would reject."
                .to_owned(),
        });
    }
}
