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

use clap::{Args, Subcommand};

use super::Failure;
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
