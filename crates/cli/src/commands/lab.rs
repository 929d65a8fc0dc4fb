//! `bellwether lab`: a simulated authorization server and API, and scenarios against them.

mod built_in;
mod jmeter;
mod list;
mod page;
mod plan;
mod run;
mod serve;
mod sockets;
mod table;

use std::path::Path;

use bellwether_lab::Document;
use clap::{Args, Subcommand};

use super::{Failure, print_result};
use crate::configuration::Environment;

/// A simulated authorization server and API: scenarios, strategies compared, and a stage to try
/// things on
#[derive(Debug, Args)]
pub(super) struct Lab {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    Run(Box<run::LabRun>),
    List(list::LabList),
    Plan(plan::LabPlan),
    #[command(name = "jmeter")]
    JMeter(jmeter::LabJMeter),
    Serve(serve::LabServe),
}

impl Lab {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        match &self.command {
            LabCommand::Run(run) => run.run(),
            LabCommand::List(list) => list.run(),
            LabCommand::Plan(plan) => plan.run(),
            LabCommand::JMeter(jmeter) => jmeter.run(environment),
            LabCommand::Serve(serve) => super::runtime()?.block_on(serve.run()),
        }
    }
}

/// What a run came to: as a page where one is wanted, and as a document or a table.
fn tell(document: &Document, html: Option<&Path>, json: bool) -> Result<(), Failure> {
    if let Some(path) = html {
        page::write(path, document)?;
    }
    if json {
        let text = serde_json::to_string(document)
            .map_err(|error| Failure::Failed(format!("the result cannot be written: {error}")))?;
        return print_result(&text);
    }
    print_result(&table::told(document))
}
