//! What the figures say, in sentences.

use serde::Serialize;

use crate::document::FleetMeasured;
use crate::measured::Measured;
use crate::needs::Needs;
use crate::scenario::Scenario;

/// A run in two sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What happened.
    pub sentence: String,
    /// What would have to be so for every poll to be sampled.
    pub change: String,
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Calls a minute: whole where there are many.
pub fn calls(number: f64) -> String {
    if number < 10.0 { format!("{number:.1}") } else { grouped(number.round() as u64) }
}

fn many(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { more })
}

/// Why a strategy went as it did. Of several causes the one that comes first in a run is told
/// first: who hangs, who evicts whom, who meets which limit.
pub(crate) fn cause(scenario: &Scenario, measured: &Measured) -> String {
    let mut causes = Vec::new();
    if measured.hung_workers > 0 {
        causes.push(format!(
            "{} for a login that failed and whose flag was never cleared",
            many(
                u64::from(measured.hung_workers),
                "worker waits for ever",
                "workers wait for ever"
            )
        ));
    }
    if measured.evicted_in_use > 0 {
        let cap = scenario.profile.live_tokens_per_client.unwrap_or_default();
        causes.push(format!(
            "more than {} were wanted, and each login ended one in use ({} with such a token)",
            many(cap as u64, "live token", "live tokens"),
            many(measured.evicted_in_use, "request", "requests"),
        ));
    } else if measured.status_401 > 0 {
        causes.push("tokens ended before they were replaced, or logins were refused".to_owned());
    }
    if measured.status_429 > 0 {
        let needs = scenario.needs();
        causes.push(match needs.calls_per_token_and_minute {
            Some(per_token) if needs.tokens > measured.most_live_tokens => format!(
                "{} calls a minute went through {}, good for {per_token:.0} each",
                calls(needs.calls_per_minute),
                many(measured.most_live_tokens, "token", "tokens"),
            ),
            Some(per_token) => format!(
                "tokens are shared unevenly: some had to carry more than their {per_token:.0} calls \
                 a minute"
            ),
            None => "requests were throttled".to_owned(),
        });
    }
    if measured.throttled_logins > 0 {
        causes.push(format!(
            "the token endpoint turned {} away",
            many(measured.throttled_logins, "login", "logins")
        ));
    }
    if causes.is_empty() && measured.polls.gaps > 0 {
        causes.push(if scenario.faults.is_empty() {
            "the workers are too few for the polls".to_owned()
        } else {
            "what failed lasted longer than a poll can wait".to_owned()
        });
    }
    if causes.is_empty() { "it holds".to_owned() } else { causes.join("; ") }
}

/// The run as a whole.
pub(crate) fn verdict(scenario: &Scenario, all: &[Measured]) -> Verdict {
    let needs = scenario.needs();
    let (clean, failing): (Vec<_>, Vec<_>) = all.iter().partition(|measured| measured.is_clean());
    let names = |some: &[&Measured]| {
        let names: Vec<_> = some.iter().map(|measured| measured.name.as_str()).collect();
        names.join(", ")
    };
    let refusals = failing.iter().map(|one| one.status_401 + one.status_429).max().unwrap_or(0);
    let gaps = failing.iter().map(|one| one.polls.gaps).max().unwrap_or(0);
    let sentence = match (clean.is_empty(), failing.is_empty()) {
        (_, true) => format!(
            "Every strategy holds: no 401, no 429 and no gap in {}.",
            many(all.first().map_or(0, |one| one.polls.due), "poll", "polls")
        ),
        (false, false) => format!(
            "{} without a 401, a 429 or a gap; {} with up to {} and {}.",
            holds(&names(&clean), clean.len()),
            fails(&names(&failing), failing.len()),
            many(refusals, "refusal", "refusals"),
            many(gaps, "gap", "gaps"),
        ),
        (true, false) => format!(
            "No strategy holds: each meets refusals or leaves gaps, up to {} and {}.",
            many(refusals, "refusal", "refusals"),
            many(gaps, "gap", "gaps"),
        ),
    };
    Verdict { sentence, change: change(&needs) }
}

fn holds(names: &str, count: usize) -> String {
    format!("{names} {}", if count == 1 { "holds" } else { "hold" })
}

fn fails(names: &str, count: usize) -> String {
    format!("{names} {}", if count == 1 { "fails" } else { "fail" })
}

/// A fleet as a whole.
pub(crate) fn fleet_verdict(fleet: &FleetMeasured) -> Verdict {
    let asked = format!(
        "{} of {} made {} for {}",
        many(u64::from(fleet.replicas), "replica", "replicas"),
        many(u64::from(fleet.credentials), "credential", "credentials"),
        many(fleet.token_requests, "token request", "token requests"),
        many(fleet.generations, "renewal", "renewals"),
    );
    let (sentence, change) = if fleet.ended_in_use == 0 && fleet.tokens_evicted == 0 {
        (
            match fleet.least_left_s {
                Some(left) => format!(
                    "{asked}, and no replica was left with a token that had ended: {left:.0} s \
                     were left at least."
                ),
                None => format!("{asked}; no token was old enough to be replaced."),
            },
            "Nothing would have to change.".to_owned(),
        )
    } else {
        (
            format!(
                "{asked}; {} had ended before the next was there, and {} by the cap.",
                many(fleet.ended_in_use, "token", "tokens"),
                many(fleet.tokens_evicted, "was ended", "were ended"),
            ),
            "Tokens would have to live longer, or the token endpoint to allow more.".to_owned(),
        )
    };
    Verdict { sentence, change }
}

/// What the arithmetic asks for, with the way round it.
pub fn change(needs: &Needs) -> String {
    let list = format!(
        "a list call of 100 agents a page, {} calls a minute, which {} carries",
        calls(needs.list_calls_per_minute),
        if needs.list_tokens == 1 {
            "one token".to_owned()
        } else {
            format!("a pool of {} tokens", grouped(needs.list_tokens))
        }
    );
    let Some(per_token) = needs.calls_per_token_and_minute else {
        return format!(
            "{} calls a minute with no known limit for each token need 1 token that is renewed once \
             for all.",
            calls(needs.calls_per_minute)
        );
    };
    let sum = format!(
        "{} calls a minute at {} for each token need {}",
        calls(needs.calls_per_minute),
        calls(per_token),
        many(needs.tokens, "token", "tokens")
    );
    if needs.fits {
        if needs.tokens == 1 {
            return format!("{sum}, renewed once for all who share it.");
        }
        return format!("{sum}, renewed once for all who share them, or {list}.");
    }
    let cap = needs.live_token_cap.unwrap_or_default();
    format!(
        "{sum}, and the vendor keeps {cap} alive, of which {} can be in use while two are replaced: \
         poll at most {} agents, or each every {:.1} s, or make {list}.",
        cap.saturating_sub(2).max(1),
        grouped(needs.most_agents.unwrap_or_default()),
        needs.shortest_period_s.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bellwether_simulation::Profile;

    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (17_280_000, "17,280,000")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn the_arithmetic_names_tokens_and_the_list_call() {
        let needs = |agents| Needs::of(&Profile::genesys(), agents, Duration::from_secs(5), 1.0);
        let fits = change(&needs(500));
        assert!(fits.contains("20 tokens") && fits.contains("list call"), "{fits}");
        let never = change(&needs(2000));
        assert!(never.contains("keeps 50 alive") && never.contains("1,200 agents"), "{never}");
    }
}
