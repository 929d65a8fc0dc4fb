//! `bellwether demo`: the report's strategies and Bellwether side by side, with nothing else needed.

mod contender;
mod live;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::Allowance;
use bellwether_poller::{Connector, Schedule};
use bellwether_simulation::Profile;
use bellwether_store::{Clock, Keyring, MemoryStore, SystemClock};
use clap::Args;
use rustls::RootCertStore;
use tokio::task::JoinSet;

use self::contender::{Contender, Strategy};
use self::live::Live;
use self::outcome::Outcome;
use super::brokered::{Brokered, Keeping, quota};
use super::stage::Stage;
use super::{Failure, print_result, runtime};
use crate::configuration::{Environment, duration};
use crate::log;
use crate::tell::tell;

/// Access tokens that Bellwether holds at once: 40 for the polls, two for peaks. The cap of 45 leaves
/// room for those that are being replaced.
const POOL: u16 = 42;
/// Half as much again as the pool's renewals need, and no bursts: a token that was just replaced
/// then lives on for a while, whatever is still under way with it.
const ALLOWANCE: Allowance = Allowance { per_second: 8.0, burst: 2 };
/// Latencies are drawn alike for all, and renewals are spread alike in every run.
const SEED: u64 = 7;
/// Shorter periods would measure the machine and not the strategies.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);
const LONGEST_PERIOD: Duration = Duration::from_secs(3600);
const LONGEST_RUN: Duration = Duration::from_secs(86_400);

/// Watch four strategies poll a simulated API side by side: the report's, the advice's, Bellwether
///
/// Nothing is needed but this program: authorization servers and APIs are simulated, on loopback.
/// Exit status 0 says that Bellwether's workers saw no 401, no 429 and no gap.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Agents to poll
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    agents: u32,
    /// Workers of each strategy
    #[arg(long, value_name = "N", default_value_t = 50,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,
    /// How often each agent is polled
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = period)]
    period: Duration,
    /// For how long polls fall due; the last may take one period more
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = run_length)]
    length: Duration,
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
}

fn period(text: &str) -> Result<Duration, String> {
    duration_within(text, SHORTEST_PERIOD, LONGEST_PERIOD)
}

fn run_length(text: &str) -> Result<Duration, String> {
    duration_within(text, SHORTEST_PERIOD, LONGEST_RUN)
}

fn duration_within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if (least..=most).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("it must be {} to {}", duration::write(least), duration::write(most)))
    }
}

impl Demo {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        log::start_quiet(environment);
        let outcomes = runtime()?.block_on(self.play())?;
        if self.json {
            print_result(&outcome::json(&outcomes).to_string())?;
        } else {
            print_result(&outcome::table(&outcomes).to_string())?;
        }
        let complaints = outcome::complaints(&outcomes);
        for complaint in &complaints {
            tell!("{complaint}");
        }
        if complaints.is_empty() {
            tell!("bellwether: no 401, no 429, no gap");
            Ok(())
        } else {
            Err(Failure::Told { exit_status: 1 })
        }
    }

    async fn play(&self) -> Result<Vec<Outcome>, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let profile = Profile::demo();
        tell!("{}", self.introduction(&profile));
        let stage = || Stage::open(&profile, self.agents, SEED, Arc::clone(&clock));
        let (own, shared, jittered, reported) =
            (stage().await?, stage().await?, stage().await?, stage().await?);
        let keeping = Keeping {
            pool: POOL,
            quota: quota(&profile, 1),
            allowance: ALLOWANCE,
            seed: SEED,
            store: Arc::new(MemoryStore::new(Arc::clone(&clock))),
            keyring: Keyring::ephemeral(),
        };
        let brokered = Brokered::start(&own, keeping).await?;
        tell!("Bellwether's dashboard while this runs: {}\n", brokered.dashboard);

        let schedule = Schedule::new(clock.now(), self.period, self.agents);
        let contenders = [
            (Strategy::PerWorker, reported),
            (Strategy::PerWorkerJitter, jittered),
            (Strategy::SharedLock, shared),
            (Strategy::Bellwether(brokered.handle.clone()), own),
        ]
        .map(|(strategy, stage)| Contender::new(strategy, stage, schedule, self.length))
        .map(Arc::new);
        let connector = Connector::with_roots(RootCertStore::empty());
        let mut runs = JoinSet::new();
        for contender in &contenders {
            runs.spawn(Arc::clone(contender).run(self.workers, connector.clone()));
        }
        let mut live = Live::new(&contenders);
        let mut tick = tokio::time::interval(live.every());
        tick.tick().await;
        loop {
            tokio::select! {
                ended = runs.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        return Err(Failure::Failed(format!("a strategy ended badly: {error}")));
                    }
                    None => break,
                },
                _ = tick.tick() => live.show(&contenders),
            }
        }
        // Both sides have counted the same only when nothing is under way any more.
        brokered.stop().await;
        live.end(&contenders);
        Ok(contenders.iter().map(|contender| contender.outcome()).collect())
    }

    /// What is simulated, and what the polls ask of it.
    fn introduction(&self, profile: &Profile) -> String {
        let mut said = format!(
            "{} workers poll {} agents every {} for {}, in four ways, each against a simulated \
             organisation of its own.\nAccess tokens live {}",
            self.workers,
            self.agents,
            duration::write(self.period),
            duration::write(self.length),
            duration::write(profile.access_token_lifetime),
        );
        if let Some(cap) = profile.live_tokens_per_client {
            said += &format!(", {cap} of them per client: one more ends the oldest");
        }
        if let Some(limit) = profile.api_limit {
            let (count, window) = (f64::from(limit.count), limit.window.as_secs_f64());
            let polls = f64::from(self.agents) / self.period.as_secs_f64();
            let needed = (polls * window / count).ceil();
            said += &format!(
                ".\nThe API takes each token {count} times in {} ({:.0} a minute), so that this needs \
                 {needed:.0} tokens. Bellwether keeps a pool of {POOL}.",
                duration::write(limit.window),
                count * 60.0 / window,
            );
            if needed > f64::from(POOL) {
                said += "\nThat is more than the limits allow: Bellwether keeps to them and leaves \
                         gaps. Poll fewer agents, or each less often.";
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(flatten)]
        demo: Demo,
    }

    #[test]
    fn the_flags_say_what_they_take() {
        #[rustfmt::skip]
        let cases = [
            // flags,              agents, period ms, length ms
            (&[][..],              Some((1000, 5_000, 30_000))),
            (&["--agents=500"],    Some((500,  5_000, 30_000))),
            (&["--period=500ms"],  Some((1000, 500,   30_000))),
            (&["--for=2m"],        Some((1000, 5_000, 120_000))),
            (&["--agents=0"],      None),
            (&["--workers=0"],     None),
            (&["--period=99ms"],   None),
            (&["--period=5"],      None),
            (&["--for=2d"],        None),
        ];
        for (flags, expected) in cases {
            let parsed = CommandLine::try_parse_from([&["demo"][..], flags].concat());
            let found = parsed.ok().map(|CommandLine { demo }| {
                (demo.agents, demo.period.as_millis(), demo.length.as_millis())
            });
            assert_eq!(found, expected, "{flags:?}");
        }
    }

    #[test]
    fn the_introduction_counts_the_tokens_that_are_needed() {
        let said = |flags: &[&str]| {
            let demo = CommandLine::parse_from([&["demo"][..], flags].concat()).demo;
            demo.introduction(&Profile::demo())
        };
        let usual = said(&[]);
        for part in ["45 of them per client", "50 times in 10s", "300 a minute", "40 tokens"] {
            assert!(usual.contains(part), "{part}: {usual}");
        }
        assert!(!usual.contains("more than the limits allow"), "{usual}");
        let many = said(&["--agents=1051"]);
        assert!(
            many.contains("43 tokens") && many.contains("more than the limits allow"),
            "{many}"
        );
    }
}
