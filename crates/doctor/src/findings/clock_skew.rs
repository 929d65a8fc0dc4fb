//! `clock-skew`: two clocks disagree, and tokens live and die by clocks.
//!
//! - The server's `Date`, or a token's `iat`, is off the log's own clock.
//! - A thread's request is stamped before its previous one.
//! - The server says that something is not valid yet, or that a token issued just now has expired.

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity, span};
use crate::callers::Situation;
use crate::moment::Moment;
use crate::observation::{Complaint, Identity, Observation};

/// `Date` and `iat` have whole seconds, and answers take time.
const TOLERATED: i64 = 5_000;
/// Lines of one file are a little out of order where many write it.
const DISORDER: i64 = 5_000;
/// A token that has expired so soon after its issue never was valid.
const JUST_ISSUED: i64 = 10_000;

#[derive(Debug, Default)]
pub(super) struct ClockSkew {
    compared: u64,
    off: Examples,
    offsets: Vec<i64>,
    backwards: Examples,
    furthest_back: i64,
    refused: Examples,
    last_of_caller: Vec<Option<Moment>>,
    /// Of each file, for callers that are addresses.
    last_of_file: Vec<Option<Moment>>,
}

impl Detector for ClockSkew {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        self.compare(seen);
        self.look_back(seen, now);
        let just_issued = now.token.is_some_and(|token| (0..=JUST_ISSUED).contains(&token.age));
        let refused = match seen.complaint {
            Complaint::NotYetValid => seen.status.is_some(),
            Complaint::Expired => seen.is_refused_token() && just_issued,
            Complaint::None
            | Complaint::Throttled
            | Complaint::InvalidGrant
            | Complaint::RefreshToken
            | Complaint::InvalidClient
            | Complaint::Permissions => false,
        };
        if refused {
            let age = now.token.map(|token| token.age);
            self.refused.note(seen, || match age {
                Some(age) if !seen.is_token_request() => {
                    format!("{} after the token was issued{}", span(age), quoted(seen))
                }
                Some(_) | None => format!("refused{}", quoted(seen)),
            });
        }
    }

    fn begin_run(&mut self) {
        self.last_of_caller.clear();
        self.last_of_file.clear();
    }

    fn tell(&self, _overall: &Overall<'_>, found: &mut Vec<Found>) {
        let off = self.off.count();
        let (by_date, by_order) = (off >= 3 && off * 2 > self.compared, self.backwards.count() > 0);
        let by_refusal = self.refused.count() >= 2;
        let (summary, confidence, examples) = if by_date {
            let offset = self.median_offset();
            let way = if offset > 0 { "ahead of" } else { "behind" };
            let off_by = span(offset.abs());
            (
                format!(
                    "the server's clock is {off_by} {way} the clock of this log, in {off} of {} answers that tell",
                    self.compared
                ),
                0.9,
                &self.off,
            )
        } else if by_refusal {
            let count = self.refused.count();
            (
                format!(
                    "{count} requests were refused as expired or not yet valid within {} of the token's issue: the clocks of those who issue and those who check disagree",
                    span(JUST_ISSUED)
                ),
                0.75,
                &self.refused,
            )
        } else if by_order {
            let count = self.backwards.count();
            (
                format!(
                    "the clock of this log was set back {count} times, by up to {}",
                    span(self.furthest_back)
                ),
                if count > 1 { 0.7 } else { 0.6 },
                &self.backwards,
            )
        } else {
            return;
        };
        found.push(Found {
            id: Id::ClockSkew,
            severity: if by_date || by_refusal { Severity::Medium } else { Severity::Low },
            confidence,
            summary,
            count: examples.count(),
            examples: examples.kept(),
            advice: "Synchronise the clocks (NTP) of the machines that call and of those that check \
                     tokens, and count a token's life from its own `expires_in`, not from a time of \
                     day. Bellwether counts from when the token request was sent, by a clock that \
                     nobody sets."
                .to_owned(),
        });
    }
}

impl ClockSkew {
    fn compare(&mut self, seen: &Observation) {
        let Some(server) = seen.server_date.or(seen.issued_at) else { return };
        self.compared += 1;
        // Somewhere between sending and the answer, in whole seconds.
        let offset = if server < seen.sent_at().plus(-1000) {
            server.since(seen.sent_at())
        } else {
            server.since(seen.done_at).max(0)
        };
        if offset.abs() > TOLERATED {
            if self.offsets.len() < 1001 {
                self.offsets.push(offset);
            }
            self.off.note(seen, || format!("the server's clock says {server}"));
        }
    }

    fn median_offset(&self) -> i64 {
        let mut offsets = self.offsets.clone();
        offsets.sort_unstable();
        offsets.get(offsets.len() / 2).copied().unwrap_or_default()
    }

    fn look_back(&mut self, seen: &Observation, now: &Situation) {
        let (lasts, place) = match seen.identity {
            Identity::Thread => (&mut self.last_of_caller, now.caller),
            Identity::Address => (&mut self.last_of_file, seen.file),
        };
        if place >= lasts.len() {
            lasts.resize(place + 1, None);
        }
        let last = lasts[place].replace(seen.done_at);
        let slack = match seen.identity {
            Identity::Thread => DISORDER,
            Identity::Address => 6 * DISORDER + seen.elapsed,
        };
        let Some(back) = last.map(|last| last.since(seen.done_at)).filter(|back| *back > slack)
        else {
            return;
        };
        self.furthest_back = self.furthest_back.max(back);
        self.backwards.note(seen, || format!("stamped {} before the line before it", span(back)));
    }
}
