//! `bellwether lab run`: a scenario, each strategy on the same seed.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bellwether_lab::{Document, FleetMeasured, FleetSize, Measured, Mode, Scenario};
use bellwether_simulation::rehearsal::{Fleet, Strategy, rehearse, renew};
use clap::Args;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};

use super::{built_in, sockets, tell};
use crate::commands::{Failure, runtime};
use crate::configuration::{duration, scenario};
use crate::tell::tell;

/// Run a scenario with each strategy on the same seed, and say what came of it
///
/// In virtual time unless --sockets: hours take seconds, and the same seed gives the same bytes.
#[derive(Debug, Args)]
pub(super) struct LabRun {
    /// A scenario's file, or the name of a built-in one (bellwether lab list)
    #[arg(value_name = "SCENARIO")]
    scenario: String,
    /// Chooses latencies, jitter and leads
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// For how long polls fall due
    #[arg(long = "for", value_name = "DURATION", value_parser = run_length)]
    length: Option<Duration>,
    /// Agents to poll
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(scenario::MOST_AGENTS)))]
    agents: Option<u32>,
    /// Workers of all processes together
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(scenario::MOST_WORKERS)))]
    workers: Option<u32>,
    /// How often each agent is polled
    #[arg(long, value_name = "DURATION", value_parser = period)]
    period: Option<Duration>,
    /// Only this strategy; may be given several times
    #[arg(long = "strategy", value_name = "NAME",
          value_parser = PossibleValuesParser::new(Strategy::ALL.map(Strategy::name)))]
    strategies: Vec<String>,
    /// Without sockets, as fast as it goes (the default)
    #[arg(long = "virtual", conflicts_with = "sockets")]
    virtual_time: bool,
    /// Over sockets of this machine, as long as the scenario lasts
    #[arg(long)]
    sockets: bool,
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
    /// Write a page with pictures
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,
}

fn run_length(text: &str) -> Result<Duration, String> {
    within(text, scenario::SHORTEST_PERIOD, scenario::LONGEST_RUN)
}

fn period(text: &str) -> Result<Duration, String> {
    within(text, scenario::SHORTEST_PERIOD, scenario::LONGEST_RUN)
}

fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let found = duration::parse(text)?;
    if (least..=most).contains(&found) {
        Ok(found)
    } else {
        Err(format!("it must be {} to {}", duration::write(least), duration::write(most)))
    }
}

impl LabRun {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let scenario = self.overridden(self.load()?);
        if let (Some(size), Some(fleet)) = (scenario.fleet, scenario.fleet()) {
            return tell(&self.keep(&scenario, size, &fleet)?, self.html.as_deref(), self.json);
        }
        let (mode, measured) = if self.sockets {
            (Mode::Sockets, runtime()?.block_on(sockets::run(&scenario))?)
        } else {
            let rehearsed = scenario.strategies.iter().map(|one| live_through(&scenario, *one));
            (Mode::Virtual, rehearsed.collect())
        };
        let document = Document::new(&scenario, mode, measured);
        tell(&document, self.html.as_deref(), self.json)
    }

    /// A fleet has no polls, and no sockets.
    fn keep(
        &self,
        scenario: &Scenario,
        size: FleetSize,
        fleet: &Fleet,
    ) -> Result<Document, Failure> {
        if self.sockets {
            return Err(Failure::Usage(
                "a [fleet] is renewed in virtual time alone; leave --sockets out".to_owned(),
            ));
        }
        let bar = bar(scenario.duration.as_secs(), "renewals", "renewals of the fleet alone");
        let outcome = renew(fleet, &mut |over| bar.set_position(over.as_secs()));
        bar.finish_and_clear();
        Ok(Document::of_fleet(scenario, FleetMeasured::of(size, &outcome)))
    }

    fn load(&self) -> Result<Scenario, Failure> {
        if let Some(built_in) = built_in::find(&self.scenario) {
            return built_in.map_err(Failure::Configuration);
        }
        let path = Path::new(&self.scenario);
        if !path.exists() && !self.scenario.contains(['/', '.']) {
            return Err(Failure::Usage(format!(
                "there is no scenario {:?} and no such file; built in are {}",
                self.scenario,
                built_in::names().join(", ")
            )));
        }
        scenario::load(path).map_err(Failure::Configuration)
    }

    /// Flags win over the file.
    fn overridden(&self, scenario: Scenario) -> Scenario {
        let named = self.strategies.iter().filter_map(|name| Strategy::named(name));
        let mut strategies: Vec<_> = named.collect();
        strategies.sort_unstable();
        strategies.dedup();
        if strategies.is_empty() {
            strategies.clone_from(&scenario.strategies);
        }
        Scenario {
            seed: self.seed.unwrap_or(scenario.seed),
            duration: self.length.unwrap_or(scenario.duration),
            agents: self.agents.unwrap_or(scenario.agents),
            workers: self.workers.unwrap_or(scenario.workers),
            period: self.period.unwrap_or(scenario.period),
            strategies,
            ..scenario
        }
    }
}

/// One strategy in virtual time, with a bar where somebody watches.
fn live_through(scenario: &Scenario, strategy: Strategy) -> Measured {
    let polls = scenario.duration.as_secs_f64() / scenario.period.as_secs_f64();
    let polls = (polls * f64::from(scenario.agents)) as u64;
    let bar = bar(polls, strategy.name(), strategy.about());
    let outcome = rehearse(&scenario.setup(), strategy, &mut |polls| bar.set_position(polls));
    bar.finish_and_clear();
    Measured::rehearsed(&outcome)
}

/// A bar where somebody watches, else a line.
fn bar(length: u64, name: &'static str, about: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        tell!("{name}: {about}");
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix:<17} {bar:24.dim} {human_pos}/{human_len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_prefix(name)
}
