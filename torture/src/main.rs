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
mod cancels;
mod class;
mod crashes;
mod evidence;
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
    if std::env::args_os().nth(1).is_some_and(|first| first == boundaries::OFFER) {
        eprintln!("{}", boundaries::offer(std::env::args_os().skip(2)));
        return ExitCode::FAILURE;
    }
    run::CommandLine::parse().run()
}
