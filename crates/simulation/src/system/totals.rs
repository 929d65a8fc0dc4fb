//! What a run, or many, came to.

use std::time::Duration;

use super::fault::Fault;

/// Counts, to be added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Events and reports that the system under test was handed.
    pub events: u64,
    /// Renewals begun.
    pub flights: u64,
    /// Renewals that gave a token.
    pub renewals: u64,
    /// Requests that left a process.
    pub requests: u64,
    /// Tokens that callers got.
    pub served: u64,
    /// How often a person had to authorise again.
    pub reauthorised: u64,
    faults: [u64; Fault::ALL.len()],
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            runs: 0,
            simulated: Duration::ZERO,
            events: 0,
            flights: 0,
            renewals: 0,
            requests: 0,
            served: 0,
            reauthorised: 0,
            faults: [0; Fault::ALL.len()],
        }
    }
}

impl Totals {
    pub(super) fn strike(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// How often each fault came.
    pub fn faults(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        Fault::ALL.into_iter().map(|fault| (fault, self.faults[fault as usize]))
    }

    /// How many faults came.
    pub fn fault_count(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.simulated += other.simulated;
        self.events += other.events;
        self.flights += other.flights;
        self.renewals += other.renewals;
        self.requests += other.requests;
        self.served += other.served;
        self.reauthorised += other.reauthorised;
        for (sum, count) in self.faults.iter_mut().zip(other.faults) {
            *sum += count;
        }
    }
}
