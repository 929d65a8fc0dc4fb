//! A run as one document. Its JSON is a superset of what `demo --json` prints.

use std::time::Duration;

use bellwether_simulation::rehearsal::FleetOutcome;
use serde::Serialize;

use crate::measured::Measured;
use crate::needs::Needs;
use crate::scenario::{FleetSize, Scenario};
use crate::verdict::{Verdict, cause, fleet_verdict, verdict};

/// How a scenario was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Without sockets; the same seed gives the same bytes.
    Virtual,
    /// Over sockets, as long as it takes.
    Sockets,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// What was run.
    pub scenario: About,
    /// The arithmetic behind it.
    pub needs: Needs,
    /// What came of each strategy.
    pub strategies: Vec<Measured>,
    /// What came of the fleet, where the scenario has one instead of polls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetMeasured>,
    /// What it says.
    pub verdict: Verdict,
}

/// Renewals of many replicas over one store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetMeasured {
    /// Replicas over one store.
    pub replicas: u32,
    /// Credentials that each of them keeps.
    pub credentials: u32,
    /// Token requests that reached the authorization server.
    pub token_requests: u64,
    /// Tokens that were accepted.
    pub generations: u64,
    /// Renewals that found a newer token in the store and sent nothing.
    pub adopted: u64,
    /// Renewals that found another replica at it.
    pub elsewhere: u64,
    /// Live access tokens that the cap ended.
    pub tokens_evicted: u64,
    /// Times that a replica's token had ended before a newer one was there.
    pub ended_in_use: u64,
    /// The shortest life that a token had left when it was replaced, in seconds; none if none was.
    pub least_left_s: Option<f64>,
}

impl FleetMeasured {
    /// What a run came to.
    pub fn of(size: FleetSize, outcome: &FleetOutcome) -> Self {
        Self {
            replicas: size.replicas,
            credentials: size.credentials,
            token_requests: outcome.token_requests,
            generations: outcome.generations,
            adopted: outcome.adopted,
            elsewhere: outcome.elsewhere,
            tokens_evicted: outcome.tokens_evicted,
            ended_in_use: outcome.ended_in_use,
            least_left_s: (outcome.least_left < Duration::MAX)
                .then(|| (outcome.least_left.as_secs_f64() * 10.0).round() / 10.0),
        }
    }
}

/// What was run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct About {
    /// The scenario's name.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// How it was run.
    pub mode: Mode,
    /// The profile that it starts from.
    pub profile: String,
    /// Agents that were polled.
    pub agents: u32,
    /// Workers of all processes together.
    pub workers: u32,
    /// Processes that the workers were dealt to.
    pub processes: u32,
    /// The time between two polls of one agent.
    pub period_s: f64,
    /// For how long polls fell due.
    pub duration_s: f64,
    /// How long access tokens lived.
    pub access_token_lifetime_s: f64,
    /// Access tokens that Bellwether held.
    pub pool: u16,
    /// What chose latencies, jitter and leads.
    pub seed: u64,
}

impl Document {
    /// Of what was measured.
    pub fn new(scenario: &Scenario, mode: Mode, mut strategies: Vec<Measured>) -> Self {
        for measured in &mut strategies {
            measured.cause = cause(scenario, measured);
        }
        let verdict = verdict(scenario, &strategies);
        Self::with(scenario, mode, strategies, None, verdict)
    }

    /// Of a fleet.
    pub fn of_fleet(scenario: &Scenario, fleet: FleetMeasured) -> Self {
        let verdict = fleet_verdict(&fleet);
        Self::with(scenario, Mode::Virtual, Vec::new(), Some(fleet), verdict)
    }

    fn with(
        scenario: &Scenario,
        mode: Mode,
        strategies: Vec<Measured>,
        fleet: Option<FleetMeasured>,
        verdict: Verdict,
    ) -> Self {
        let about = About {
            name: scenario.name.clone(),
            about: scenario.about.clone(),
            mode,
            profile: scenario.profile_name.clone(),
            agents: scenario.agents,
            workers: scenario.workers,
            processes: scenario.processes,
            period_s: scenario.period.as_secs_f64(),
            duration_s: scenario.duration.as_secs_f64(),
            access_token_lifetime_s: scenario.profile.access_token_lifetime.as_secs_f64(),
            pool: scenario.pool(),
            seed: scenario.seed,
        };
        Self { scenario: about, needs: scenario.needs(), strategies, fleet, verdict }
    }
}
