//! A run as one document. Its JSON is a superset of what `demo --json` prints.

use serde::Serialize;

use crate::measured::Measured;
use crate::needs::Needs;
use crate::scenario::Scenario;
use crate::verdict::{Verdict, cause, verdict};

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
    /// What it says.
    pub verdict: Verdict,
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
        Self { scenario: about, needs: scenario.needs(), strategies, verdict }
    }
}
