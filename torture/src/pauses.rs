//! SIGSTOP of whoever renews, at a random moment, while others want a token too.
//!
//! A holder that is paused for less than the lease's margin may go on as if nothing had happened:
//! nobody has taken over. One that is paused for longer may send a refresh token that its successor
//! has sent as well; nothing can prevent that, but it must be noticed.

use std::time::Duration;

use bellwether_simulation::Chance;
use rustix::process::Signal;

use crate::class::Class;
use crate::crashes::Outcome;
use crate::evidence::{Evidence, Harm, Phase};
use crate::pace::Pace;
use crate::process::Process;
use crate::settle::{Disturbed, Way};
use crate::stage::{Rules, Stage, Workshop};

/// Pauses that begin with the answer under way reach so far beyond it.
const AFTER_ANSWER: Duration = Duration::from_millis(8);

/// One pause, as its seed draws it.
#[derive(Clone, Debug)]
pub(crate) struct Pause {
    class: Class,
    seed: u64,
    latency: Duration,
    /// When it falls, in thousandths of what a renewal takes.
    share: u64,
    /// Instead, so long after the request arrived.
    flight: Option<Duration>,
    length: Duration,
    /// How many others want a token meanwhile, in thousandths of its length apart.
    others: u64,
    longer: bool,
}

impl Pause {
    /// The pause with this seed. `margin` is how long a lease outlives a request's deadline.
    pub(crate) fn draw(seed: u64, class: Class, margin: Duration, longer: bool) -> Self {
        let mut chance = Chance::new(seed);
        let latency = Duration::from_micros(chance.below(20_000));
        let share = chance.below(850);
        let part = chance.below(1_000) as f64 / 1_000.0;
        let length = if longer {
            // Past the end of the lease itself, which is as long again.
            margin.mul_f64(2.1 + part)
        } else {
            margin.mul_f64(0.75 * part)
        };
        let others = 1 + chance.below(2);
        let within = (latency + AFTER_ANSWER).as_micros();
        let within = chance.below(u64::try_from(within).unwrap_or(u64::MAX));
        let flight = (chance.below(3) == 0).then(|| Duration::from_micros(within));
        Self { class, seed, latency, share, flight, length, others, longer }
    }

    /// Plays it.
    pub(crate) fn play(&self, workshop: &Workshop, pace: &Pace) -> Result<Outcome, String> {
        let rules =
            Rules { class: self.class, expires_in: 0, latency: self.latency, seed: self.seed };
        let stage = Stage::new(workshop, rules)?;
        let mut outcome = Outcome::default();
        outcome.tally.points = 1;
        self.act(&stage, pace, &mut outcome)?;
        if !outcome.complaints.is_empty() {
            outcome.explain(stage);
        }
        Ok(outcome)
    }

    fn act(&self, stage: &Stage<'_>, pace: &Pace, outcome: &mut Outcome) -> Result<(), String> {
        let time = stage.workshop.time;
        let first = stage.token()?;
        if first.result().is_none() {
            return Err(format!("the first token did not come: {}", stage.said()));
        }
        pace.note(first.took.saturating_sub(self.latency));
        let since = time.now();
        let known = stage.request_count();
        let holder = stage.start_token()?;
        let whole = pace.whole() + self.latency;
        let at = match self.flight {
            Some(flight) => {
                let latest = holder.started + Duration::from_secs(3);
                let may_come = || time.now() < latest && !holder.wait_until(time.now());
                stage.wait_for_request(known, may_come).unwrap_or(latest) + flight
            }
            None => holder.started + whole.mul_f64(self.share as f64 / 1_000.0),
        };
        if holder.wait_until(at) {
            outcome.tally.missed += 1;
        }
        holder.signal(Signal::STOP);
        let paused = time.now();
        let mut others = Vec::new();
        for _ in 0..self.others {
            others.push(stage.start_token()?);
            time.sleep(self.length / 4);
        }
        time.sleep_until(paused + self.length);
        holder.signal(Signal::CONT);
        let mut harms = Vec::new();
        let began = holder.started;
        others.insert(0, holder);
        let ends: Vec<_> = others.into_iter().map(Process::end).collect();
        let at = time.now();
        let harm = Harm { since: began, at, showed: false, heard: at };
        if self.longer {
            harms.push(harm);
        }
        let evidence = Evidence {
            class: self.class,
            latency: self.latency,
            requests: stage.requests_since(since),
            harms: harms.clone(),
        };
        match evidence.phase(&Harm { at: paused, ..harm }) {
            _ if outcome.tally.missed > 0 => {}
            Phase::Before => outcome.tally.before += 1,
            Phase::During => outcome.tally.during += 1,
            Phase::After(_) => outcome.tally.after += 1,
        }
        let mut complaints = Vec::new();
        for ended in ends {
            match ended {
                Ok(ended) if ended.result().is_some() || evidence.excuses_loss() => {}
                Ok(ended) => {
                    outcome.tally.stuck += 1;
                    let took = ended.took;
                    complaints.push(format!("{} after {took:?}, beside a pause", ended.status));
                }
                Err(why) => {
                    outcome.tally.stuck += 1;
                    complaints.push(why);
                }
            }
        }
        let disturbed = Disturbed { stage, since, harms, complaints, deaf: false };
        outcome.complaints = disturbed.settle(Way::Token, &mut outcome.tally);
        if self.longer && outcome.tally.replayed > 0 {
            let said = stage.said();
            let noticed = ["a later holder has the lease", "lease was lost", "in_doubt"];
            if !noticed.iter().any(|words| said.contains(words)) {
                outcome.tally.dishonest += 1;
                outcome.complaints.push("a double use that nobody noticed".to_owned());
            }
        }
        Ok(())
    }
}
