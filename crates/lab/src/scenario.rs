//! A scenario: who polls what, how often, with which tokens, and what goes wrong meanwhile.

use std::time::Duration;

use bellwether_lifecycle::Allowance;
use bellwether_simulation::rehearsal::{Fleet, Setup, Strategy};
use bellwether_simulation::{Fault, Profile};

use crate::needs::Needs;

/// Everything that a run is made of. The same scenario in virtual time gives the same counts.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is about, in a line.
    pub about: String,
    /// The name of the profile that it starts from.
    pub profile_name: String,
    /// How the organisation behaves, the scenario's own knobs included.
    pub profile: Profile,
    /// What fails, counted from the beginning.
    pub faults: Vec<Fault>,
    /// Agents to poll.
    pub agents: u32,
    /// Workers of all processes together.
    pub workers: u32,
    /// Processes that the workers are dealt to.
    pub processes: u32,
    /// The time between two polls of one agent.
    pub period: Duration,
    /// For how long polls fall due.
    pub duration: Duration,
    /// Access tokens that Bellwether holds; `None` is as many as the limits ask for.
    pub pool: Option<u16>,
    /// How often Bellwether may ask the authorization server.
    pub allowance: Allowance,
    /// Chooses latencies, jitter and leads.
    pub seed: u64,
    /// What is compared, in this order.
    pub strategies: Vec<Strategy>,
    /// Renewals alone, of many replicas that share a store; then there are no polls.
    pub fleet: Option<FleetSize>,
}

/// How many share how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetSize {
    /// Replicas over one store.
    pub replicas: u32,
    /// Credentials that each of them keeps.
    pub credentials: u32,
}

impl Scenario {
    /// What the polls ask of the vendor.
    pub fn needs(&self) -> Needs {
        Needs::of(&self.profile, self.agents, self.period, 1.0)
    }

    /// How many tokens Bellwether holds.
    pub fn pool(&self) -> u16 {
        self.pool.unwrap_or_else(|| self.needs().pool)
    }

    /// The fleet for virtual time, where there is one.
    pub fn fleet(&self) -> Option<Fleet> {
        self.fleet.map(|FleetSize { replicas, credentials }| Fleet {
            profile: self.profile.clone(),
            replicas,
            credentials,
            length: self.duration,
            seed: self.seed,
        })
    }

    /// The same for virtual time.
    pub fn setup(&self) -> Setup {
        Setup {
            profile: Profile { ledger_entries: 0, ..self.profile.clone() },
            faults: self.faults.clone(),
            agents: self.agents,
            workers: self.workers,
            period: self.period,
            length: self.duration,
            processes: self.processes,
            pool: self.pool(),
            allowance: self.allowance,
            seed: self.seed,
        }
    }
}
