//! A strategy on its stage, with workers of its own.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::Handle;
use bellwether_poller::{
    ApiSampler, Connector, PerWorker, Poller, Schedule, SharedLock, ThroughBroker, TokenStrategy,
};

use super::outcome::Outcome;
use crate::commands::stage::Stage;

/// Where workers' access tokens come from.
#[derive(Debug)]
pub(super) enum Strategy {
    /// The report's: each worker its own.
    PerWorker,
    /// The same with a random delay before each login.
    PerWorkerJitter,
    /// The advice's: one for all, behind a lock.
    SharedLock,
    /// Bellwether's: a pool behind the broker.
    Bellwether(Handle),
}

impl Strategy {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::PerWorker => "per-worker",
            Self::PerWorkerJitter => "per-worker-jitter",
            Self::SharedLock => "shared-lock",
            Self::Bellwether(_) => "bellwether",
        }
    }
}

/// One of the four.
#[derive(Debug)]
pub(super) struct Contender {
    strategy: Strategy,
    stage: Stage,
    poller: Arc<Poller>,
}

impl Contender {
    pub(super) fn new(
        strategy: Strategy,
        stage: Stage,
        schedule: Schedule,
        length: Duration,
    ) -> Self {
        let poller = Arc::new(Poller::new(Arc::clone(&stage.clock), schedule, length));
        Self { strategy, stage, poller }
    }

    /// Polls until every slot is decided.
    pub(super) async fn run(self: Arc<Self>, workers: u16, connector: Connector) {
        match &self.strategy {
            Strategy::PerWorker => {
                self.poll(workers, &connector, |_| PerWorker::new(self.stage.login())).await;
            }
            Strategy::PerWorkerJitter => {
                let strategy = |worker| PerWorker::with_jitter(self.stage.login(), worker);
                self.poll(workers, &connector, strategy).await;
            }
            Strategy::SharedLock => {
                let first = SharedLock::new(self.stage.login());
                self.poll(workers, &connector, |_| first.clone()).await;
            }
            Strategy::Bellwether(handle) => {
                let strategy = |_| ThroughBroker::new(handle.clone());
                self.poll(workers, &connector, strategy).await;
            }
        }
    }

    async fn poll<S: TokenStrategy>(
        &self,
        workers: u16,
        connector: &Connector,
        strategy: impl Fn(u64) -> S,
    ) {
        let Stage { resource, clock, observed, .. } = &self.stage;
        let samplers = (0..u64::from(workers)).map(|worker| {
            let (clock, observed) = (Arc::clone(clock), Arc::clone(observed));
            ApiSampler::new(strategy(worker), resource.clone(), connector, clock, observed)
        });
        let samplers = samplers.collect();
        self.poller.run(samplers).await;
    }

    /// How it stands.
    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            name: self.strategy.name(),
            polled: self.poller.snapshot(),
            refusals: self.stage.observed.refusals(),
            totals: self.stage.organisation.totals(),
        }
    }

    /// How many slots it will have had.
    pub(super) fn slots(&self) -> u64 {
        self.poller.slots()
    }
}
