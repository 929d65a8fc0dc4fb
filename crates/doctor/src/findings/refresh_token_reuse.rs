//! `refresh-token-reuse`: a rotated refresh token is sent a second time.
//!
//! Certain where the log shows the token (as a hash): spent twice. Else a refused refresh after
//! successful ones, the more so when another refresh was answered just before.

use std::collections::VecDeque;

use super::examples::quoted;
use super::{Detector, Examples, Found, Id, Overall, Severity, span};
use crate::callers::Situation;
use crate::fingerprint::{Fingerprint, Fingerprinted};
use crate::moment::Moment;
use crate::observation::{Complaint, Grant, Kind, Observation};

/// Refresh tokens that are remembered.
const MOST: usize = 1 << 14;
/// Two who refresh the same token are not further apart than this.
const RACE: i64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct RefreshTokenReuse {
    spent: Fingerprinted<()>,
    order: VecDeque<Fingerprint>,
    twice: Examples,
    refused: Examples,
    refused_in_race: u64,
    refreshed: u64,
    last_granted: Option<Moment>,
    issued_refresh_tokens: bool,
    only_client_credentials: bool,
    saw_other_grants: bool,
}

impl Detector for RefreshTokenReuse {
    fn observe(&mut self, seen: &Observation, _now: &Situation) {
        let Kind::Token(grant) = seen.kind else { return };
        if seen.null_credentials {
            return;
        }
        match grant {
            Grant::ClientCredentials => self.only_client_credentials = !self.saw_other_grants,
            Grant::RefreshToken if seen.succeeded() => self.saw_other_grants = true,
            Grant::Other => self.saw_other_grants = true,
            Grant::RefreshToken | Grant::Unknown => {}
        }
        if seen.succeeded() {
            self.issued_refresh_tokens |= seen.issued_refresh_token;
            self.refreshed += u64::from(grant == Grant::RefreshToken);
            self.last_granted = Some(seen.done_at);
            if let Some(spent) = seen.spent {
                self.remember(spent);
            }
            return;
        }
        let refused = matches!(seen.complaint, Complaint::InvalidGrant | Complaint::RefreshToken)
            || (grant == Grant::RefreshToken
                && matches!(seen.status, Some(400 | 401 | 403))
                && seen.complaint == Complaint::None);
        if !refused {
            return;
        }
        if seen.spent.is_some_and(|spent| self.spent.contains_key(&spent)) {
            self.twice.note(seen, || {
                format!("this refresh token had been spent already{}", quoted(seen))
            });
            return;
        }
        let plausible = grant == Grant::RefreshToken || seen.complaint == Complaint::InvalidGrant;
        if !plausible {
            return;
        }
        let after = self.last_granted.map(|at| seen.done_at.since(at));
        self.refused_in_race += u64::from(after.is_some_and(|after| (0..=RACE).contains(&after)));
        self.refused.note(seen, || match after {
            Some(after) if after >= 0 => {
                format!("{} after a refresh that succeeded{}", span(after), quoted(seen))
            }
            Some(_) | None => format!("refused{}", quoted(seen)),
        });
    }

    fn tell(&self, _overall: &Overall<'_>, found: &mut Vec<Found>) {
        let evident = self.twice.count();
        let refused = self.refused.count();
        let could_refresh = self.refreshed > 0 || self.issued_refresh_tokens;
        let (count, confidence, examples) = if evident > 0 {
            (evident + refused, 0.95, &self.twice)
        } else if refused == 0 || self.only_client_credentials && !could_refresh {
            return;
        } else if could_refresh {
            (refused, if self.refused_in_race > 0 { 0.8 } else { 0.55 }, &self.refused)
        } else if self.last_granted.is_some() && self.refused_in_race > 0 {
            (refused, 0.6, &self.refused)
        } else {
            return;
        };
        let race = match self.refused_in_race {
            0 => String::new(),
            race => format!(", {race} of them within a minute of a renewal that succeeded"),
        };
        let certain = if evident > 0 {
            format!("; {evident} were seen to present a token that had been spent")
        } else {
            String::new()
        };
        found.push(Found {
            id: Id::RefreshTokenReuse,
            severity: Severity::High,
            confidence,
            summary: format!(
                "{count} refresh requests were refused as invalid{race}{certain}: the same refresh \
                 token is used by more than one"
            ),
            count,
            examples: examples.kept(),
            advice:
                "Where refresh tokens rotate, each may be sent once; a second use is refused and \
                     may end the whole grant. Keep one writer for each grant. Bellwether refreshes \
                     once however many ask, gives all of them the same new pair, and keeps the new \
                     refresh token before anything else is done with it."
                    .to_owned(),
        });
    }
}

impl RefreshTokenReuse {
    fn remember(&mut self, spent: Fingerprint) {
        if self.order.len() == MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.spent.remove(&oldest);
        }
        if self.spent.insert(spent, ()).is_none() {
            self.order.push_back(spent);
        }
    }
}
