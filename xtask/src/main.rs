//! The checks of this repository, run by name: `cargo xtask test` is all of them.
//!
//! Each step is an ordinary command that anybody could type. What it prints is kept under
//! `target/checks/` and read once more at the end, for secrets that should not be there.

mod leaks;
mod steps;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The checks of this repository
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Everything that must hold before a change lands
    Test,
    /// House rules: lengths, words, leftovers
    Tidy,
    /// Formatting, lints and tests of the Rust code alone
    Rust,
    /// Real clients against the real binary; installs them where they are missing
    Interop,
    /// Real processes, killed and paused in the middle of renewals
    Torture,
}

fn main() -> ExitCode {
    let root = root();
    let checks = root.join("target").join("checks");
    let outcome = match CommandLine::parse().command {
        Command::Test => steps::all(&root, &checks),
        Command::Tidy => tidy::check(&root),
        Command::Rust => steps::rust(&root, &checks),
        Command::Interop => steps::interop(&root, &checks),
        Command::Torture => steps::torture(&root, &checks),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nfailed: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The repository: this package lies right below it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}
