//! `bellwether lab jmeter`: a JMeter plan against the lab, directly and through the gateway.

mod program;
mod results;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwether_lab::{Document, Measured, Mode, Scenario};
use bellwether_lifecycle::Allowance;
use bellwether_simulation::rehearsal::Strategy;
use bellwether_simulation::{Client, NamedProfile, Profile};
use bellwether_store::{Clock, Keyring, MemoryStore, SystemClock};
use clap::Args;
use tokio::time::interval;

use self::program::JMeter;
use self::results::Results;
use super::serve::{CLIENT, profile_names};
use super::sockets::{Recorder, Standing};
use super::tell;
use crate::commands::brokered::{Keeping, OpenGateway, quota};
use crate::commands::stage::Stage;
use crate::commands::{Failure, runtime};
use crate::configuration::{Environment, duration};
use crate::tell::tell;

/// Run a JMeter plan against the lab twice, directly and through the gateway, and compare
///
/// JMeter is found by $JMETER_HOME or on the PATH. The plan is told where to go by the properties
/// `gateway.host`, `gateway.port` and `client_id`, and the secret by the variable CLIENT_SECRET: see
/// examples/jmeter. Its results stay in the directory, for `bellwether doctor`.
#[derive(Debug, Args)]
pub(super) struct LabJMeter {
    /// The plan, a .jmx file
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// How the organisation behaves
    #[arg(long, value_name = "NAME", default_value = "as-reported", value_parser = profile_names())]
    profile: String,
    /// How long access tokens live
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    lifetime: Option<Duration>,
    /// Live access tokens of each client; one more ends the oldest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    live_tokens: Option<u32>,
    /// Tokens that the gateway holds
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pool: u16,
    /// A property for the plan, as JMeter's own -J; may be given several times
    #[arg(short = 'J', value_name = "NAME=VALUE")]
    properties: Vec<String>,
    /// Where results and logs go
    #[arg(long, value_name = "DIRECTORY", default_value = "lab-jmeter")]
    results: PathBuf,
    /// Chooses latencies and leads
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
    /// Write a page with pictures
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,
}

/// What was seen of one run.
struct Seen {
    measured: Measured,
    callers: u32,
    lasted: Duration,
}

impl LabJMeter {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        if !self.plan.is_file() {
            return Err(Failure::Usage(format!("there is no plan {}", self.plan.display())));
        }
        if let Some(property) = self.properties.iter().find(|property| !property.contains('=')) {
            return Err(Failure::Usage(format!("-J {property}: write NAME=VALUE")));
        }
        let jmeter = JMeter::find(environment).ok_or_else(|| {
            Failure::Usage(
                "JMeter is not found: set JMETER_HOME to its directory, or put jmeter on the PATH"
                    .to_owned(),
            )
        })?;
        std::fs::create_dir_all(&self.results).map_err(|error| {
            Failure::Failed(format!("{} cannot be made: {error}", self.results.display()))
        })?;
        let profile = self.profile();
        let (direct, through) = runtime()?.block_on(async {
            let direct = self.play(&jmeter, &profile, false).await?;
            let through = self.play(&jmeter, &profile, true).await?;
            Ok::<_, Failure>((direct, through))
        })?;
        tell(&self.document(profile, direct, through), self.html.as_deref(), self.json)
    }

    fn profile(&self) -> Profile {
        // The parser knows no other names.
        let named = NamedProfile::find(&self.profile).map(NamedProfile::profile);
        let mut profile = named.unwrap_or_else(Profile::genesys);
        if let Some(lifetime) = self.lifetime {
            profile.access_token_lifetime = lifetime;
        }
        if let Some(cap) = self.live_tokens {
            profile.live_tokens_per_client = Some(cap as usize);
        }
        Profile { ledger_entries: 0, ..profile }.client(Client::new(CLIENT.0, CLIENT.1))
    }

    /// One run of the plan, against an organisation of its own.
    async fn play(
        &self,
        jmeter: &JMeter,
        profile: &Profile,
        gateway: bool,
    ) -> Result<Seen, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let stage = Stage::open(profile, 1, self.seed, Arc::clone(&clock)).await?;
        let open = if gateway {
            let keeping = Keeping {
                pool: self.pool,
                quota: quota(profile, 1),
                allowance: Allowance::DEFAULT,
                seed: self.seed,
                store: Arc::new(MemoryStore::new(Arc::clone(&clock))),
                keyring: Keyring::ephemeral(),
            };
            Some(OpenGateway::start(&stage, keeping).await?)
        } else {
            None
        };
        let name = if gateway { "jmeter-gateway" } else { "jmeter-direct" };
        let address =
            open.as_ref().map_or_else(|| stage.organisation.address(), |open| open.address);
        tell!("{name}: JMeter runs {} against {address}", self.plan.display());

        let (began_at, began_wall) = (clock.now(), clock.wall());
        let running = jmeter.start(&self.plan, &self.results, name, address, &self.properties);
        let mut ended = tokio::task::spawn_blocking(move || running.and_then(program::wait));
        let mut recorder = Recorder::every_second(began_at);
        let mut tick = interval(Duration::from_secs(1));
        let result = loop {
            tokio::select! {
                ended = &mut ended => break ended,
                _ = tick.tick() => {
                    let totals = stage.organisation.totals();
                    let (token_requests, live_tokens) = (totals.token_requests, totals.live_tokens);
                    let standing = Standing { token_requests, live_tokens, ..Standing::default() };
                    recorder.note(clock.now(), clock.wall(), &standing);
                }
            }
        };
        result.map_err(|error| Failure::Failed(format!("JMeter was lost: {error}")))??;
        if let Some(open) = open {
            open.stop().await;
        }
        let file = self.results.join(format!("{name}.jtl"));
        let results = Results::read(&file, began_wall)?;
        let totals = stage.organisation.totals();
        stage.organisation.stop().await;
        let (callers, lasted) = (results.callers(), results.lasted());
        Ok(Seen { callers, lasted, measured: results.measured(name, &totals, recorder) })
    }

    /// A plan has no agents and no period: its threads and what they managed stand for them.
    fn document(&self, profile: Profile, direct: Seen, through: Seen) -> Document {
        let requests = through.measured.polls.due.max(1);
        let callers = through.callers.max(1);
        let period = through.lasted.mul_f64(f64::from(callers))
            / u32::try_from(requests).unwrap_or(u32::MAX);
        let plan = self.plan.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let scenario = Scenario {
            name: plan.unwrap_or_default(),
            about: "A JMeter plan against the lab, directly and through the gateway.".to_owned(),
            profile_name: self.profile.clone(),
            profile,
            faults: Vec::new(),
            agents: callers,
            workers: callers,
            processes: 1,
            period: period.max(Duration::from_millis(1)),
            duration: through.lasted,
            pool: Some(self.pool),
            allowance: Allowance::DEFAULT,
            seed: self.seed,
            strategies: Vec::<Strategy>::new(),
            fleet: None,
        };
        Document::new(&scenario, Mode::Sockets, vec![direct.measured, through.measured])
    }
}
