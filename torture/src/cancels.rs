//! Callers that go away while the renewal that they wait for is under way, and brokers that are
//! told to stop meanwhile: the renewal is nobody's but the broker's, and its answer is kept.

use std::time::Duration;

use bellwether_simulation::Chance;
use rustix::process::Signal;

use crate::class::Class;
use crate::crashes::Outcome;
use crate::evidence::{Evidence, Harm, Phase};
use crate::settle::{Disturbed, Way};
use crate::stage::{Rules, Stage, Workshop};

/// One renewal whose callers go away, as its seed draws it.
#[derive(Clone, Debug)]
pub(crate) struct Cancel {
    class: Class,
    seed: u64,
    latency: Duration,
    /// Callers by HTTP, whose connections are closed.
    callers: u64,
    /// Callers by `bellwether token`, which are killed.
    commands: u64,
    /// So long after the first request arrived, or after the start if none comes.
    after: Duration,
    /// Whether the broker is told to stop as well.
    stops: bool,
}

impl Cancel {
    /// The one with this seed.
    pub(crate) fn draw(seed: u64, class: Class) -> Self {
        let mut chance = Chance::new(seed);
        let latency = Duration::from_micros(5_000 + chance.below(40_000));
        Self {
            class,
            seed,
            latency,
            callers: 1 + chance.below(4),
            commands: chance.below(3),
            after: latency.mul_f64(chance.below(1_300) as f64 / 1_000.0),
            stops: chance.below(2) == 0,
        }
    }

    /// Plays it.
    pub(crate) fn play(&self, workshop: &Workshop) -> Result<Outcome, String> {
        let rules =
            Rules { class: self.class, expires_in: 0, latency: self.latency, seed: self.seed };
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
        let time = stage.workshop.time;
        if stage.token()?.result().is_none() {
            return Err(format!("the first token did not come: {}", stage.said()));
        }
        let since = time.now();
        let known = stage.request_count();
        // It renews at once: what it finds has run out.
        let broker = stage.serve()?;
        let callers: Result<Vec<_>, String> =
            (0..self.callers).map(|_| broker.begin_to_ask()).collect();
        let callers = callers?;
        let commands: Result<Vec<_>, String> =
            (0..self.commands).map(|_| stage.start_token()).collect();
        let until = time.now() + Duration::from_secs(3);
        stage.wait_for_request(known, || time.now() < until);
        time.sleep(self.after);
        let gone = time.now();
        drop(callers);
        for command in commands? {
            command.kill()?;
        }
        let evidence = Evidence {
            class: self.class,
            latency: self.latency,
            requests: stage.requests_since(since),
            harms: Vec::new(),
        };
        match evidence.phase(&Harm { since, at: gone, showed: true, heard: gone }) {
            Phase::Before => outcome.tally.before += 1,
            Phase::During => outcome.tally.during += 1,
            Phase::After(_) => outcome.tally.after += 1,
        }
        let mut complaints = Vec::new();
        if !self.stops {
            let until = time.now() + Duration::from_secs(10);
            while broker.view()?.state != "fresh" && time.now() < until {
                time.sleep(Duration::from_millis(5));
            }
        }
        broker.process.signal(Signal::TERM);
        let ended = broker.end()?;
        if !ended.status.success() {
            outcome.tally.stuck += 1;
            complaints.push(format!("told to stop, it ended with {}", ended.status));
        }
        let disturbed = Disturbed { stage, since, harms: Vec::new(), complaints, deaf: false };
        outcome.complaints = disturbed.settle(Way::Token, &mut outcome.tally);
        Ok(())
    }
}
