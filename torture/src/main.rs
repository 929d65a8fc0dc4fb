//! Kills, pauses and starves real `bellwether` processes, and lets the authorization server judge.
//!
//! A *point* is one renewal that is disturbed at one place. Afterwards a clean process must get a
//! token, and the ledger of the simulated authorization server, which survives every kill, says
//! whether a refresh token was lost or sent twice. What class R1 cannot promise must be told.
//!
//! ```text
//!   point ──starts──▶ bellwether token, serve … ──token requests──▶ judge (a lab, here)
//!     │ kills, pauses, makes system calls fail                        │
//!     └─────────── evidence: ledger, what was printed, /v1/credentials ┘ ──▶ tally
//! ```

mod boundaries;
mod broker;
mod cancels;
mod class;
mod clocks;
mod crashes;
mod crowd;
mod evidence;
mod hostile;
mod http;
mod lanes;
mod pace;
mod pauses;
mod plant;
mod process;
mod run;
mod score;
mod settle;
mod stage;
mod tally;
mod time;
mod tracer;
mod worker;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

/// Started under this name, the program is `bellwether` itself.
pub(crate) const ALIAS: &str = "bellwether";

fn main() -> ExitCode {
    let name = std::env::args_os().next();
    let is_alias = name.as_deref().is_some_and(|name| Path::new(name).ends_with(ALIAS));
    if is_alias {
        return bellwether_cli::run();
    }
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    if first.as_deref().is_some_and(|first| first == boundaries::OFFER) {
        eprintln!("{}", boundaries::offer(arguments));
        return ExitCode::FAILURE;
    }
    if let (true, Some(directory), Some(url)) = (
        first.is_some_and(|first| first == worker::WORK),
        arguments.next(),
        arguments.next().and_then(|url| url.into_string().ok()),
    ) {
        return match worker::work(Path::new(&directory), &url) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    run::CommandLine::parse().run()
}
