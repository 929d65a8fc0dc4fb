//! SIGKILL at a random microsecond of a renewal.
//!
//! A point is drawn from its seed alone: how many processes renew and how, how slow the server is
//! and whether it loses the answer, who is killed and when, and who comes afterwards. When exactly
//! the kill falls is up to the machine; so a point that failed may take some repetitions.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use bellwether_simulation::{Chance, Effect, Entry};
use rustix::process::Signal;

use crate::broker::Broker;
use crate::class::Class;
use crate::evidence::{Evidence, Harm, Phase};
use crate::pace::Pace;
use crate::plant::Plant;
use crate::process::{Ended, Process};
use crate::settle::{Disturbed, Way};
use crate::stage::{Rules, Stage, Workshop};
use crate::tally::Tally;

/// One point, as its seed draws it.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    seed: u64,
    class: Class,
    cast: Cast,
    expires_in: u64,
    latency: Duration,
    effect: Option<Effect>,
    aim: Aim,
    /// Whether the first process that comes afterwards is killed as well.
    twice: bool,
    way: Way,
}

/// Who renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cast {
    /// So many `bellwether token` at once; this one is killed.
    Tokens { count: u64, victim: u64 },
    /// `bellwether serve`, told to renew, with so many `bellwether token` beside it. It is killed.
    Serve { tokens: u64 },
    /// `bellwether serve`, killed while it starts on a token that has run out.
    StartingServe,
}

/// When the kill falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// At this share of what a renewal takes, in thousandths.
    Share(u64),
    /// So long after a request arrived, in thousandths of the latency.
    Flight(u64),
    /// So many microseconds after the answer left, from half a millisecond before it.
    Answer(u64),
}

/// A point's outcome.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) complaints: Vec<String>,
    /// How long after the answer left a kill still cost the family, where it did.
    pub(crate) lag: Option<Duration>,
}

impl Outcome {
    /// Adds what the processes said last, and keeps the stage.
    pub(crate) fn explain(&mut self, stage: Stage<'_>) {
        let requests = stage.requests_since(Timestamp::ZERO);
        let began = requests.first().map(|request| request.at).unwrap_or_default();
        let line = |request: &Entry| {
            let (at, verdict) = (request.at.since(began).as_millis(), request.verdict);
            let number = |serial: Option<u64>| serial.map_or("–".to_owned(), |n| n.to_string());
            let (shown, got) = (number(request.shown), number(request.refresh));
            format!("{at} ms {shown}→{got} {verdict:?}")
        };
        let lines: Vec<String> = requests.iter().map(line).collect();
        self.complaints.push(format!("  ledger: {}", lines.join(", ")));
        let said = stage.said();
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        self.complaints.extend(last.iter().rev().map(|line| format!("  said: {line}")));
        self.complaints.push(format!("  kept: {}", stage.keep().display()));
    }
}

impl Point {
    /// The point with this seed.
    pub(crate) fn draw(seed: u64, class: Class) -> Self {
        let mut chance = Chance::new(seed);
        let cast = match chance.below(100) {
            0..45 => Cast::Tokens { count: 1, victim: 0 },
            45..80 => {
                let count = 2 + chance.below(3);
                Cast::Tokens { count, victim: chance.below(count) }
            }
            80..95 => Cast::Serve { tokens: chance.below(3) },
            _ => Cast::StartingServe,
        };
        let expires_in = match cast {
            Cast::Tokens { .. } => chance.below(3) / 2,
            Cast::StartingServe => 1,
            // In R1 a broker in doubt waits for the end of the token that it still holds.
            Cast::Serve { .. } if class.may_lose() => 2,
            Cast::Serve { .. } => 60,
        };
        let latency = match chance.below(3) {
            0 => Duration::ZERO,
            1 => Duration::from_micros(chance.below(3_000)),
            _ => Duration::from_micros(chance.below(25_000)),
        };
        let effect = match chance.below(20) {
            0 => Some(Effect::LostAnswer),
            1 => Some(Effect::BreakOff { after_bytes: chance.below(200) as usize }),
            2 => Some(Effect::Close),
            3 => Some(Effect::status(503)),
            4 => Some(Effect::Answer {
                status: 502,
                retry_after: None,
                content_type: "text/html".to_owned(),
                body: b"<html>bad gateway</html>".to_vec(),
                processed: true,
            }),
            _ => None,
        };
        let aim = match chance.below(10) {
            0..5 => Aim::Share(chance.below(1_100)),
            5..7 => Aim::Flight(chance.below(1_000)),
            _ => Aim::Answer(chance.below(8_000)),
        };
        let way = match cast {
            Cast::Serve { .. } => Way::Serve,
            _ if chance.below(2) == 0 => Way::Serve,
            Cast::Tokens { .. } | Cast::StartingServe => Way::Token,
        };
        let twice = chance.below(8) == 0;
        Self { seed, class, cast, expires_in, latency, effect, aim, twice, way }
    }

    /// Plays it. What goes wrong outside the processes under test is an error.
    pub(crate) fn play(
        &self,
        workshop: &Workshop,
        pace: &Pace,
        plant: Option<Plant>,
    ) -> Result<Outcome, String> {
        let rules = Rules {
            class: self.class,
            expires_in: self.expires_in,
            latency: self.latency,
            seed: self.seed,
        };
        let stage = Stage::new(workshop, rules)?;
        let mut outcome = Outcome::default();
        outcome.tally.points = 1;
        let result = self.act(&stage, pace, plant, &mut outcome);
        if result.is_err() || !outcome.complaints.is_empty() {
            outcome.explain(stage);
        }
        result.map(|()| outcome)
    }

    fn act(
        &self,
        stage: &Stage<'_>,
        pace: &Pace,
        plant: Option<Plant>,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let time = stage.workshop.time;
        let first = stage.token()?;
        if first.result().is_none() {
            return Err(format!("the first token did not come: {}", stage.said()));
        }
        pace.note(first.took.saturating_sub(self.latency));
        if self.expires_in <= 2 {
            // Until it is due; sometimes to its very end.
            let due = Duration::from_millis(
                self.expires_in * if self.way == Way::Token { 720 } else { 1050 },
            );
            if !matches!(self.cast, Cast::Serve { .. }) {
                time.sleep(due);
            }
        }
        let since = time.now();
        if let Some(plant) = plant {
            let complaints = plant.sow(stage)?;
            let deaf = plant == Plant::Deaf;
            let disturbed = Disturbed { stage, since, harms: Vec::new(), complaints, deaf };
            let way = if deaf { Way::Serve } else { Way::Token };
            outcome.complaints = disturbed.settle(way, &mut outcome.tally);
            return Ok(());
        }
        if let Some(effect) = &self.effect {
            stage.fault(1, effect.clone());
        }
        let mut harms = Vec::new();
        let mut complaints = Vec::new();
        self.strike(stage, pace, &mut harms, &mut complaints)?;
        stage.end_faults();
        if self.twice {
            let second = stage.start_token()?;
            let at = second.started + pace.share(self.seed % 1_000);
            if !second.wait_until(at) {
                harms.push(kill(second, stage)?);
            }
        }
        let evidence = Evidence {
            class: self.class,
            latency: self.latency,
            requests: stage.requests_since(since),
            harms: harms.clone(),
        };
        let phase = harms.first().map(|harm| evidence.phase(harm));
        match phase {
            None => outcome.tally.missed += 1,
            Some(Phase::Before) => outcome.tally.before += 1,
            Some(Phase::During) => outcome.tally.during += 1,
            Some(Phase::After(_)) => outcome.tally.after += 1,
        }
        outcome.tally.stuck += complaints.len() as u64;
        let disturbed = Disturbed { stage, since, harms, complaints, deaf: false };
        outcome.complaints = disturbed.settle(self.way, &mut outcome.tally);
        if let Some(Phase::After(lag)) = phase
            && outcome.tally.lost > 0
            && self.effect.is_none()
            && !self.twice
        {
            outcome.lag = Some(lag);
        }
        Ok(())
    }

    /// Starts the cast and kills its victim.
    fn strike(
        &self,
        stage: &Stage<'_>,
        pace: &Pace,
        harms: &mut Vec<Harm>,
        complaints: &mut Vec<String>,
    ) -> Result<(), String> {
        match self.cast {
            Cast::Tokens { count, victim } => {
                let known = stage.request_count();
                let mut others = Vec::new();
                let mut chosen = None;
                for number in 0..count {
                    let process = stage.start_token()?;
                    if number == victim {
                        chosen = Some(process);
                    } else {
                        others.push(process);
                    }
                }
                let Some(victim) = chosen else { return Ok(()) };
                let from = victim.started;
                if !self.wait_for_moment(stage, pace, known, from, &victim) {
                    harms.push(kill(victim, stage)?);
                }
                self.hear(stage, others, harms, complaints);
            }
            Cast::Serve { tokens } => {
                let broker = stage.serve()?;
                let known = stage.request_count();
                let from = stage.workshop.time.now();
                broker.renew()?;
                let others: Result<Vec<Process>, String> =
                    (0..tokens).map(|_| stage.start_token()).collect();
                if !self.wait_for_moment(stage, pace, known, from, &broker.process) {
                    harms.push(kill_broker(broker, stage)?);
                }
                self.hear(stage, others?, harms, complaints);
            }
            Cast::StartingServe => {
                let known = stage.request_count();
                let broker = stage.start_serve()?;
                let from = broker.process.started;
                if !self.wait_for_moment(stage, pace, known, from, &broker.process) {
                    harms.push(kill_broker(broker, stage)?);
                }
            }
        }
        Ok(())
    }

    /// Waits for the moment that the point aims at. Whether the victim has ended before.
    fn wait_for_moment(
        &self,
        stage: &Stage<'_>,
        pace: &Pace,
        known: u64,
        from: Timestamp,
        victim: &Process,
    ) -> bool {
        let time = stage.workshop.time;
        // A broker that is asked to renew has begun before.
        let whole = match self.cast {
            Cast::Tokens { .. } | Cast::StartingServe => pace.whole(),
            Cast::Serve { .. } => pace.whole() / 2,
        };
        let at = match self.aim {
            Aim::Share(share) => {
                let whole = whole + self.latency;
                from + whole.mul_f64(share as f64 / 1_000.0)
            }
            Aim::Flight(_) | Aim::Answer(_) => {
                let latest = from + Duration::from_secs(3);
                let may_come = || time.now() < latest && !victim.wait_until(time.now());
                let Some(arrived) = stage.wait_for_request(known, may_come) else {
                    return victim.wait_until(time.now());
                };
                match self.aim {
                    Aim::Flight(share) => arrived + self.latency.mul_f64(share as f64 / 1_000.0),
                    Aim::Answer(micros) => {
                        (arrived + self.latency + Duration::from_micros(micros))
                            - Duration::from_micros(500)
                    }
                    Aim::Share(_) => arrived,
                }
            }
        };
        victim.wait_until(at)
    }

    /// Waits for those whom nothing befell: they are to succeed, unless the family is gone.
    fn hear(
        &self,
        stage: &Stage<'_>,
        others: Vec<Process>,
        harms: &[Harm],
        complaints: &mut Vec<String>,
    ) {
        let since = others.first().map(|other| other.started);
        let ends: Vec<Result<Ended, String>> = others.into_iter().map(Process::end).collect();
        let evidence = Evidence {
            class: self.class,
            latency: self.latency,
            requests: since.map_or_else(Vec::new, |since| stage.requests_since(since)),
            harms: harms.to_vec(),
        };
        for ended in ends {
            match ended {
                Ok(ended) if ended.result().is_some() || evidence.excuses_loss() => {}
                Ok(ended) => complaints.push(format!(
                    "a process that nothing befell failed ({}) after {:?}",
                    ended.status, ended.took
                )),
                Err(why) => complaints.push(why),
            }
        }
    }
}

fn kill(victim: Process, stage: &Stage<'_>) -> Result<Harm, String> {
    let since = victim.started;
    victim.signal(Signal::KILL);
    let at = stage.workshop.time.now();
    let showed = !victim.end()?.printed.is_empty();
    Ok(Harm { since, at, showed, heard: stage.heard()? })
}

fn kill_broker(victim: Broker, stage: &Stage<'_>) -> Result<Harm, String> {
    let since = victim.process.started;
    victim.process.signal(Signal::KILL);
    let at = stage.workshop.time.now();
    victim.kill()?;
    Ok(Harm { since, at, showed: false, heard: stage.heard()? })
}
