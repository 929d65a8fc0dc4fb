//! `bellwether lab plan`: what so many agents ask of a vendor, with the arithmetic shown.

use std::time::Duration;

use bellwether_lab::{Needs, calls, change, grouped};
use bellwether_simulation::{NamedProfile, Profile};
use clap::Args;
use serde_json::json;

use super::serve::profile_names;
use crate::commands::{Failure, print_result};
use crate::configuration::duration;

/// Say what polling takes: tokens, calls and limits, with the arithmetic
///
/// Nothing is run. Exit status 0 also where the answer is that it cannot work; the answer says so.
#[derive(Debug, Args)]
pub(super) struct LabPlan {
    /// Agents to poll
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    agents: u32,
    /// How often each agent is polled
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = period)]
    period: Duration,
    /// Whose limits
    #[arg(long, value_name = "NAME", default_value = "genesys", value_parser = profile_names())]
    provider: String,
    /// API calls that one poll of an agent makes
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    calls_per_agent: u32,
    /// Live access tokens of the client, where the vendor told you another number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    live_tokens: Option<u32>,
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
}

fn period(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("it must be longer than nothing".to_owned()),
        period => Ok(period),
    }
}

impl LabPlan {
    pub(super) fn run(&self) -> Result<(), Failure> {
        // The parser knows no other names.
        let named = NamedProfile::find(&self.provider).map(NamedProfile::profile);
        let mut profile = named.unwrap_or_else(Profile::genesys);
        if let Some(cap) = self.live_tokens {
            profile.live_tokens_per_client = Some(cap as usize);
        }
        let each = f64::from(self.calls_per_agent);
        let needs = Needs::of(&profile, self.agents, self.period, each);
        if self.json {
            let document = json!({
                "agents": self.agents,
                "period_s": self.period.as_secs_f64(),
                "provider": self.provider,
                "calls_per_agent": self.calls_per_agent,
                "needs": needs,
                "answer": change(&needs),
            });
            return print_result(&document.to_string());
        }
        print_result(&self.arithmetic(&needs, &profile))
    }

    fn arithmetic(&self, needs: &Needs, profile: &Profile) -> String {
        let rounds = 60.0 / self.period.as_secs_f64();
        let agents = grouped(u64::from(self.agents));
        let mut lines = vec![format!(
            "calls     {agents} agents × {} call{} × {rounds:.2} rounds a minute = {} a minute",
            self.calls_per_agent,
            if self.calls_per_agent == 1 { "" } else { "s" },
            calls(needs.calls_per_minute),
        )];
        match needs.calls_per_token_and_minute {
            Some(per_token) => lines.push(format!(
                "tokens    {} ÷ {} for each token and minute = {}",
                calls(needs.calls_per_minute),
                calls(per_token),
                grouped(needs.tokens),
            )),
            None => lines.push(format!(
                "tokens    no limit for each token is known of {}: 1",
                self.provider
            )),
        }
        lines.push(match needs.live_token_cap {
            Some(cap) => format!(
                "cap       {cap} live tokens for each client, two of them for those being replaced: \
                 {} to spend",
                cap.saturating_sub(2).max(1)
            ),
            None => "cap       none is known".to_owned(),
        });
        lines.push(format!(
            "pool      {} tokens (some to spare for peaks): pool = {}",
            needs.pool, needs.pool
        ));
        lines.push(format!(
            "logins    tokens live {} and are renewed at about 80 % of it: {:.1} token requests an \
             hour{}",
            duration::write(profile.access_token_lifetime),
            needs.token_requests_per_hour,
            match profile.login_limit {
                Some(limit) =>
                    format!("; {} in {} are allowed", limit.count, duration::write(limit.per)),
                None => String::new(),
            }
        ));
        lines.push(format!(
            "list      {} pages of 100 × {} × {rounds:.2} = {} calls a minute, {} token{}",
            grouped(u64::from(self.agents).div_ceil(100)),
            self.calls_per_agent,
            calls(needs.list_calls_per_minute),
            needs.list_tokens,
            if needs.list_tokens == 1 { "" } else { "s" },
        ));
        let answer = if needs.fits { "It can work: " } else { "It cannot work as it is: " };
        format!("{}\n\n{answer}{}", lines.join("\n"), change(needs))
    }
}
