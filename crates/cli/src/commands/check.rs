//! `bellwether check`: is the configuration good?

mod online;
mod promise;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, load_configuration, print_result};
use crate::configuration::{Configuration, ConfigurationError, Environment, Problem};

/// Check a configuration; what is wrong is told with its line
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The configuration; else $BELLWETHER_CONFIG, ./bellwether.toml, or the user's own
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Also request a token for each credential whose grant is not spent by it
    #[arg(long)]
    online: bool,
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        let outcome = load_configuration(self.config.as_deref(), environment);
        match outcome {
            Ok(configuration) => {
                let tried =
                    if self.online { online::try_each(&configuration)? } else { Vec::new() };
                let promises = promise::promises(&configuration);
                if self.json {
                    print_result(&good(&configuration, &promises, &tried).to_string())?;
                } else {
                    print_result(&summary(&configuration))?;
                    promises.iter().try_for_each(|promise| print_result(&promise.line()))?;
                    tried.iter().try_for_each(|tried| print_result(&tried.line()))?;
                }
                let failed = tried.iter().any(online::Tried::failed);
                if failed { Err(Failure::Told { exit_status: 1 }) } else { Ok(()) }
            }
            Err(Failure::Configuration(error)) if self.json => {
                print_result(&bad(&error).to_string())?;
                Err(Failure::Told { exit_status: 2 })
            }
            Err(Failure::Usage(message)) if self.json => {
                print_result(&nothing_to_check(&message).to_string())?;
                Err(Failure::Told { exit_status: 2 })
            }
            Err(failure) => Err(failure),
        }
    }
}

fn summary(configuration: &Configuration) -> String {
    format!(
        "{}: good; {}, {}, {}",
        configuration.file.display(),
        count(configuration.authorization_servers.len(), "authorization server"),
        count(configuration.credentials.len(), "credential"),
        count(configuration.callers.len(), "caller"),
    )
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn good(
    configuration: &Configuration,
    promises: &[promise::Promise],
    tried: &[online::Tried],
) -> Value {
    json!({
        "ok": !tried.iter().any(online::Tried::failed),
        "online": tried,
        "rotation": promises,
        "file": shown(&configuration.file),
        "errors": [],
        "authorization_servers": configuration.authorization_servers.len(),
        "credentials": configuration.credentials.len(),
        "callers": configuration.callers.len(),
    })
}

fn bad(error: &ConfigurationError) -> Value {
    let file = shown(error.file());
    let problems = error.problems().iter();
    let errors: Vec<_> = problems.map(|problem| told(&file, problem)).collect();
    json!({ "ok": false, "file": file, "errors": errors })
}

fn nothing_to_check(message: &str) -> Value {
    let error = json!({
        "file": null, "line": null, "column": null, "key": "", "message": message,
    });
    json!({ "ok": false, "file": null, "errors": [error] })
}

fn told(file: &str, problem: &Problem) -> Value {
    json!({
        "file": file,
        "line": problem.position.map(|position| position.line),
        "column": problem.position.map(|position| position.column),
        "key": problem.key,
        "message": problem.message,
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
