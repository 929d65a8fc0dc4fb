//! `api-rate-limit`: the API admits only so many requests for each token.
//!
//! The answer may name the limit. Else it is what was admitted in the minutes that were throttled.

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity};
use crate::callers::Situation;
use crate::fingerprint::Fingerprint;
use crate::moment::Moment;
use crate::observation::Observation;

/// Tokens told apart in one minute.
const MOST_TOKENS: usize = 256;

#[derive(Debug, Default)]
struct Minute {
    number: i64,
    admitted: u64,
    throttled: u64,
    tokens: Vec<Fingerprint>,
}

/// Admitted requests of each of the last 60 seconds.
#[derive(Debug)]
struct Recent([u64; 60]);

impl Default for Recent {
    fn default() -> Self {
        Self([0; 60])
    }
}

#[derive(Debug, Default)]
pub(super) struct ApiRateLimit {
    examples: Examples,
    api_requests: u64,
    minute: Minute,
    previous_was_throttled: bool,
    /// Whole minutes in the midst of throttling: admitted requests of each.
    whole: Vec<u64>,
    tokens: usize,
    before_first: Option<u64>,
    recent: Recent,
    recent_from: i64,
    named: Option<(u64, u64)>,
    retry_after: u32,
}

impl Detector for ApiRateLimit {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if seen.is_token_request() {
            return;
        }
        self.api_requests += 1;
        self.turn_to(seen.done_at);
        if seen.status == Some(429) {
            self.minute.throttled += 1;
            if self.before_first.is_none() {
                self.before_first = Some(self.recent.0.iter().sum());
            }
            if self.named.is_none() {
                self.named = named_limit(&seen.message);
            }
            self.retry_after = self.retry_after.max(seen.retry_after.unwrap_or_default());
            let tokens = now.holders;
            self.examples.note(seen, || match tokens {
                0 => format!("throttled{}", quoted(seen)),
                tokens => format!("throttled, with {tokens} tokens about{}", quoted(seen)),
            });
        } else if seen.status.is_some_and(|status| status < 400) {
            self.minute.admitted += 1;
            self.recent.0[seen.done_at.second_of_minute()] += 1;
            if let Some(token) = seen.token
                && self.minute.tokens.len() < MOST_TOKENS
                && !self.minute.tokens.contains(&token)
            {
                self.minute.tokens.push(token);
                self.tokens = self.tokens.max(self.minute.tokens.len());
            }
        }
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let count = self.examples.count();
        if count == 0 {
            return;
        }
        let tokens = self.tokens.max(overall.holders) as u64;
        let admitted = self.admitted_a_minute();
        let (limit, confidence) = match (self.named, admitted) {
            (Some((requests, seconds)), _) => {
                (format!("the API names its limit: {requests} requests in {seconds} s"), 0.95)
            }
            (None, Some(admitted)) if tokens > 1 => {
                let each = rounded(admitted / tokens);
                (
                    format!(
                        "about {each} requests a minute are admitted for each of {tokens} tokens"
                    ),
                    0.8,
                )
            }
            (None, Some(admitted)) => {
                let admitted = rounded(admitted);
                (format!("about {admitted} requests a minute are admitted"), 0.8)
            }
            (None, None) => ("the log is too short to tell the limit".to_owned(), 0.7),
        };
        let wait = match self.retry_after {
            0 => String::new(),
            seconds => format!(" and asks to wait up to {seconds} s"),
        };
        let severity = if count >= 10 || count * 100 > self.api_requests {
            Severity::High
        } else {
            Severity::Medium
        };
        found.push(Found {
            id: Id::ApiRateLimit,
            severity,
            confidence,
            summary: format!(
                "{count} of {} API requests got 429{wait}: {limit}",
                self.api_requests
            ),
            count,
            examples: self.examples.kept(),
            advice:
                "The limit is for each token. Ask for less (one list request instead of one for \
                     each agent), or spread the requests over several tokens: needed are the \
                     requests a minute divided by the limit. Bellwether keeps such a pool \
                     (`--pool N`), spends each token within its limit and honours Retry-After."
                    .to_owned(),
        });
    }
}

impl ApiRateLimit {
    fn turn_to(&mut self, at: Moment) {
        let second = at.0.div_euclid(1000);
        if second > self.recent_from {
            for passed in (self.recent_from + 1..=second).rev().take(60) {
                self.recent.0[usize::try_from(passed.rem_euclid(60)).unwrap_or_default()] = 0;
            }
            self.recent_from = second;
        }
        let number = at.0.div_euclid(60_000);
        if number <= self.minute.number {
            return;
        }
        let throttled = self.minute.throttled > 0;
        if throttled && self.previous_was_throttled && self.whole.len() < 10_000 {
            self.whole.push(self.minute.admitted);
        }
        self.previous_was_throttled = throttled;
        self.minute = Minute { number, ..Minute::default() };
    }

    fn admitted_a_minute(&self) -> Option<u64> {
        let mut whole = self.whole.clone();
        whole.sort_unstable();
        let median = whole.get(whole.len() / 2).copied();
        median.filter(|median| *median > 0).or(self.before_first.filter(|count| *count > 0))
    }
}

/// Two digits say all that an estimate knows.
fn rounded(number: u64) -> u64 {
    let step = 10_u64.pow(number.max(1).ilog10().saturating_sub(1));
    (number + step / 2) / step * step
}

/// “… the maximum [300] requests within [60] seconds”
fn named_limit(message: &[u8]) -> Option<(u64, u64)> {
    let text = String::from_utf8_lossy(message);
    let (before, after) = text.split_once(" requests within ")?;
    let digits = |text: &str| -> Option<u64> {
        text.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()
    };
    Some((digits(before.rsplit(' ').next()?)?, digits(after.split(' ').next()?)?))
}
