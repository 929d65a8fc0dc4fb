//! One strategy over sockets, with an organisation and workers of its own.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bellwether_broker::{Http1, Transport};
use bellwether_lab::{Measured, Percentiles, Polls, Scenario, milliseconds};
use bellwether_oauth::{Client, ClientAuthentication, Secret};
use bellwether_poller::{
    ApiSampler, Connector, IsRefreshing, Login, Observed, OneToken, PerWorker, Poller, Resource,
    Schedule, SharedLock, ThroughBroker, TokenStrategy, Watched, WithKey,
};
use bellwether_simulation::rehearsal::Strategy;
use bellwether_simulation::{Fault, Profile};
use bellwether_store::{Clock, Keyring, MemoryStore};
use rustls::RootCertStore;
use url::Url;

use super::recorder::{Recorder, Standing};
use crate::commands::Failure;
use crate::commands::brokered::{Brokered, CALLER, Keeping, quota};
use crate::commands::stage::{Stage, resource};

#[derive(Debug)]
pub(super) struct Contender {
    strategy: Strategy,
    stage: Stage,
    brokers: Mutex<Vec<Brokered>>,
    /// What workers see: the stage's own, unless a broker stands between.
    seen: Arc<Observed>,
    poller: OnceLock<Arc<Poller>>,
    is_refreshing: OnceLock<Vec<IsRefreshing>>,
}

impl Contender {
    pub(super) async fn open(
        scenario: &Scenario,
        strategy: Strategy,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let profile = Profile { ledger_entries: 0, ..scenario.profile.clone() };
        let stage =
            Stage::open(&profile, scenario.agents, scenario.seed, Arc::clone(clock)).await?;
        let count = match strategy {
            Strategy::Bellwether => scenario.processes,
            Strategy::TokenEndpoint | Strategy::Gateway => 1,
            Strategy::PerWorker
            | Strategy::PerWorkerJitter
            | Strategy::SharedLock
            | Strategy::IsRefreshing
            | Strategy::OneToken => 0,
        };
        let store = Arc::new(MemoryStore::new(Arc::clone(clock)));
        let keyring = Keyring::ephemeral();
        let mut brokers = Vec::new();
        for number in 0..count {
            let keeping = Keeping {
                pool: scenario.pool(),
                quota: quota(&profile, count),
                allowance: scenario.allowance,
                seed: scenario.seed.wrapping_add(u64::from(number)),
                store: Arc::clone(&store) as _,
                keyring: keyring.clone(),
            };
            brokers.push(Brokered::start(&stage, keeping).await?);
        }
        let seen = match strategy {
            Strategy::TokenEndpoint | Strategy::Gateway => Arc::default(),
            Strategy::PerWorker
            | Strategy::PerWorkerJitter
            | Strategy::SharedLock
            | Strategy::IsRefreshing
            | Strategy::OneToken
            | Strategy::Bellwether => Arc::clone(&stage.observed),
        };
        let brokers = Mutex::new(brokers);
        let (poller, is_refreshing) = (OnceLock::new(), OnceLock::new());
        Ok(Self { strategy, stage, brokers, seen, poller, is_refreshing })
    }

    /// Now the scenario's faults count.
    pub(super) fn begin(&self, scenario: &Scenario, schedule: Schedule) {
        let start = schedule.slot(0).due;
        self.stage.organisation.with(|organisation, _| {
            for fault in &scenario.faults {
                let at = |instant| start + bellwether_lifecycle::Timestamp::ZERO.until(instant);
                let (from, until) = (at(fault.from), at(fault.until));
                organisation.add_fault(Fault { from, until, ..fault.clone() });
            }
        });
        let clock = Arc::clone(&self.stage.clock);
        self.poller.get_or_init(|| Arc::new(Poller::new(clock, schedule, scenario.duration)));
    }

    /// Polls until every slot is decided.
    pub(super) async fn run(&self, scenario: &Scenario) {
        let processes = scenario.processes;
        let login = || self.stage.login();
        match self.strategy {
            Strategy::PerWorker => self.poll(scenario, |_| PerWorker::new(login())).await,
            Strategy::PerWorkerJitter => {
                let strategy = |worker| PerWorker::with_jitter(login(), u64::from(worker));
                self.poll(scenario, strategy).await;
            }
            Strategy::SharedLock => {
                let first: Vec<_> = (0..processes).map(|_| SharedLock::new(login())).collect();
                self.poll(scenario, |worker| of(&first, worker).clone()).await;
            }
            Strategy::IsRefreshing => {
                let first = self
                    .is_refreshing
                    .get_or_init(|| (0..processes).map(|_| IsRefreshing::new(login())).collect());
                self.poll(scenario, |worker| of(first, worker).clone()).await;
            }
            Strategy::OneToken => {
                let first: Vec<_> = (0..processes).map(|_| OneToken::new(login())).collect();
                self.poll(scenario, |worker| of(&first, worker).clone()).await;
            }
            Strategy::Bellwether => {
                let handles: Vec<_> =
                    self.brokers().iter().map(|broker| broker.handle.clone()).collect();
                let strategy = |worker| ThroughBroker::new(of(&handles, worker).clone());
                self.poll(scenario, strategy).await;
            }
            Strategy::TokenEndpoint => {
                let Some(login) = self.login_at_gateway() else { return };
                self.poll(scenario, |_| PerWorker::new(login.clone())).await;
            }
            Strategy::Gateway => {
                let Ok(caller) = WithKey::new(CALLER.1) else { return };
                let Some(Ok(resource)) =
                    self.gateway("/").map(|url| resource(&url, scenario.agents))
                else {
                    return;
                };
                self.poll_at(scenario, &resource, |_| caller.clone()).await;
            }
        }
    }

    fn brokers(&self) -> std::sync::MutexGuard<'_, Vec<Brokered>> {
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gateway(&self, path: &str) -> Option<Url> {
        let address = self.brokers().first().map(|broker| broker.gateway)?;
        format!("http://{address}{path}").parse().ok()
    }

    /// The caller's own name and key, where it used to have the client's.
    fn login_at_gateway(&self) -> Option<Login> {
        let http: Arc<dyn Transport> = Arc::new(Http1::with_roots(RootCertStore::empty()));
        Some(Login {
            token_endpoint: self.gateway("/oauth/token")?,
            client: Client {
                id: CALLER.0.to_owned(),
                authentication: ClientAuthentication::Basic(Secret::from(CALLER.1)),
            },
            transport: Arc::new(Watched::new(http, Arc::clone(&self.seen))),
            clock: Arc::clone(&self.stage.clock),
        })
    }

    async fn poll<S: TokenStrategy>(&self, scenario: &Scenario, strategy: impl Fn(u32) -> S) {
        self.poll_at(scenario, &self.stage.resource, strategy).await;
    }

    async fn poll_at<S: TokenStrategy>(
        &self,
        scenario: &Scenario,
        resource: &Resource,
        strategy: impl Fn(u32) -> S,
    ) {
        let Some(poller) = self.poller.get() else { return };
        let connector = Connector::with_roots(RootCertStore::empty());
        let samplers = (0..scenario.workers).map(|worker| {
            let (clock, seen) = (Arc::clone(&self.stage.clock), Arc::clone(&self.seen));
            ApiSampler::new(strategy(worker), resource.clone(), &connector, clock, seen)
        });
        let samplers = samplers.collect();
        poller.run(samplers).await;
    }

    pub(super) fn standing(&self) -> Standing {
        let totals = self.stage.organisation.totals();
        let seen = self.seen.refusals();
        let tally = self.poller.get().map(|poller| poller.snapshot().tally).unwrap_or_default();
        Standing {
            token_requests: totals.token_requests,
            live_tokens: totals.live_tokens,
            status_401: seen.status_401,
            status_429: seen.status_429,
            gaps: tally.gaps,
            sampled: tally.done + tally.late,
        }
    }

    pub(super) fn in_brief(&self) -> String {
        let Standing { token_requests, status_401, status_429, gaps, sampled, .. } =
            self.standing();
        format!(
            "{:<17} {sampled} samples · 401 {status_401} · 429 {status_429} · gaps {gaps} · logins \
             {token_requests}",
            self.strategy.name()
        )
    }

    /// Both sides have counted the same only when nothing is under way any more.
    pub(super) async fn stop(&self) {
        let brokers = std::mem::take(&mut *self.brokers());
        for broker in brokers {
            broker.stop().await;
        }
    }

    pub(super) fn measured(&self, standing: &Standing, recorder: Recorder) -> Measured {
        let totals = self.stage.organisation.totals();
        let snapshot = self.poller.get().map(|poller| poller.snapshot());
        let tally = snapshot.map(|snapshot| snapshot.tally).unwrap_or_default();
        let latency = snapshot.map(|snapshot| snapshot.latency).unwrap_or_default();
        let most_live_tokens = recorder.over_time.live_tokens.iter().copied().max();
        let hung = self.is_refreshing.get().into_iter().flatten().map(IsRefreshing::waiting);
        Measured {
            name: self.strategy.name().to_owned(),
            token_requests: totals.token_requests,
            throttled_logins: totals.throttled_logins,
            tokens_evicted: totals.tokens_evicted,
            evicted_in_use: totals.api_evicted,
            status_401: standing.status_401,
            status_429: standing.status_429,
            polls: Polls {
                due: tally.due,
                done: tally.done,
                late: tally.late,
                gaps: tally.gaps + tally.open,
            },
            latency_ms: Percentiles {
                p50: milliseconds(latency.p50),
                p99: milliseconds(latency.p99),
                ..Percentiles::default()
            },
            service_latency_ms: None,
            most_live_tokens: most_live_tokens.unwrap_or_default(),
            hung_workers: u32::try_from(hung.sum::<usize>()).unwrap_or(u32::MAX),
            cause: String::new(),
            series: recorder.over_time,
            second_of_minute: recorder.by_second,
        }
    }
}

/// The workers are dealt to the processes in turn.
fn of<T>(processes: &[T], worker: u32) -> &T {
    &processes[worker as usize % processes.len()]
}
