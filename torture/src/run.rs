//! The command line, and how a run ends.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bellwether_simulation::Chance;
use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::boundaries::{Walk, Who};
use crate::cancels::Cancel;
use crate::class::{Class, Classes};
use crate::clocks::Jump;
use crate::crashes::{Outcome, Point};
use crate::crowd::Crowd;
use crate::hostile::Hostile;
use crate::lanes;
use crate::pace::Pace;
use crate::pauses::Pause;
use crate::plant::Plant;
use crate::score::Score;
use crate::stage::Workshop;
use crate::time::Time;
use crate::tracer::Fault;

/// A lease without further settings: twice the deadline of 10 s.
const DEFAULT_MARGIN: Duration = Duration::from_secs(10);

/// Kills, pauses and starves real bellwether processes
#[derive(Debug, Parser)]
#[command(name = "bellwether-torture", disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Shared {
    /// The bellwether to torture; else the one built into this program
    #[arg(long, global = true, value_name = "PATH")]
    bellwether: Option<PathBuf>,
    /// Where stores are made; a real disk makes the windows wide
    #[arg(long, global = true, value_name = "DIRECTORY")]
    base: Option<PathBuf>,
    /// Points at the same time; most of their time is waiting
    #[arg(long, global = true, value_name = "N")]
    lanes: Option<usize>,
    /// The deadline of a token request, in milliseconds; a lease is twice as long
    #[arg(long, global = true, value_name = "MILLISECONDS")]
    request_timeout: Option<u64>,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Crashes(Crashes),
    Boundaries(Boundaries),
    Pauses(Pauses),
    Cancels(Cancels),
    Clocks(Clocks),
    Crowd(CrowdArguments),
    Hostile(Hostile),
}

/// Points that a seed draws.
#[derive(Debug, Args)]
struct Draw {
    /// How many points
    #[arg(long, default_value_t = 500)]
    count: u64,
    /// Draws the points; another one each time if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// The one point with this seed, `--count` times
    #[arg(long, value_name = "SEED", conflicts_with = "seed")]
    point: Option<u64>,
    /// Classes of rotation: R0 to R5 or their names, with commas between them
    #[arg(long, default_value = "all")]
    class: Classes,
}

/// SIGKILL at random microseconds of renewals
#[derive(Debug, Args)]
struct Crashes {
    #[command(flatten)]
    draw: Draw,
    /// Plants a defect that must be found
    #[arg(long, value_enum)]
    plant: Option<Plant>,
}

/// A kill or an error at every system call boundary of one renewal
///
/// All threads' calls count as one sequence: those on files, sockets and pipes, reads included; for
/// errors those on files of ours and on sockets. Left out is what stays inside the process: memory,
/// threads, futexes, clocks, random numbers, and waiting.
#[derive(Debug, Args)]
struct Boundaries {
    /// What befalls the call
    #[arg(long, value_enum, default_value_t = Fault::Kill)]
    fault: Fault,
    /// Whose renewal
    #[arg(long, value_enum, default_value_t = Who::Token)]
    who: Who,
    /// Classes of rotation: R0 to R5 or their names, with commas between them
    #[arg(long, default_value = "all")]
    class: Classes,
    /// Only the boundary with this number
    #[arg(long, value_name = "N")]
    only: Option<usize>,
}

/// SIGSTOP of whoever renews, while others want a token too
#[derive(Debug, Args)]
struct Pauses {
    #[command(flatten)]
    draw: Draw,
    /// For longer than a lease: a double use cannot be prevented, but must be noticed
    #[arg(long)]
    longer: bool,
}

/// Callers that go away while their renewal is under way, and brokers told to stop meanwhile
#[derive(Debug, Args)]
struct Cancels {
    #[command(flatten)]
    draw: Draw,
}

/// Processes whose clock is far ahead, as after a suspend (needs the right to make time namespaces)
#[derive(Debug, Args)]
struct Clocks {
    #[command(flatten)]
    draw: Draw,
}

/// Many processes on one store, all in want of a newer token at the same time
#[derive(Debug, Args)]
struct CrowdArguments {
    /// Processes, each with the library
    #[arg(long, default_value_t = 64)]
    processes: usize,
    /// Renewals, about one a second
    #[arg(long, default_value_t = 200)]
    rounds: u64,
}

impl CommandLine {
    pub(crate) fn run(self) -> ExitCode {
        let outcome = self.shared.workshop().and_then(|workshop| match &self.command {
            Command::Crashes(crashes) => Ok(crashes.run(&workshop, &self.shared)),
            Command::Boundaries(boundaries) => boundaries.run(&workshop, &self.shared),
            Command::Pauses(pauses) => Ok(pauses.run(&workshop, &self.shared)),
            Command::Clocks(clocks) => Ok(clocks.run(&workshop, &self.shared)),
            Command::Crowd(CrowdArguments { processes, rounds }) => {
                let crowd = Crowd { processes: *processes, rounds: *rounds };
                crowd.run(&workshop, self.shared.json)
            }
            Command::Cancels(cancels) => Ok(cancels.run(&workshop, &self.shared)),
            Command::Hostile(hostile) => hostile.run(&workshop, self.shared.json),
        });
        match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(why) => {
                eprintln!("error: {why}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Shared {
    fn workshop(&self) -> Result<Workshop, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| format!("the judge's runtime does not start: {error}"))?;
        let program = self.bellwether.as_deref().map(std::fs::canonicalize).transpose();
        Ok(Workshop {
            program: program.map_err(|error| format!("--bellwether: {error}"))?,
            base: self.base.clone().unwrap_or_else(std::env::temp_dir),
            runtime,
            time: Time::new(),
            server_settings: self
                .request_timeout
                .map(|limit| format!("request_timeout = \"{limit}ms\""))
                .unwrap_or_default(),
        })
    }

    fn lanes(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        self.lanes.unwrap_or(cores * 12)
    }

    /// How to say again what this run was told.
    fn again(&self) -> String {
        let mut words = "bellwether-torture".to_owned();
        if let Some(program) = &self.bellwether {
            words.push_str(&format!(" --bellwether {}", program.display()));
        }
        if let Some(limit) = self.request_timeout {
            words.push_str(&format!(" --request-timeout {limit}"));
        }
        words
    }

    /// What a lease leaves beyond a request's deadline.
    fn margin(&self) -> Duration {
        self.request_timeout.map_or(DEFAULT_MARGIN, Duration::from_millis)
    }
}

impl Draw {
    /// Plays each point and reports.
    fn run(
        &self,
        (workshop, shared): (&Workshop, &Shared),
        (what, words, silent): (&str, &str, bool),
        play: impl Fn(u64, Class) -> Result<Outcome, String> + Sync,
    ) -> bool {
        let seed = self.seed.unwrap_or_else(|| workshop.time.seed());
        if self.point.is_none() {
            eprintln!("seed {seed}");
        }
        let classes = &self.class.0;
        let drawn = |number: u64| {
            let class = classes[(number % classes.len() as u64) as usize];
            let point = self.point.unwrap_or_else(|| {
                Chance::new(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9))).bits()
            });
            (point, class)
        };
        let mut score = Score::default();
        score.silent = silent;
        let started = workshop.time.now();
        let play = |number| {
            let (point, class) = drawn(number);
            play(point, class)
        };
        lanes::run(self.count, shared.lanes(), workshop.time, play, |number, outcome| {
            let (point, class) = drawn(number);
            score.take(class, outcome, || {
                let (again, class) = (shared.again(), class.number());
                format!("{again} {words} --class {class} --point {point} --count 20")
            })
        });
        let took = workshop.time.now().since(started);
        score.report(what, took, json!({ "seed": seed }), shared.json)
    }
}

impl Crashes {
    fn run(&self, workshop: &Workshop, shared: &Shared) -> bool {
        let pace = Pace::default();
        let named = ("kills at random instants", "crashes", self.plant.is_some());
        self.draw.run((workshop, shared), named, |point, class| {
            Point::draw(point, class).play(workshop, &pace, self.plant)
        })
    }
}

impl Pauses {
    fn run(&self, workshop: &Workshop, shared: &Shared) -> bool {
        let pace = Pace::default();
        let (margin, longer) = (shared.margin(), self.longer);
        let words = if longer { "pauses --longer" } else { "pauses" };
        self.draw.run((workshop, shared), (words, words, false), |point, class| {
            Pause::draw(point, class, margin, longer).play(workshop, &pace)
        })
    }
}

impl Cancels {
    fn run(&self, workshop: &Workshop, shared: &Shared) -> bool {
        let named = ("cancelled waits", "cancels", false);
        self.draw.run((workshop, shared), named, |point, class| {
            Cancel::draw(point, class).play(workshop)
        })
    }
}

impl Clocks {
    fn run(&self, workshop: &Workshop, shared: &Shared) -> bool {
        if !Jump::is_possible() {
            eprintln!("skipped: this user cannot make time namespaces (unshare -T)");
            return true;
        }
        self.draw.run((workshop, shared), ("jumps in time", "clocks", false), |point, class| {
            Jump::draw(point, class).play(workshop)
        })
    }
}

impl Boundaries {
    fn run(&self, workshop: &Workshop, shared: &Shared) -> Result<bool, String> {
        let fault = self.fault;
        let mut steps = Vec::new();
        for &class in &self.class.0 {
            let walk = Walk { class, fault, who: self.who };
            let count = walk.count(workshop)?.len();
            let chosen: Vec<usize> = self.only.map_or_else(|| (0..count).collect(), |n| vec![n]);
            steps.extend(chosen.into_iter().map(|number| (walk, number)));
        }
        let mut score = Score::default();
        let started = workshop.time.now();
        let play = |number: u64| {
            let (walk, boundary) = steps[number as usize];
            walk.step(workshop, boundary)
        };
        let name = format!("{fault:?}").to_lowercase();
        lanes::run(steps.len() as u64, shared.lanes(), workshop.time, play, |number, step| {
            let (walk, boundary) = steps[number as usize];
            let outcome = step.map(|step| {
                let call = step.call.map_or_else(String::new, |call| call.to_string());
                let mut outcome = step.outcome;
                if !outcome.complaints.is_empty() {
                    outcome.complaints.insert(1, format!("  at: {call}"));
                }
                if step.lost {
                    *score.losses.entry(call).or_default() += 1;
                }
                outcome
            });
            score.take(walk.class, outcome, || {
                let (again, class) = (shared.again(), walk.class.number());
                let who = format!("{:?}", walk.who).to_lowercase();
                format!(
                    "{again} boundaries --who {who} --fault {name} --class {class} --only {boundary}"
                )
            })
        });
        let took = workshop.time.now().since(started);
        let what = format!("system calls met {name}");
        Ok(score.report(&what, took, json!({ "fault": fault }), shared.json))
    }
}
