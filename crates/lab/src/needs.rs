//! The arithmetic: what so many agents at such a period ask of a vendor, and whether it can be had.

use std::time::Duration;

use bellwether_simulation::Profile;
use serde::Serialize;

/// A pool renews so many members at once, and their old tokens are live beside the new ones.
const REPLACED_AT_ONCE: u64 = 2;
/// Agents that one page of a list call holds, unless the vendor says otherwise.
const PAGE: u64 = 100;

/// What is needed, and what there is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Needs {
    /// API calls in a minute.
    pub calls_per_minute: f64,
    /// API calls that one access token may make in a minute; `None` where no limit is known.
    pub calls_per_token_and_minute: Option<f64>,
    /// Live access tokens that the calls need.
    pub tokens: u64,
    /// Live access tokens that the vendor keeps for a client; `None` is no cap.
    pub live_token_cap: Option<u64>,
    /// Access tokens that Bellwether should hold: those, and a few for peaks.
    pub pool: u16,
    /// Token requests in an hour that a pool of this size makes.
    pub token_requests_per_hour: f64,
    /// Whether a pool within the cap carries the calls.
    pub fits: bool,
    /// The shortest period that fits, in seconds, where this one does not.
    pub shortest_period_s: Option<f64>,
    /// Most agents at this period.
    pub most_agents: Option<u64>,
    /// Calls in a minute with a list call of a hundred agents a page.
    pub list_calls_per_minute: f64,
    /// Tokens that those need.
    pub list_tokens: u64,
}

impl Needs {
    /// Of `agents` that are each polled every `period` with so many calls.
    pub fn of(profile: &Profile, agents: u32, period: Duration, calls_per_agent: f64) -> Self {
        let rounds_per_minute = 60.0 / period.as_secs_f64().max(f64::MIN_POSITIVE);
        let calls_per_minute = f64::from(agents) * calls_per_agent * rounds_per_minute;
        let per_token = profile.api_limit.map(|limit| {
            f64::from(limit.count) * 60.0 / limit.window.as_secs_f64().max(f64::MIN_POSITIVE)
        });
        let tokens_for =
            |calls: f64| per_token.map_or(1, |per_token| whole((calls / per_token).ceil()).max(1));
        let tokens = tokens_for(calls_per_minute);
        let cap = profile.live_tokens_per_client.map(|cap| cap as u64);
        let room = cap.map(|cap| cap.saturating_sub(REPLACED_AT_ONCE).max(1));
        let spare = if per_token.is_some() { tokens.div_ceil(20) } else { 0 };
        let pool = room.map_or(tokens + spare, |room| room.min(tokens + spare));
        let fits = room.is_none_or(|room| tokens <= room);
        let most_calls = room.zip(per_token).map(|(room, per_token)| room as f64 * per_token);
        let list_calls_per_minute =
            u64::from(agents).div_ceil(PAGE) as f64 * calls_per_agent * rounds_per_minute;
        // Renewed at 80 % of a life, in the middle of the lead.
        let life = profile.access_token_lifetime.as_secs_f64().max(1.0);
        Self {
            calls_per_minute,
            calls_per_token_and_minute: per_token,
            tokens,
            live_token_cap: cap,
            pool: u16::try_from(pool).unwrap_or(u16::MAX),
            token_requests_per_hour: pool as f64 * 3600.0 / (life * 0.8),
            fits,
            shortest_period_s: most_calls
                .filter(|_| !fits)
                .map(|most| f64::from(agents) * calls_per_agent * 60.0 / most),
            most_agents: most_calls.map(|most| whole(most / rounds_per_minute / calls_per_agent)),
            list_calls_per_minute,
            list_tokens: tokens_for(list_calls_per_minute),
        }
    }
}

fn whole(number: f64) -> u64 {
    // Saturates, and what is not a number is zero.
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_needs_twenty_tokens_and_its_next_step_forty() {
        let genesys = Profile::genesys();
        #[rustfmt::skip]
        let cases = [
            // agents, period s, calls/min, tokens, pool, fits,  list calls/min, list tokens
            (500,      5,        6_000.0,   20,     21,   true,  60.0,           1),
            (1000,     5,        12_000.0,  40,     42,   true,  120.0,          1),
            (1200,     5,        14_400.0,  48,     48,   true,  144.0,          1),
            (1300,     5,        15_600.0,  52,     48,   false, 156.0,          1),
            (10,       60,       10.0,      1,      2,    true,  1.0,            1),
        ];
        for (agents, period, calls, tokens, pool, fits, list_calls, list_tokens) in cases {
            let needs = Needs::of(&genesys, agents, Duration::from_secs(period), 1.0);
            let found = (needs.calls_per_minute, needs.tokens, needs.pool, needs.fits);
            assert_eq!(found, (calls, tokens, pool, fits), "{agents} agents");
            let list = (needs.list_calls_per_minute, needs.list_tokens);
            assert_eq!(list, (list_calls, list_tokens), "{agents} agents");
        }
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        let needs = Needs::of(&Profile::genesys(), 2000, Duration::from_secs(5), 1.0);
        assert!(!needs.fits);
        assert_eq!(needs.most_agents, Some(1200), "48 tokens of 300 a minute");
        let shortest = needs.shortest_period_s.expect("it does not fit");
        assert!((shortest - 8.333).abs() < 0.001, "{shortest}");
    }

    #[test]
    fn without_a_limit_one_token_will_do() {
        let needs = Needs::of(&Profile::plain(), 1_000_000, Duration::from_secs(60), 1.0);
        assert_eq!((needs.tokens, needs.pool, needs.fits), (1, 1, true));
    }
}
