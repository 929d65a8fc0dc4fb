//! The commands, and what their outcome means to the caller.

mod brokered;
mod check;
mod demo;
mod doctor;
mod endpoints;
mod grants;
mod lab;
mod login;
mod logout;
mod poll;
mod serve;
mod stage;
mod status;
mod token;
mod top;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::configuration::{Configuration, ConfigurationError, Environment, location};
use crate::tell::tell;

/// Keeps OAuth 2.0 access tokens fresh for everything that shares a client.
#[derive(Debug, Parser)]
#[command(name = "bellwether", version, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(Box<serve::Serve>),
    Token(token::Token),
    Login(login::Login),
    Logout(logout::Logout),
    Check(check::Check),
    Status(status::Status),
    Top(top::Top),
    Poll(Box<poll::Poll>),
    Lab(lab::Lab),
    Doctor(doctor::Doctor),
}

impl Command {
    fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        match self {
            Self::Demo(demo) => demo.run(environment),
            Self::Serve(serve) => serve.run(environment),
            Self::Token(token) => token.run(environment),
            Self::Login(login) => login.run(environment),
            Self::Logout(logout) => logout.run(environment),
            Self::Check(check) => check.run(environment),
            Self::Status(status) => status.run(environment),
            Self::Top(top) => top.run(environment),
            Self::Poll(poll) => poll.run(environment),
            Self::Lab(lab) => lab.run(environment),
            Self::Doctor(doctor) => doctor.run(),
        }
    }
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let command_line = CommandLine::parse();
    let outcome = command_line.command.run(&|name| std::env::var_os(name));
    if let Err(failure) = &outcome {
        failure.tell();
    }
    ExitCode::from(exit_status(&outcome))
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
enum Failure {
    /// The configuration cannot be used.
    Configuration(ConfigurationError),
    /// Something is wrong with how the command was called.
    Usage(String),
    /// It was tried and failed.
    Failed(String),
    /// The result that was printed says it all.
    Told {
        /// 1 or 2.
        exit_status: u8,
    },
}

/// 0 done, 1 failed, 2 wrong usage or configuration.
fn exit_status(outcome: &Result<(), Failure>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(Failure::Failed(_)) => 1,
        Err(Failure::Configuration(_) | Failure::Usage(_)) => 2,
        Err(Failure::Told { exit_status }) => *exit_status,
    }
}

impl Failure {
    fn tell(&self) {
        match self {
            Self::Configuration(error) => tell!("{error}"),
            Self::Usage(message) | Self::Failed(message) => tell!("error: {message}"),
            Self::Told { .. } => {}
        }
    }
}

/// The file to use as configuration.
fn find_configuration(
    flag: Option<&Path>,
    environment: Environment<'_>,
) -> Result<PathBuf, Failure> {
    location::find(flag, environment).map_err(|looked| {
        let looked: Vec<_> = looked.iter().map(|path| path.display().to_string()).collect();
        Failure::Usage(format!(
            "there is no configuration; write one to {}, or name it with --config or \
             $BELLWETHER_CONFIG",
            looked.join(" or ")
        ))
    })
}

/// The configuration to use.
fn load_configuration(
    flag: Option<&Path>,
    environment: Environment<'_>,
) -> Result<Configuration, Failure> {
    let path = find_configuration(flag, environment)?;
    Configuration::load(&path, environment).map_err(Failure::Configuration)
}

/// Prints a command's result on standard output; a reader that went away is no failure.
fn print_result(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the result cannot be written: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The runtime a command works in.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime does not start: {error}")))
}
