//! What a run found: counts, failures with the command that repeats each, and the report.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::class::Class;
use crate::crashes::Outcome;
use crate::tally::{LEGEND, Tallies};

/// A run that fails this often has made its point.
const ENOUGH: usize = 200;
/// Failures of one kind that are shown at once.
const SHOWN: u64 = 3;

/// Everything found so far.
#[derive(Debug, Default)]
pub(crate) struct Score {
    pub(crate) tallies: Tallies,
    failures: Vec<Value>,
    kinds: BTreeMap<String, u64>,
    lags: Vec<Duration>,
    /// Where families were lost that nobody could keep.
    pub(crate) losses: BTreeMap<String, u64>,
    /// Failures are meant to be: not shown one by one.
    pub(crate) silent: bool,
}

impl Score {
    /// Takes in a point; `replay` is the command that repeats it. Whether to go on.
    pub(crate) fn take(
        &mut self,
        class: Class,
        outcome: Result<Outcome, String>,
        replay: impl FnOnce() -> String,
    ) -> bool {
        let complaints = match outcome {
            Ok(outcome) => {
                self.tallies.add(class, outcome.tally);
                self.lags.extend(outcome.lag);
                outcome.complaints
            }
            Err(why) => vec![format!("the harness failed: {why}")],
        };
        if let Some(kind) = complaints.first() {
            let replay = replay();
            let known = self.kinds.entry(kind.clone()).or_insert(0);
            *known += 1;
            if *known <= SHOWN && !self.silent {
                eprintln!("{replay}\n  {}", complaints.join("\n  "));
            }
            self.failures.push(json!({ "replay": replay, "complaints": complaints }));
        }
        self.silent || self.failures.len() < ENOUGH
    }

    /// Prints the report; whether all is well. `what` says what was done.
    pub(crate) fn report(
        &mut self,
        what: &str,
        took: Duration,
        further: Value,
        as_json: bool,
    ) -> bool {
        self.lags.sort_unstable();
        let latest = self.lags.last().map(|lag| lag.as_secs_f64() * 1_000.0);
        let violations = self.tallies.violations();
        if as_json {
            let mut document = json!({
                "what": what,
                "seconds": took.as_secs_f64(),
                "classes": self.tallies,
                "violations": violations,
                "latest_loss_ms": latest,
                "lost_at": self.losses,
                "failures": self.failures,
            });
            if let (Some(document), Value::Object(further)) = (document.as_object_mut(), further) {
                document.extend(further);
            }
            println!("{document}");
        } else {
            println!("{}\n{LEGEND}", self.tallies.table());
            for (kind, count) in &self.kinds {
                println!("{count} × {kind}");
            }
            for (call, count) in &self.losses {
                println!("lost at: {call} ({count})");
            }
            if let Some(latest) = latest {
                println!(
                    "R1: the latest kill that cost a family fell {latest:.1} ms after the answer left"
                );
            }
            let points: u64 = self.tallies.0.values().map(|tally| tally.points).sum();
            println!("{points} {what} in {:.1} s", took.as_secs_f64());
        }
        self.failures.is_empty() && violations == 0
    }
}
