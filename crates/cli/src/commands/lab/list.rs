//! `bellwether lab list`: what there is.

use bellwether_simulation::NamedProfile;
use bellwether_simulation::rehearsal::Strategy;
use clap::Args;
use serde_json::json;

use super::built_in;
use crate::commands::{Failure, print_result};

/// List the built-in scenarios, the profiles of organisations, and the strategies
#[derive(Debug, Args)]
pub(super) struct LabList {
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
}

impl LabList {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let scenarios: Vec<_> =
            built_in::all().collect::<Result<_, _>>().map_err(Failure::Configuration)?;
        let scenarios: Vec<(&str, &str)> =
            scenarios.iter().map(|one| (one.name.as_str(), one.about.as_str())).collect();
        let profiles: Vec<(&str, &str)> =
            NamedProfile::ALL.iter().map(|one| (one.name, one.about)).collect();
        let strategies = Strategy::ALL.map(|one| (one.name(), one.about()));
        if self.json {
            let list = |lines: &[(&str, &str)]| -> serde_json::Value {
                lines.iter().map(|(name, about)| json!({ "name": name, "about": about })).collect()
            };
            let document = json!({
                "scenarios": list(&scenarios),
                "profiles": list(&profiles),
                "strategies": list(&strategies),
            });
            return print_result(&document.to_string());
        }
        let paragraph = |head: &str, lines: &[(&str, &str)]| {
            let lines: Vec<_> =
                lines.iter().map(|(name, about)| format!("  {name:<18} {about}")).collect();
            format!("{head}\n{}", lines.join("\n"))
        };
        print_result(&format!(
            "{}\n\n{}\n\n{}",
            paragraph("scenarios (bellwether lab run NAME)", &scenarios),
            paragraph("profiles (bellwether lab serve --profile NAME)", &profiles),
            paragraph("strategies (bellwether lab run … --strategy NAME)", &strategies),
        ))
    }
}
