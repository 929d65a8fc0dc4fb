//! A scenario over sockets: an organisation for each strategy, side by side, in real time.

mod contender;
mod recorder;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use bellwether_lab::{Measured, Scenario};
use bellwether_poller::Schedule;
use bellwether_store::{Clock, SystemClock};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use self::contender::Contender;
pub(super) use self::recorder::{Recorder, Standing};
use crate::commands::Failure;
use crate::tell::tell;

/// More connections than that measure the machine.
const MOST_WORKERS: u32 = 2_000;
/// Each agent has an address of its own in memory.
const MOST_AGENTS: u32 = 200_000;
/// What is under way when the last slot closes is waited for.
const GRACE: Duration = Duration::from_secs(15);
/// Where nobody watches, lines come every so many seconds.
const LINES: u32 = 10;

/// Runs every strategy of the scenario at once.
pub(super) async fn run(scenario: &Scenario) -> Result<Vec<Measured>, Failure> {
    if scenario.workers > MOST_WORKERS || scenario.agents > MOST_AGENTS {
        return Err(Failure::Usage(format!(
            "over sockets there can be {MOST_AGENTS} agents and {MOST_WORKERS} workers; leave \
             --sockets out, or lower --agents and --workers"
        )));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut contenders = Vec::new();
    for &strategy in &scenario.strategies {
        contenders.push(Arc::new(Contender::open(scenario, strategy, &clock).await?));
    }
    let schedule = Schedule::new(clock.now(), scenario.period, scenario.agents);
    let longest = scenario.duration + scenario.period + GRACE;
    let mut recorders = Vec::new();
    let mut runs = JoinSet::new();
    for contender in &contenders {
        contender.begin(scenario, schedule);
        recorders.push(Recorder::start(scenario, clock.now()));
        let (contender, scenario) = (Arc::clone(contender), scenario.clone());
        // Workers that hang would never end.
        runs.spawn(async move { timeout(longest, contender.run(&scenario)).await.is_ok() });
    }
    // The wall clock's own seconds, so that what is counted at second 0 happened then.
    sleep(Duration::from_millis(1_000 - clock.wall().as_millis() % 1_000)).await;
    let mut tick = interval(Duration::from_secs(1));
    let mut ticks = 0;
    loop {
        tokio::select! {
            ended = runs.join_next() => match ended {
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    return Err(Failure::Failed(format!("a strategy ended badly: {error}")));
                }
                None => break,
            },
            _ = tick.tick() => {
                for (recorder, contender) in recorders.iter_mut().zip(&contenders) {
                    recorder.note(clock.now(), clock.wall(), &contender.standing());
                }
                ticks += 1;
                tell(ticks, &contenders);
            }
        }
    }
    let mut measured = Vec::new();
    for (mut recorder, contender) in recorders.into_iter().zip(&contenders) {
        contender.stop().await;
        let standing = contender.standing();
        recorder.note(clock.now(), clock.wall(), &standing);
        measured.push(contender.measured(&standing, recorder));
    }
    Ok(measured)
}

/// How it goes, for whoever waits.
fn tell(ticks: u32, contenders: &[Arc<Contender>]) {
    let every = if std::io::stderr().is_terminal() { 2 } else { LINES };
    if !ticks.is_multiple_of(every) {
        return;
    }
    for contender in contenders {
        tell!("{}", contender.in_brief());
    }
    tell!();
}
