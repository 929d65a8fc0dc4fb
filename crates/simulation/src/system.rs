//! The whole system in one deterministic run: real decisions, simulated world.
//!
//! What is under test is the real code of `bellwether-lifecycle`: a `Lifecycle` for each process
//! and credential, and a `Renewal` for each flight. Around them everything is simulated: processes
//! that die, stop and start again; machines that reboot and whose wall clocks lie; a store that is
//! away, slow, unsure or set back; an escrow whose disk fills up; a network that loses requests
//! and answers; authorization servers of every class. One number seeds it all, so a run that went
//! wrong can be looked at again.
//!
//! Faults come in storms, and in the calm between them everything must be well again. Beside the
//! system stand a model of what is true, and a checker for each invariant. That the checkers see
//! anything at all is shown by [`Mistake`]s, planted where the machines meet their world.

use std::time::Duration;

mod checkers;
mod escrow;
mod fact;
mod fault;
mod machine;
mod mistake;
mod network;
mod node;
mod planted;
mod row;
mod scenario;
mod server;
mod step;
mod store;
mod totals;
mod trace;
mod truth;
mod weather;
mod world;

pub use checkers::Violation;
pub use fault::Fault;
pub use machine::{Reading, Stamp};
pub use mistake::Mistake;
pub use scenario::{Plan, Scenario};
pub use totals::Totals;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its counts.
    pub totals: Totals,
    /// What went wrong, if anything did.
    pub violation: Option<Violation>,
    /// What happened, if it was traced.
    pub trace: Vec<String>,
}

/// How a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long it lasts.
    pub length: Duration,
    /// Faults that do not come: a bit for each, in the order of [`Fault::ALL`].
    pub without: u64,
    /// What the system does wrong.
    pub mistake: Option<Mistake>,
    /// Whether it is written down line by line.
    pub is_traced: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { length: Duration::from_secs(36_000), without: 0, mistake: None, is_traced: false }
    }
}

/// Runs `seed`, until something goes wrong or its time is over.
pub fn run(seed: u64, options: Options) -> Run {
    let mut scenario = Scenario::draw(seed, options.length);
    scenario.faults.retain(|&(fault, _)| options.without >> fault as u64 & 1 == 0);
    let mut world = world::World::new(scenario, options.mistake, options.is_traced);
    world.run();
    let trace = world.trace.map(|trace| trace.0).unwrap_or_default();
    Run { totals: world.totals, violation: world.violation, trace }
}
