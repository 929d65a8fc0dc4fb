//! `token-eviction`, and its harmless relative `expired-token-401`.
//!
//! A 401 for a token is its death. Was it its time? If the lifetime is known (`expires_in`), that
//! is a comparison. If not, the deaths tell: evicted tokens die of the number of newer tokens,
//! expired ones of age (see [`separation`](super::separation)), and no vendor issues tokens for
//! less than [`SHORTEST_LIFETIME`]. Where only addresses are known, no token has a face; then the
//! rate of renewals beside that of 401s is all there is.

use super::separation::{Separation, age_of_cell, cell_of_age};
use super::{Detector, Examples, Found, Id, Overall, Severity, percent, span};
use crate::callers::Situation;
use crate::observation::{Identity, Observation};

const SHORTEST_LIFETIME: i64 = 55_000;
/// Fewer deaths are no pattern.
const LEAST_DEATHS: u64 = 3;
/// Deaths from here on are of age.
const RIPE: f64 = 0.9;
/// Lifetimes that authorization servers have.
const USUAL_LIFETIMES: [i64; 12] =
    [60, 120, 300, 600, 900, 1_200, 1_800, 3_600, 7_200, 28_800, 43_200, 86_400];

#[derive(Debug, Default)]
pub(super) struct EarlyDeaths {
    by_newer: Separation,
    by_age: Separation,
    /// Before their known time, with newer tokens about.
    early: Examples,
    /// Before their known time, and nobody else got a token.
    early_alone: Examples,
    /// At their known time.
    ripe: Examples,
    /// Of unknown lifetime.
    any: Examples,
    ages: u64,
    /// Of addresses: 401s, renewals, and both in turn.
    faceless: Faceless,
}

#[derive(Debug, Default)]
struct Faceless {
    refused: Examples,
    renewals: u64,
    accepted: u64,
    turns: u64,
    last_was_refused: bool,
}

impl Detector for EarlyDeaths {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if seen.identity == Identity::Address && seen.token.is_none() {
            self.faceless.observe(seen, now);
            return;
        }
        if seen.is_token_request() {
            return;
        }
        let Some(token) = now.token.filter(|token| token.age >= 0 && !token.refused) else {
            return;
        };
        let newer = usize::try_from(token.newer).unwrap_or(usize::MAX);
        if !seen.is_refused_token() {
            if seen.succeeded() {
                self.by_newer.note(newer, true);
                self.by_age.note(cell_of_age(token.age), true);
            }
            return;
        }
        self.by_newer.note(newer, false);
        self.by_age.note(cell_of_age(token.age), false);
        self.ages += token.age.unsigned_abs();
        let told = || {
            let newer = token.newer;
            format!("its token was {} old, and {newer} newer ones had been issued", span(token.age))
        };
        match now.lifetime {
            Some(lifetime) if token.age as f64 >= lifetime as f64 * RIPE => {
                self.ripe.note(seen, told);
            }
            Some(_) if token.newer > 0 => self.early.note(seen, told),
            Some(_) => self.early_alone.note(seen, told),
            None => self.any.note(seen, told),
        }
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        self.faceless.tell(overall, found);
        if overall.lifetime.is_some() {
            self.tell_with_lifetime(overall, found);
        } else {
            self.tell_without_lifetime(overall, found);
        }
    }
}

impl EarlyDeaths {
    fn tell_with_lifetime(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        // Deaths before the first `expires_in` was seen count with those after it.
        let early = self.early.count() + self.any.count();
        if early >= LEAST_DEATHS && self.mistakes_by_newer() <= 0.6 && self.is_plausible() {
            let examples = if self.early.count() > 0 { &self.early } else { &self.any };
            found.push(self.eviction(
                overall,
                early,
                examples,
                0.95 - 0.3 * self.mistakes_by_newer(),
            ));
        } else if self.early_alone.count() + early >= LEAST_DEATHS && self.by_newer.alive() > 0 {
            let lifetime = overall.lifetime.unwrap_or_default();
            let count = self.early_alone.count() + early;
            let examples =
                if self.early_alone.count() > 0 { &self.early_alone } else { &self.early };
            found.push(Found {
                id: Id::TokenEviction,
                severity: Severity::High,
                confidence: 0.45,
                summary: format!(
                    "{count} tokens died after {} on average, of the {} they were issued for; what \
                     ended them is not in this log",
                    span(self.average_age()),
                    span(lifetime),
                ),
                count,
                examples: examples.kept(),
                advice: "Somebody else logs in with the same client and pushes these tokens out, or \
                         revokes them: look at the logs of every program that has this client, with \
                         `doctor` reading all of them together. One Bellwether for all of them \
                         requests one token and renews it only when the API refused it."
                    .to_owned(),
            });
        }
        if self.ripe.count() >= 5 {
            found.push(Self::expired(overall.lifetime.unwrap_or_default(), &self.ripe));
        }
    }

    fn tell_without_lifetime(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let deaths = self.by_newer.dead();
        let (Some(newer), Some(age)) = (self.by_newer.best(), self.by_age.best()) else { return };
        if deaths < LEAST_DEATHS || !self.is_plausible() {
            return;
        }
        let threshold = age_of_cell(age.cell);
        let confidence = if newer.cell == 0 {
            0.0
        } else if threshold < SHORTEST_LIFETIME {
            0.9 - 0.3 * newer.mistakes
        } else if newer.mistakes + 0.05 < age.mistakes {
            0.8 - 0.3 * newer.mistakes
        } else if is_usual_lifetime(threshold)
            || (overall.holders > 0 && newer.cell + 2 >= overall.holders)
        {
            // Everybody else renewed once: that is a lifetime, not a cap.
            0.0
        } else {
            0.5
        };
        if confidence >= 0.4 {
            found.push(self.eviction(overall, deaths, &self.any, confidence));
        } else if deaths >= 5 && threshold >= SHORTEST_LIFETIME && age.mistakes <= 0.2 {
            found.push(Self::expired(threshold, &self.any));
        }
    }

    /// Tokens of this server are good at first; if none ever is, they are not evicted.
    fn is_plausible(&self) -> bool {
        self.by_newer.alive() > 0 && self.by_newer.dead_quantile(0.5) > 0
    }

    fn mistakes_by_newer(&self) -> f64 {
        self.by_newer.best().map_or(1.0, |limit| limit.mistakes)
    }

    fn average_age(&self) -> i64 {
        i64::try_from(self.ages.checked_div(self.by_newer.dead()).unwrap_or_default())
            .unwrap_or(i64::MAX)
    }

    fn eviction(
        &self,
        overall: &Overall<'_>,
        count: u64,
        examples: &Examples,
        confidence: f64,
    ) -> Found {
        let limit = self.by_newer.best();
        let (least, most) = limit.map_or((1, 1), |limit| (limit.from.max(1), limit.cell.max(1)));
        let holders = match overall.holders {
            0 => String::new(),
            holders => format!(", and {holders} callers have one each"),
        };
        let of = overall.lifetime.map_or_else(String::new, |lifetime| {
            format!(", of the {} they were issued for", span(lifetime))
        });
        let cap = if most == 1 {
            "each new token ends the one before it: the authorization server keeps 1 live token"
                .into()
        } else if least * 5 >= most * 4 {
            format!(
                "a token dies once about {most} newer ones were issued: the authorization server \
                 keeps about {most} live tokens"
            )
        } else {
            let alive = least - 1;
            format!(
                "they were seen alive with up to {alive} newer ones issued and dead from {most} on: \
                 the authorization server keeps {least} to {most} live tokens"
            )
        };
        Found {
            id: Id::TokenEviction,
            severity: Severity::High,
            confidence: confidence.clamp(0.0, 1.0),
            summary: format!(
                "{count} tokens died after {} on average{of}; {cap}{holders}",
                span(self.average_age()),
            ),
            count,
            examples: examples.kept(),
            advice: "Let all callers share tokens instead of logging in for themselves; random \
                     delays do not help while there are more callers than the server keeps tokens. \
                     Bellwether requests one token for all of them (or a pool, `--pool N`, smaller \
                     than that number) and renews it before it ends."
                .to_owned(),
        }
    }

    fn expired(lifetime: i64, examples: &Examples) -> Found {
        let count = examples.count();
        Found {
            id: Id::ExpiredToken401,
            severity: Severity::Low,
            confidence: 0.7,
            summary: format!(
                "{count} requests were sent with a token that had reached its lifetime of about {}; \
                 callers renew only once the API refuses",
                span(lifetime),
            ),
            count,
            examples: examples.kept(),
            advice: "Renew ahead of expiry (`expires_in`), so that no request has to fail first. \
                     Bellwether renews well before the end and hands out the newer token meanwhile."
                .to_owned(),
        }
    }
}

/// A token expires at its lifetime and is found dead at the next poll.
fn is_usual_lifetime(threshold: i64) -> bool {
    USUAL_LIFETIMES.iter().any(|usual| {
        let usual = usual * 1000;
        (usual - usual / 20..=usual + usual / 10).contains(&threshold)
    })
}

impl Faceless {
    fn observe(&mut self, seen: &Observation, now: &Situation) {
        if seen.is_token_request() {
            if now.is_renewal && seen.succeeded() {
                self.renewals += 1;
                self.turns += u64::from(self.last_was_refused);
            }
            self.last_was_refused = false;
        } else if seen.is_refused_token() {
            self.last_was_refused = true;
            self.refused.note(seen, || format!("after {} renewals that succeeded", self.renewals));
        } else if seen.succeeded() {
            self.accepted += 1;
        }
    }

    fn tell(&self, overall: &Overall<'_>, found: &mut Vec<Found>) {
        let minutes = (overall.span() as f64 / 60_000.0).max(0.5);
        let (refused, renewals) = (self.refused.count(), self.renewals);
        let rate = renewals as f64 / minutes;
        let keep_pace = refused.min(renewals) * 2 >= refused.max(renewals);
        if self.accepted == 0 || renewals < 20 || rate < 20.0 || !keep_pace || self.turns < 10 {
            return;
        }
        if overall.lifetime.is_some_and(|lifetime| lifetime < SHORTEST_LIFETIME) {
            return;
        }
        found.push(Found {
            id: Id::TokenEviction,
            severity: Severity::High,
            confidence: 0.6,
            summary: format!(
                "{rate:.0} renewals a minute succeed and {} % as many requests get 401 all the same: \
                 tokens die far sooner than any lifetime explains, as when the authorization server \
                 ends the oldest for each new one",
                percent(refused, renewals),
            ),
            count: refused,
            examples: self.refused.kept(),
            advice: "Let all callers share tokens instead of logging in for themselves. Bellwether \
                     requests one token for all of them, or a pool smaller than what the server \
                     keeps. To see the cap, log a hash of the token or read the callers' own logs."
                .to_owned(),
        });
    }
}
