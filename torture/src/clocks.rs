//! Time that jumps: a machine that was suspended counts on when it wakes, and so does a process in
//! a time namespace of its own. What a store keeps must end all the same.

use std::process::Command;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use bellwether_simulation::Chance;

use crate::class::Class;
use crate::crashes::Outcome;
use crate::process::Process;
use crate::settle::{Disturbed, Way};
use crate::stage::{NAME, Rules, Stage, Workshop};

/// How long tokens live in these points, and when they are no longer handed out.
const LIFETIME: u64 = 90;
const HANDED_OUT: u64 = 60;

/// One jump, as its seed draws it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    class: Class,
    seed: u64,
    seconds: u64,
}

impl Jump {
    /// The jump with this seed: shorter or longer than a token lives, up to ten years.
    pub(crate) fn draw(seed: u64, class: Class) -> Self {
        let mut chance = Chance::new(seed);
        let seconds = match chance.below(4) {
            0 => chance.below(HANDED_OUT - 20),
            1 => HANDED_OUT + chance.below(LIFETIME),
            2 => LIFETIME + chance.below(86_400),
            _ => chance.below(3650 * 86_400).max(LIFETIME),
        };
        Self { class, seed, seconds }
    }

    /// Whether this machine lets a process have a time of its own.
    pub(crate) fn is_possible() -> bool {
        let mut command = Command::new("unshare");
        command.args(["-T", "--boottime", "5", "--monotonic", "5", "--", "true"]);
        command.output().is_ok_and(|output| output.status.success())
    }

    /// Plays it.
    pub(crate) fn play(&self, workshop: &Workshop) -> Result<Outcome, String> {
        let latency = Duration::from_millis(1);
        let rules = Rules { class: self.class, expires_in: LIFETIME, latency, seed: self.seed };
        let stage = Stage::new(workshop, rules)?;
        let mut outcome = Outcome::default();
        outcome.tally.points = 1;
        self.act(&stage, &mut outcome)?;
        if !outcome.complaints.is_empty() {
            outcome.explain(stage);
        }
        Ok(outcome)
    }

    fn act(&self, stage: &Stage<'_>, outcome: &mut Outcome) -> Result<(), String> {
        let first = stage.token()?;
        let first = first.result().ok_or("the first token did not come")?.to_owned();
        let inner = stage.command(&["token", NAME])?;
        let seconds = self.seconds.to_string();
        let mut command = Command::new("unshare");
        command.args(["-T", "--boottime", &seconds, "--monotonic", &seconds, "--"]);
        // Under its own name: this program is told apart from what it tortures by that alone.
        let named = stage.path(crate::ALIAS);
        std::os::unix::fs::symlink(inner.get_program(), &named).map_err(|e| e.to_string())?;
        command.arg(named).args(inner.get_args()).current_dir(stage.path(""));
        command.env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let later = Process::start(command, stage.errors()?, stage.workshop.time)?.end()?;
        let requests = stage.requests_since(Timestamp::ZERO).len();
        let wrong = match later.result() {
            None => Some("after a jump no token came".to_owned()),
            Some(token) if self.seconds >= HANDED_OUT && (token == first || requests != 2) => Some(
                format!("{seconds} s later: {requests} requests, the same: {}", token == first),
            ),
            Some(token) if self.seconds < HANDED_OUT && (token != first || requests != 1) => {
                Some(format!("only {seconds} s later: {requests} requests"))
            }
            Some(_) => None,
        };
        outcome.tally.after += 1;
        outcome.tally.stuck += u64::from(wrong.is_some());
        let disturbed = Disturbed {
            stage,
            since: Timestamp::ZERO,
            harms: Vec::new(),
            complaints: wrong.into_iter().collect(),
            deaf: false,
        };
        outcome.complaints = disturbed.settle(Way::Serve, &mut outcome.tally);
        Ok(())
    }
}
