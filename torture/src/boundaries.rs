//! Every system call boundary of one renewal: a kill before each call, or an error in its place.

use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use serde::Serialize;

use crate::broker::{self, Broker, Voice};
use crate::class::Class;
use crate::crashes::Outcome;
use crate::evidence::{Evidence, Harm, Phase};
use crate::process::{Ended, Process};
use crate::settle::{Disturbed, Way};
use crate::stage::{NAME, Rules, Stage, Workshop};
use crate::tracer::{self, Call, Fault, Scope, Traced};

/// The first words of a process that lets itself be traced.
pub(crate) const OFFER: &str = "be-traced";

/// What was sent just before a kill arrives a little later.
const ON_ITS_WAY: Duration = Duration::from_millis(150);

/// A part of the path of whatever is in an escrow.
const ESCROW: &str = "escrow";

/// The boundaries of one renewal in one class.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Walk {
    pub(crate) class: Class,
    pub(crate) fault: Fault,
    pub(crate) who: Who,
}

/// A point of the walk, with the call that it fell on.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) outcome: Outcome,
    pub(crate) call: Option<Call>,
    /// Whether the family was lost there.
    pub(crate) lost: bool,
}

/// Whose renewal is walked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Who {
    /// `bellwether token`, its whole life.
    Token,
    /// `bellwether serve`, from the moment when it is asked to renew.
    Serve,
}

impl Walk {
    fn stage<'a>(&self, workshop: &'a Workshop) -> Result<Stage<'a>, String> {
        let latency = Duration::from_millis(1);
        let expires_in = match self.who {
            Who::Token => 0,
            // In R1 a broker in doubt waits for the end of the token that it still holds.
            Who::Serve if self.class.may_lose() => 3,
            Who::Serve => 60,
        };
        let stage =
            Stage::new(workshop, Rules { class: self.class, expires_in, latency, seed: 7 })?;
        let first = stage.token()?;
        match first.result() {
            Some(_) => Ok(stage),
            None => Err(format!("the first token did not come: {}", stage.said())),
        }
    }

    /// How many boundaries there are: the calls of a renewal that nothing befalls.
    pub(crate) fn count(&self, workshop: &Workshop) -> Result<Vec<Call>, String> {
        let stage = self.stage(workshop)?;
        let (traced, ended) = self.trace(&stage, None)?;
        match self.who {
            Who::Token if ended.result().is_some() => Ok(traced.calls),
            Who::Serve if ended.status.success() => Ok(traced.calls),
            Who::Token | Who::Serve => {
                Err(format!("a renewal that nothing befell failed: {}", stage.said()))
            }
        }
    }

    /// Lets the fault fall on the call with this number.
    pub(crate) fn step(&self, workshop: &Workshop, number: usize) -> Result<Step, String> {
        let stage = self.stage(workshop)?;
        let mut outcome = Outcome::default();
        outcome.tally.points = 1;
        let since = workshop.time.now();
        let (traced, ended) = self.trace(&stage, Some(number))?;
        let call = traced.struck.and_then(|(number, _)| traced.calls.get(number).cloned());
        let harms: Vec<Harm> = traced
            .struck
            .map(|struck| self.harm(since, struck, &traced, &ended))
            .into_iter()
            .collect();
        self.phase(&stage, since, traced.struck, &mut outcome);
        let disturbed =
            Disturbed { stage: &stage, since, harms, complaints: Vec::new(), deaf: false };
        let way = match self.who {
            Who::Token => Way::Token,
            Who::Serve => Way::Serve,
        };
        outcome.complaints = disturbed.settle(way, &mut outcome.tally);
        let lost = outcome.tally.lost + outcome.tally.lost_wrongly > 0;
        if !outcome.complaints.is_empty() {
            outcome.explain(stage);
        }
        Ok(Step { outcome, call, lost })
    }

    /// What the fault may excuse. A kill: whatever comes before the answer is in the escrow. An
    /// error: what became of the connection, for one that fails to write has the answer in hand.
    fn harm(
        &self,
        since: Timestamp,
        (number, at): (usize, Timestamp),
        traced: &Traced,
        ended: &Ended,
    ) -> Harm {
        match self.fault {
            Fault::Kill => {
                let calls = &traced.calls[..number];
                // The last connection that it opened is to the server: what is synced after that
                // is the answer.
                let asked = calls.iter().rposition(|call| call.name == "connect");
                let kept = |call: &Call| call.name.ends_with("sync") && call.on.contains(ESCROW);
                let durable = asked.is_some_and(|asked| calls[asked..].iter().any(kept));
                Harm { since, at, showed: durable || shows(ended), heard: at + ON_ITS_WAY }
            }
            Fault::Eio | Fault::Enospc => {
                let at = traced.ended;
                Harm {
                    since,
                    at,
                    showed: !traced.calls[number].is_on_socket(),
                    heard: at + ON_ITS_WAY,
                }
            }
        }
    }

    fn phase(
        &self,
        stage: &Stage<'_>,
        since: Timestamp,
        struck: Option<(usize, Timestamp)>,
        outcome: &mut Outcome,
    ) {
        let Some((_, at)) = struck else {
            outcome.tally.missed += 1;
            return;
        };
        let evidence = Evidence {
            class: self.class,
            latency: stage.rules.latency,
            requests: stage.requests_since(since),
            harms: Vec::new(),
        };
        match evidence.phase(&Harm { since, at, showed: false, heard: at + ON_ITS_WAY }) {
            Phase::Before => outcome.tally.before += 1,
            Phase::During => outcome.tally.during += 1,
            Phase::After(_) => outcome.tally.after += 1,
        }
    }

    /// Runs the command held at each of its calls.
    fn trace(&self, stage: &Stage<'_>, chosen: Option<usize>) -> Result<(Traced, Ended), String> {
        let inner = match self.who {
            Who::Token => stage.command(&["token", NAME])?,
            Who::Serve => stage.command(&["serve"])?,
        };
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = std::process::Command::new(own);
        command.arg(OFFER).arg(inner.get_program()).args(inner.get_args());
        command.current_dir(stage.path("")).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // So that the order of calls is nearly the same each time.
        command.env("TOKIO_WORKER_THREADS", "1");
        let directory = stage.path("");
        let directory = std::fs::canonicalize(directory).map_err(|error| error.to_string())?;
        let armed = AtomicBool::new(self.who == Who::Token);
        let scope = Scope { fault: self.fault, directory: &directory, armed: &armed };
        let time = stage.workshop.time;
        let (process, traced) = match self.who {
            Who::Token => {
                let process = Process::start(command, stage.errors()?, time)?;
                let traced = tracer::follow(process.pid(), &scope, chosen, time)?;
                (process, traced)
            }
            Who::Serve => {
                let broker = stage.start_serve_as(command)?;
                let Broker { process, mut voice, .. } = broker;
                let traced = std::thread::scope(|scope_of_threads| {
                    scope_of_threads.spawn(|| ask_to_renew(stage, &mut voice, &process, &armed));
                    tracer::follow(process.pid(), &scope, chosen, time)
                });
                voice.drain();
                (process, traced?)
            }
        };
        let printed = process.printed();
        let took = Duration::ZERO;
        let status = std::os::unix::process::ExitStatusExt::from_raw(
            traced.exit.map_or(9, |status| status << 8),
        );
        Ok((traced, Ended { status, printed, took }))
    }
}

/// Has a traced broker renew once it is ready, and stop when that is done. One that was killed
/// meanwhile ends all of this early.
fn ask_to_renew(
    stage: &Stage<'_>,
    voice: &mut Voice,
    process: &Process,
    armed: &AtomicBool,
) -> Option<()> {
    const LONGEST: Duration = Duration::from_secs(8);
    let admin = voice.wait_until_ready().ok()?.1;
    let time = stage.workshop.time;
    let before = broker::view(admin).ok()?.generation;
    armed.store(true, Ordering::SeqCst);
    broker::renew(admin).ok()?;
    let until = time.now() + LONGEST;
    let known = stage.request_count();
    stage.wait_for_request(known, || time.now() < until && !process.wait_until(time.now()));
    while time.now() < until && broker::view(admin).ok()?.generation <= before {
        time.sleep(Duration::from_millis(20));
    }
    process.signal(rustix::process::Signal::TERM);
    Some(())
}

fn shows(ended: &Ended) -> bool {
    !ended.printed.is_empty()
}

/// What the process does that lets itself be traced: it becomes the command that follows.
pub(crate) fn offer(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> String {
    let Some(program) = arguments.next() else { return "no command follows".to_owned() };
    if let Err(why) = tracer::offer() {
        return why;
    }
    let mut command = std::process::Command::new(program);
    if std::env::current_exe().is_ok_and(|own| own.as_os_str() == command.get_program()) {
        command.arg0(crate::ALIAS);
    }
    command.args(arguments).exec().to_string()
}
