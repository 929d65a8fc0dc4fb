//! `bellwether poll`: a resource for many agents, on schedule, delivered without gaps.

mod backfill;
mod live;
mod metrics;
mod outlet;
mod places;
mod timetable;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_broker::Handle;
use bellwether_delivery::{Cursor, Gaps, Plan, Progress, Writer};
use bellwether_poller::{
    Asker, Connector, DataSampler, Observed, Poller, Questions, Snapshot, Tags, ThroughBroker,
};
use bellwether_server::{Scrape, bind};
use bellwether_store::{Clock, SystemClock};
use clap::Args;
use rustls::RootCertStore;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use url::Url;

use self::backfill::Backfill;
use self::live::Live;
use self::outlet::Delivering;
use self::timetable::Timetable;
use super::{Failure, load_configuration, print_result};
use crate::configuration::poll::{DEFAULT_WORKERS, period};
use crate::configuration::{
    self as file, AgentList, Environment, OutputPlace, duration, parse_listen,
};
use crate::tell::tell;
use crate::{log, plan};

/// How often it looks how things stand.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Told to stop, it waits so long for an output that takes nothing.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// Poll a resource for many agents on schedule; every sample is delivered, every gap is told
///
/// What is polled stands in the configuration under [[poll]], or is said by flags. After a kill the
/// same command goes on where it was: what it had delivered is not lost, what it missed is a gap
/// that says why.
#[derive(Debug, Args)]
pub(super) struct Poll {
    /// The poll's name in the configuration; not needed where there is one alone
    name: Option<String>,
    /// The configuration; else $BELLWETHER_CONFIG, ./bellwether.toml, or the user's own
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The store; else the configuration's
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The credential to poll with, where there is no [[poll]]
    #[arg(long, value_name = "NAME", requires = "path")]
    credential: Option<String>,
    /// The path of a sample, with {agent} in it
    #[arg(long, value_name = "TEMPLATE")]
    path: Option<String>,
    /// A file with an agent a line
    #[arg(long, value_name = "PATH")]
    agents: Option<PathBuf>,
    /// How often each agent is due
    #[arg(long, value_name = "DURATION", value_parser = period)]
    period: Option<Duration>,
    /// Requests under way at once, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: Option<u16>,
    /// Where samples go: - for standard output, or a directory
    #[arg(long, value_name = "-|DIRECTORY")]
    output: Option<String>,
    /// Where operators find /metrics and /healthz; port 0 picks one
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    admin_listen: Option<SocketAddr>,
    /// Ends after this time; else with SIGTERM or SIGINT
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    length: Option<Duration>,
    /// Print one JSON document at the end; samples then go elsewhere than standard output
    #[arg(long)]
    json: bool,
}

impl Poll {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        log::start_quiet(environment);
        let configuration = load_configuration(self.config.as_deref(), environment)?;
        let poll = self.chosen(&configuration)?;
        if self.json && matches!(poll.output, OutputPlace::Lines { .. }) {
            return Err(Failure::Usage(
                "--json prints its document where the samples go; name another --output".to_owned(),
            ));
        }
        let store = plan::store(self.store.as_deref(), Some(&configuration.store), environment)
            .map_err(Failure::Usage)?;
        super::runtime()?.block_on(self.poll(&poll, &configuration, &store))
    }

    /// The poll that is meant, with what flags say of it.
    fn chosen(&self, configuration: &file::Configuration) -> Result<file::Poll, Failure> {
        let known = || {
            let names: Vec<_> = configuration.polls.iter().map(|poll| &*poll.name).collect();
            if names.is_empty() { "none is configured".to_owned() } else { names.join(", ") }
        };
        let mut poll = match (&self.name, &self.path) {
            (Some(name), None) => configuration.poll(name).cloned().ok_or_else(|| {
                Failure::Usage(format!("no poll is called {name}; there is: {}", known()))
            })?,
            (None, None) => match &*configuration.polls {
                [only] => only.clone(),
                _ => {
                    let what = format!("say which poll; there is: {}", known());
                    return Err(Failure::Usage(format!(
                        "{what}; or name --credential, --path and --agents"
                    )));
                }
            },
            (name, Some(path)) => self.by_flags(name.as_deref(), path, configuration)?,
        };
        if let (Some(agents), None) = (&self.agents, &self.path) {
            poll.agents = Some(AgentList::File(agents.clone()));
        }
        poll.period = self.period.unwrap_or(poll.period);
        poll.workers = self.workers.unwrap_or(poll.workers);
        if let Some(output) = &self.output {
            poll.output = places::named(output);
        }
        Ok(poll)
    }

    fn by_flags(
        &self,
        name: Option<&str>,
        path: &str,
        configuration: &file::Configuration,
    ) -> Result<file::Poll, Failure> {
        let missing = |what: &str| Failure::Usage(format!("{what} is missing"));
        let credential = match (&self.credential, &*configuration.credentials) {
            (Some(name), _) => configuration.credential(name),
            (None, [only]) => Some(only),
            (None, _) => return Err(missing("--credential NAME")),
        };
        let credential = credential.ok_or_else(|| {
            let name = self.credential.as_deref().unwrap_or_default();
            Failure::Usage(format!("no credential is called {name}"))
        })?;
        if !path.starts_with('/') {
            return Err(Failure::Usage(format!(
                "--path {path:?} is a path below the resource server; begin it with /"
            )));
        }
        let name = name.unwrap_or("poll");
        file::name::check(name).map_err(|why| Failure::Usage(format!("the name {why}")))?;
        let agents = self.agents.clone().ok_or_else(|| missing("--agents PATH"))?;
        Ok(file::Poll {
            name: name.to_owned(),
            credential: credential.name.clone(),
            path: path.to_owned(),
            shape: bellwether_poller::Shape::Each,
            agents: Some(AgentList::File(agents)),
            split: None,
            period: self.period.ok_or_else(|| missing("--period DURATION"))?,
            workers: DEFAULT_WORKERS,
            conditional: false,
            backfill: None,
            output: OutputPlace::Lines { cursor: None },
        })
    }

    async fn poll(
        &self,
        poll: &file::Poll,
        configuration: &file::Configuration,
        store: &file::Store,
    ) -> Result<(), Failure> {
        let failed = |error: String| Failure::Failed(error);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let planned = plan::credentials(configuration).map_err(failed)?;
        let planned = planned.into_iter().find(|one| one.settings.name == poll.credential);
        let planned = planned
            .ok_or_else(|| failed(format!("no credential is called {}", poll.credential)))?;
        let base = planned.vendor.resource_server.as_ref().map(|server| server.url().clone());
        let base = base.ok_or_else(|| {
            Failure::Usage(format!(
                "the authorization server of {} has no resource_server to poll",
                poll.credential
            ))
        })?;
        let opened = plan::open_store(store, &clock).map_err(failed)?;
        let broker = plan::start_broker(opened, Arc::clone(&clock)).map_err(failed)?;
        let handle = broker.add(planned.settings).await.handle;
        let api =
            Api { handle, connector: connector(&base), base, clock, observed: Arc::default() };
        let done = self.polled(poll, &api).await;
        broker.stop().await;
        done
    }

    async fn polled(&self, poll: &file::Poll, api: &Api) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
        let agents = places::agents(poll, api).await?;
        let questions = Questions::new(&api.base, &poll.path, &poll.shape, agents.names())
            .map_err(|error| Failure::Usage(format!("poll {}: {error}", poll.name)))?;
        let plan = plan_of(poll, &questions);
        let (place, name) = (poll.output.clone(), poll.name.clone());
        let opened = spawn_blocking(move || places::open(&place, &name)).await;
        let (mut output, resumed) =
            opened.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        let timetable = Timetable::new(plan, resumed, &*api.clock);
        let Timetable { cursor, schedule, settled, ended, .. } = timetable.clone();
        let gaps = Gaps::new(timetable.gaps.iter().copied());
        let (clock, to_fill) = (Arc::clone(&api.clock), gaps.clone());
        let start = move || {
            outlet::tell_end(&mut *output, ended)?;
            Writer::start(output, cursor, &settled, to_fill, clock)
        };
        let writer = spawn_blocking(start).await;
        let writer = writer.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        let writer = Arc::new(writer);

        // Its first slots may have been due before this process began.
        let past = schedule.slot(schedule.first()).due.until(api.clock.now());
        let length = self.length.map_or(Duration::MAX, |length| length + past);
        let poller = Poller::new(Arc::clone(&api.clock), schedule, length);
        // Priorities are those of agents; where one request asks for several, there are none.
        let priorities = match &poll.shape {
            bellwether_poller::Shape::Each => agents.priorities(),
            bellwether_poller::Shape::Together(_) | bellwether_poller::Shape::Pages(_) => &[],
        };
        let poller = poller.resumed(Arc::from(priorities), timetable.left_out());
        let poller = Arc::new(poller);
        let backfill = Backfill::new(poll, api, &questions, &timetable, gaps, Arc::clone(&writer))?;
        let tags = poll.conditional.then(|| Tags::new(questions.count()));
        let absent = timetable.absent();
        let outlet = Arc::new(Delivering {
            writer: Arc::clone(&writer),
            backfill: backfill.clone(),
            questions: questions.clone(),
            timetable: timetable.clone(),
            members: outlet::Members::new(questions.count()),
            tags: tags.clone(),
            clock: Arc::clone(&api.clock),
        });
        let sampler = |_| {
            let (questions, split) = (questions.clone(), poll.split.clone());
            DataSampler::new(api.asker(), questions, split, tags.clone())
        };
        let samplers = (0..poll.workers).map(sampler).collect();

        let scrape = self.scrape(&poll.name, &poller, api, &writer, absent).await?;
        // Until here a signal ends it on the spot, and nothing is lost by that.
        let stopping = Stopping::listen().map_err(|error| failed(&error))?;
        let filling = tokio::spawn(backfill.fill());
        let mut live = Live::new(&poll.name);
        let running = async {
            outlet.tell_absence().await;
            poller.run_into(samplers, Arc::clone(&outlet)).await
        };
        let ended = {
            tokio::pin!(running);
            let mut stopping = std::pin::pin!(stopping.wait());
            let mut refuse_at = None;
            let mut tick = tokio::time::interval(LOOK_EVERY);
            loop {
                tokio::select! {
                    snapshot = &mut running => break snapshot,
                    () = &mut stopping, if refuse_at.is_none() => {
                        poller.stop();
                        refuse_at = Some(api.clock.now() + SETTLES_WITHIN);
                    }
                    _ = tick.tick() => {
                        let failed = api.handle.last_error().map(|error| error.to_string());
                        live.tell_renewals(failed);
                        live.show(&Standing::of(&poller, api, &writer, absent), api.clock.now());
                        // An output that takes nothing must not keep whoever has something for it.
                        if refuse_at.is_some_and(|at| api.clock.now() >= at) || writer.is_over() {
                            poller.stop();
                            writer.refuse_more();
                        }
                    }
                }
            }
        };
        filling.abort();
        let _ = filling.await;
        if let Some(scrape) = scrape {
            scrape.stop().await;
        }
        drop(outlet);
        let standing = Standing::of(&poller, api, &writer, absent);
        live.end(&Standing { polled: ended, ..standing.clone() });
        let finished = match Arc::into_inner(writer) {
            Some(writer) => spawn_blocking(|| writer.finish()).await,
            None => return Err(Failure::Failed("a worker did not end".to_owned())),
        };
        let finished = finished.map_err(|error| failed(&error))?;
        let delivered = match &finished {
            Ok(progress) => progress.clone(),
            Err(_) => standing.delivered,
        };
        let standing = Standing { polled: ended, delivered, ..standing };
        if self.json {
            print_result(&standing.json(poll).to_string())?;
        }
        finished.map(drop).map_err(|error| failed(&error))
    }

    /// The listener for scrapers, if there is to be one.
    async fn scrape(
        &self,
        poll: &str,
        poller: &Arc<Poller>,
        api: &Api,
        writer: &Arc<Writer>,
        absent: u64,
    ) -> Result<Option<Scrape>, Failure> {
        let Some(address) = self.admin_listen else { return Ok(None) };
        let failed = |error: std::io::Error| Failure::Failed(error.to_string());
        let listener = bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (name, poller, api) = (poll.to_owned(), Arc::clone(poller), api.clone());
        // The writer ends while scrapers may still ask.
        let writer = Arc::downgrade(writer);
        let scrape = Scrape::start(listener, move |to| match writer.upgrade() {
            Some(writer) => {
                metrics::write(to, &name, &Standing::of(&poller, &api, &writer, absent))
            }
            None => Err(std::fmt::Error),
        });
        tell!("ready admin=http://{address}");
        scrape.map(Some).map_err(failed)
    }
}

/// How a poll stands.
#[derive(Clone, Debug)]
struct Standing {
    polled: Snapshot,
    delivered: Progress,
    /// Slots that closed while nobody polled, and were told as gaps at the start.
    absent: u64,
    token_requests: u32,
    status_401: u64,
    status_429: u64,
}

impl Standing {
    fn of(poller: &Poller, api: &Api, writer: &Writer, absent: u64) -> Self {
        let refusals = api.observed.refusals();
        Self {
            polled: poller.snapshot(),
            delivered: writer.progress(),
            absent,
            token_requests: api.handle.counters().token_requests.load(Ordering::Relaxed),
            status_401: refusals.status_401,
            status_429: refusals.status_429,
        }
    }

    fn json(&self, poll: &file::Poll) -> serde_json::Value {
        let tally = self.polled.tally;
        let milliseconds = |latency: Duration| latency.as_secs_f64() * 1e3;
        serde_json::json!({
            "poll": poll.name,
            "polls": {
                "due": tally.due,
                "done": tally.done,
                "late": tally.late,
                "gaps": tally.gaps,
                "absent": self.absent,
                "open": tally.open,
                "backfilled": self.delivered.backfilled,
            },
            "delivered": {
                "slots": self.delivered.slots,
                "entries": self.delivered.entries,
                "watermark": self.delivered.watermark,
            },
            "token_requests": self.token_requests,
            "status_401": self.status_401,
            "status_429": self.status_429,
            "latency_ms": {
                "p50": milliseconds(self.polled.latency.p50),
                "p99": milliseconds(self.polled.latency.p99),
            },
        })
    }
}

/// What is polled, and with what.
#[derive(Clone, Debug)]
struct Api {
    handle: Handle,
    base: Url,
    connector: Connector,
    clock: Arc<dyn Clock>,
    observed: Arc<Observed>,
}

impl Api {
    /// Somebody who asks, with a connection of its own.
    fn asker(&self) -> Asker<ThroughBroker> {
        let (clock, observed) = (Arc::clone(&self.clock), Arc::clone(&self.observed));
        Asker::new(ThroughBroker::new(self.handle.clone()), &self.connector, clock, observed)
    }
}

/// A machine without root certificates can still poll loopback.
fn connector(base: &Url) -> Connector {
    match base.scheme() {
        "http" => Connector::with_roots(RootCertStore::empty()),
        _ => Connector::new(),
    }
}

/// What the slots' numbers mean.
fn plan_of(poll: &file::Poll, questions: &Questions) -> Plan {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for (target, agents) in questions.iter() {
        context.update(target.to_string().as_bytes());
        for agent in agents {
            context.update(b"\n");
            context.update(agent.as_bytes());
        }
        context.update(b"\n\n");
    }
    let digest = context.finish();
    Plan {
        poll: poll.name.clone(),
        digest: digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect(),
        period: u64::try_from(poll.period.as_millis()).unwrap_or(u64::MAX),
        units: questions.count() as u64,
    }
}

/// What ends a poll from outside.
struct Stopping {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stopping {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// When a slot is due, in milliseconds since the epoch.
fn due_at(cursor: &Cursor, slot: u64) -> u64 {
    let Plan { period, units, .. } = cursor.plan;
    let after = u128::from(slot) * u128::from(period) / u128::from(units.max(1));
    cursor.anchor.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
}
