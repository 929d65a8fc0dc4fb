//! Runs the whole-system simulation over a range of seeds and says what came of it.
//!
//! ```text
//! cargo run --release -p bellwether-simulation --example simulate -- --seeds 0..1000
//! ```

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use bellwether_simulation::system::{Fault, Mistake, Options, Totals, run};

struct Wish {
    from: u64,
    until: u64,
    options: Options,
    json: bool,
    lines: usize,
    /// Only lines about this credential, and those about none.
    credential: Option<u64>,
}

const USAGE: &str =
    "simulate [--seeds FROM..UNTIL | --seed N] [--hours N] [--mistake NAME] [--lines N] [--json]";

fn main() -> ExitCode {
    let wish = match parse(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut totals = Totals::default();
    let mut failed = Vec::new();
    let shows = std::io::stderr().is_terminal();
    for seed in wish.from..wish.until {
        let run = run(seed, wish.options);
        totals.add(&run.totals);
        if shows && seed % 64 == 0 {
            let (done, all) = (seed - wish.from, wish.until - wish.from);
            eprint!("\r{done} of {all} runs, {} violations", failed.len());
            // Nobody misses a line of progress.
            let _ = std::io::stderr().flush();
        }
        if let Some(violation) = run.violation {
            failed.push((seed, violation));
            // One shows what a mistake does.
            if wish.options.mistake.is_some() {
                break;
            }
        }
    }
    if shows {
        eprint!("\r{:60}\r", "");
    }
    if wish.json {
        tell_json(&wish, &totals, failed.len());
    } else {
        tell(&totals);
    }
    if let Some((seed, violation)) = failed.first() {
        explain(*seed, &wish);
        for (seed, violation) in failed.iter().take(40) {
            println!("seed {seed}: {}: {}", violation.invariant, violation.what);
        }
        println!(
            "{} runs failed; first: {} ({})",
            failed.len(),
            violation.what,
            violation.invariant
        );
        let hours = wish.options.length.as_secs_f64() / 3600.0;
        println!(
            "cargo run --release -p bellwether-simulation --example simulate -- --seed {seed} --hours {hours}"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The last lines of a failing run.
fn explain(seed: u64, wish: &Wish) {
    let traced = run(seed, Options { is_traced: true, ..wish.options });
    let about = |line: &&String| {
        let name = line.split_whitespace().skip(1).take(2).find(|word| word.starts_with('c'));
        let number = name.and_then(|name| name[1..].parse().ok());
        wish.credential.is_none() || number.is_none() || number == wish.credential
    };
    let lines: Vec<&String> = traced.trace.iter().filter(about).collect();
    for line in &lines[lines.len().saturating_sub(wish.lines)..] {
        println!("{line}");
    }
}

fn tell(totals: &Totals) {
    let hours = totals.simulated.as_secs_f64() / 3600.0;
    let rows = [
        ("runs", totals.runs),
        ("simulated hours", hours as u64),
        ("lifecycle events", totals.events),
        ("renewals begun", totals.flights),
        ("renewals with a token", totals.renewals),
        ("token requests", totals.requests),
        ("tokens given to callers", totals.served),
        ("authorised again", totals.reauthorised),
        ("faults", totals.fault_count()),
    ];
    for (name, count) in rows {
        println!("{name:<28}{count:>16}");
    }
    for (fault, count) in totals.faults() {
        println!("  {:<26}{count:>16}", fault.to_string());
    }
}

fn tell_json(wish: &Wish, totals: &Totals, violations: usize) {
    let faults: serde_json::Map<String, serde_json::Value> =
        totals.faults().map(|(fault, count)| (fault.to_string(), count.into())).collect();
    let told = serde_json::json!({
        "seeds": [wish.from, wish.until],
        "runs": totals.runs,
        "simulated_hours": totals.simulated.as_secs_f64() / 3600.0,
        "events": totals.events,
        "flights": totals.flights,
        "renewals": totals.renewals,
        "requests": totals.requests,
        "served": totals.served,
        "reauthorised": totals.reauthorised,
        "faults": faults,
        "fault_count": totals.fault_count(),
        "violations": violations,
    });
    println!("{told:#}");
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut wish = Wish {
        from: 0,
        until: 100,
        options: Options::default(),
        json: false,
        lines: 60,
        credential: None,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => {
                let value = value()?;
                let (from, until) = value.split_once("..").ok_or("--seeds is FROM..UNTIL")?;
                (wish.from, wish.until) = (number(from)?, number(until)?);
            }
            "--seed" => {
                wish.from = number(&value()?)?;
                wish.until = wish.from + 1;
            }
            "--hours" => {
                let hours: f64 = value()?.parse().map_err(|_| "--hours is a number")?;
                wish.options.length = Duration::from_secs_f64(hours * 3600.0);
            }
            "--lines" => wish.lines = number(&value()?)? as usize,
            "--credential" => wish.credential = Some(number(&value()?)?),
            "--without" => {
                let name = value()?;
                let fault = Fault::ALL.into_iter().find(|known| known.to_string() == name);
                wish.options.without |=
                    1 << fault.ok_or(format!("no fault is called {name}"))? as u64;
            }
            "--mistake" => {
                let name = value()?;
                let mistake = Mistake::ALL.into_iter().find(|known| format!("{known:?}") == name);
                wish.options.mistake = Some(mistake.ok_or(format!("no mistake is called {name}"))?);
            }
            "--json" => wish.json = true,
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(wish)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
