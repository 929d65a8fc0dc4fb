//! Many processes on one store, all in want of a newer token at the same time, round after round.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use serde_json::json;

use crate::class::Class;
use crate::stage::{Rules, Stage, Workshop, gave};
use crate::worker::WORK;

/// Two renewals of one token are this far apart at least.
const BETWEEN: Duration = Duration::from_millis(1_050);
/// How long the server takes; the crowd has to wait for it.
const LATENCY: Duration = Duration::from_millis(100);

/// What is asked of a crowd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) processes: usize,
    pub(crate) rounds: u64,
}

/// A worker and the pipes to it.
struct Worker {
    child: Child,
    go: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn start(stage: &Stage<'_>) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(own);
        command.arg(WORK).arg(stage.path("")).arg(stage.token_endpoint()).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stage.errors()?);
        let mut child = command.spawn().map_err(|error| format!("a worker: {error}"))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(go), Some(answers)) => Ok(Self { child, go, answers: BufReader::new(answers) }),
            _ => Err("a worker has no pipes".to_owned()),
        }
    }

    fn read(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) => Err("a worker ended".to_owned()),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Crowd {
    /// Plays all rounds and reports. Whether all went well.
    pub(crate) fn run(self, workshop: &Workshop, as_json: bool) -> Result<bool, String> {
        let rules = Rules { class: Class::Strict, expires_in: 86_400, latency: LATENCY, seed: 1 };
        let stage = Stage::new(workshop, rules)?;
        if stage.token()?.result().is_none() {
            return Err(format!("the first token did not come: {}", stage.said()));
        }
        let time = workshop.time;
        let workers: Result<Vec<Worker>, String> =
            (0..self.processes).map(|_| Worker::start(&stage)).collect();
        let mut workers = workers?;
        for worker in &mut workers {
            worker.read()?;
        }
        let (mut overheads, mut complaints) = (Vec::new(), Vec::new());
        let started = time.now();
        for round in 0..self.rounds {
            let known = stage.requests_since(Timestamp::ZERO);
            if let Some(last) = known.last() {
                time.sleep_until(last.at + BETWEEN);
            }
            for worker in &mut workers {
                writeln!(worker.go, "go").map_err(|error| error.to_string())?;
            }
            let mut tokens = BTreeSet::new();
            for worker in &mut workers {
                let answer = worker.read()?;
                match answer.split_once(' ').map(|(waited, token)| (waited.parse::<u64>(), token)) {
                    Some((Ok(waited), token)) => {
                        tokens.insert(token.to_owned());
                        overheads.push(Duration::from_micros(waited).saturating_sub(LATENCY));
                    }
                    _ => complaints.push(format!("round {round}: {answer}")),
                }
            }
            let requests = stage.requests_since(Timestamp::ZERO).split_off(known.len());
            let granted = requests.iter().filter(|request| gave(request)).count();
            if requests.len() != 1 || granted != 1 || tokens.len() != 1 {
                complaints.push(format!(
                    "round {round}: {} requests, {granted} granted, {} tokens",
                    requests.len(),
                    tokens.len()
                ));
            }
        }
        let took = time.now().since(started).as_secs_f64();
        drop(workers);
        overheads.sort_unstable();
        let at = |share: f64| {
            let last = overheads.len().saturating_sub(1);
            let index = (last as f64 * share).round() as usize;
            overheads.get(index).map_or(0.0, |wait| wait.as_secs_f64() * 1_000.0)
        };
        let (median, p99, most) = (at(0.5), at(0.99), at(1.0));
        if as_json {
            let document = json!({
                "processes": self.processes,
                "rounds": self.rounds,
                "seconds": took,
                "over_the_request_ms": { "p50": median, "p99": p99, "max": most },
                "violations": complaints.len(),
                "complaints": complaints,
            });
            println!("{document}");
        } else {
            complaints.iter().take(20).for_each(|complaint| println!("{complaint}"));
            println!(
                "{} processes, {} rounds in {took:.1} s: {} rounds with anything but one request \
                 and one new token for all",
                self.processes,
                self.rounds,
                complaints.len()
            );
            println!(
                "waited longer than the request itself: median {median:.1} ms, p99 {p99:.1} ms, \
                 at most {most:.1} ms"
            );
        }
        Ok(complaints.is_empty())
    }
}
