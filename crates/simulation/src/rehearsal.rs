//! A scenario lived through in virtual time: workers poll an API for many agents, and get their
//! tokens by one strategy.
//!
//! The poller's own picture, without sockets: of `n` agents, agent `i` is due in round `k` at
//! `start + (k + i/n) · period`; a bounded number of workers take the due slots in order, and each
//! tries its slot until it is filled or the agent's next one is due. The organisation is the real
//! one, asked by number. A strategy is a small [machine](machine): what happened and `now` in,
//! what to do out. Bellwether's strategies are the real lifecycle, admission and budget.
//!
//! The same [`Setup`] gives the same [`Outcome`], to the last count.
//!
//! - Slots fall due in a fixed order, so they are no events; only what is under way is.
//! - A poll costs no allocation, no text and no map.
//! - Workers are as quick as their waiting: what a computer needs to send and read is not simulated.

mod broker;
mod calendar;
mod direct;
mod fleet;
mod is_refreshing;
mod machine;
mod one_token;
mod outcome;
mod per_worker;
mod series;
mod shared_lock;
mod slots;
mod stage;
mod through_broker;

use std::time::Duration;

use bellwether_lifecycle::{Allowance, Timestamp, UnixTime};

use crate::fault::Fault;
use crate::profile::Profile;

pub use fleet::{Fleet, FleetOutcome, renew};
pub use outcome::{Latencies, Outcome, Polls, Seen};
pub use series::{Series, Span, span_for};

use stage::Stage;

/// When a rehearsal begins on its own clock. Not zero: that is before the boot.
pub const START: Timestamp = Timestamp::from_secs(3600);
/// What the wall clock says then: second 0 of a minute, midnight UTC, 1 January 2026.
pub const START_WALL: UnixTime = UnixTime::from_secs(1_767_225_600);

/// Where workers' access tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// The report's: each worker its own.
    PerWorker,
    /// The same with a random delay of 100 to 500 ms before each login.
    PerWorkerJitter,
    /// The advice's: one for all workers of a process, behind a lock.
    SharedLock,
    /// A flag and a queue, as usually pasted: a failed login never clears the flag.
    IsRefreshing,
    /// One for all workers of a process, renewed without a lock by whoever sees it end.
    OneToken,
    /// Bellwether's library: a pool, renewed ahead, spent within the limits.
    Bellwether,
    /// Workers log in by themselves, at Bellwether's token endpoint.
    TokenEndpoint,
    /// Workers call the API through Bellwether's gateway.
    Gateway,
}

impl Strategy {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: [Self; 8] = [
        Self::PerWorker,
        Self::PerWorkerJitter,
        Self::SharedLock,
        Self::IsRefreshing,
        Self::OneToken,
        Self::Bellwether,
        Self::TokenEndpoint,
        Self::Gateway,
    ];

    /// Its name in scenarios, tables and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerWorker => "per-worker",
            Self::PerWorkerJitter => "per-worker-jitter",
            Self::SharedLock => "shared-lock",
            Self::IsRefreshing => "is-refreshing",
            Self::OneToken => "one-token",
            Self::Bellwether => "bellwether",
            Self::TokenEndpoint => "token-endpoint",
            Self::Gateway => "gateway",
        }
    }

    /// What it is, in a few words.
    pub const fn about(self) -> &'static str {
        match self {
            Self::PerWorker => "each worker logs in for itself (the report)",
            Self::PerWorkerJitter => "the same, 100 to 500 ms of random delay before each login",
            Self::SharedLock => "one token for all workers of a process, behind a lock",
            Self::IsRefreshing => "a flag and a queue, as usually pasted; a failed login hangs it",
            Self::OneToken => "one token for all, renewed by whoever sees it end, without a lock",
            Self::Bellwether => "the library: a pool, renewed ahead, spent within the limits",
            Self::TokenEndpoint => "workers log in at Bellwether's token endpoint",
            Self::Gateway => "workers call the API through Bellwether's gateway",
        }
    }

    /// The strategy of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// Whether Bellwether looks after the tokens.
    pub const fn is_bellwether(self) -> bool {
        match self {
            Self::Bellwether | Self::TokenEndpoint | Self::Gateway => true,
            Self::PerWorker
            | Self::PerWorkerJitter
            | Self::SharedLock
            | Self::IsRefreshing
            | Self::OneToken => false,
        }
    }
}

/// What is rehearsed.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How the organisation behaves; a client is registered beside those it has.
    pub profile: Profile,
    /// What fails, counted from [`START`].
    pub faults: Vec<Fault>,
    /// Agents to poll; at least 1.
    pub agents: u32,
    /// Workers of all processes together; at least 1.
    pub workers: u32,
    /// The time between two polls of one agent.
    pub period: Duration,
    /// For how long polls fall due; the last may take one period more.
    pub length: Duration,
    /// Processes that the workers are dealt to; at least 1.
    pub processes: u32,
    /// Access tokens that Bellwether holds at once; at least 1.
    pub pool: u16,
    /// How often Bellwether may ask the authorization server.
    pub allowance: Allowance,
    /// Chooses latencies, jitter and leads.
    pub seed: u64,
}

/// Lives through a scenario with one strategy. `progress` is told now and then how many slots are
/// over.
pub fn rehearse(setup: &Setup, strategy: Strategy, progress: &mut dyn FnMut(u64)) -> Outcome {
    let seed = setup.seed;
    let processes = setup.processes.max(1);
    match strategy {
        Strategy::PerWorker => {
            Stage::open(setup, per_worker::PerWorker::new(setup.workers)).play(strategy, progress)
        }
        Strategy::PerWorkerJitter => {
            let machine = per_worker::PerWorker::with_jitter(setup.workers, seed);
            Stage::open(setup, machine).play(strategy, progress)
        }
        Strategy::SharedLock => {
            Stage::open(setup, shared_lock::SharedLock::new(processes)).play(strategy, progress)
        }
        Strategy::IsRefreshing => {
            Stage::open(setup, is_refreshing::IsRefreshing::new(processes)).play(strategy, progress)
        }
        Strategy::OneToken => {
            Stage::open(setup, one_token::OneToken::new(processes)).play(strategy, progress)
        }
        Strategy::Bellwether => {
            Stage::open(setup, direct::Library::new(setup)).play(strategy, progress)
        }
        Strategy::TokenEndpoint => {
            let machine = through_broker::TokenEndpoint::new(setup);
            Stage::open(setup, machine).play(strategy, progress)
        }
        Strategy::Gateway => {
            let machine = through_broker::Gateway::new(setup);
            Stage::open(setup, machine).play(strategy, progress)
        }
    }
}

/// The wall clock at an instant of a rehearsal.
pub(crate) fn wall(now: Timestamp) -> UnixTime {
    let since = now.as_nanos() - START.as_nanos();
    UnixTime::from_millis(START_WALL.as_millis() + since / 1_000_000)
}
