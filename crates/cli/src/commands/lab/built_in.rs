//! The scenarios that are compiled in.

use std::path::Path;

use bellwether_lab::Scenario;

use crate::configuration::ConfigurationError;
use crate::configuration::scenario::parse;

/// Name and text, in the order in which they are listed to people.
const SCENARIOS: [(&str, &str); 8] = [
    ("as-reported", include_str!("../../../../../examples/scenarios/as-reported.toml")),
    ("thousand-agents", include_str!("../../../../../examples/scenarios/thousand-agents.toml")),
    ("failed-login", include_str!("../../../../../examples/scenarios/failed-login.toml")),
    ("outages", include_str!("../../../../../examples/scenarios/outages.toml")),
    ("eight-processes", include_str!("../../../../../examples/scenarios/eight-processes.toml")),
    ("both-ways", include_str!("../../../../../examples/scenarios/both-ways.toml")),
    ("million-agents", include_str!("../../../../../examples/scenarios/million-agents.toml")),
    ("replicas", include_str!("../../../../../examples/scenarios/replicas.toml")),
];

/// The scenario of this name; `None` if none is called so.
pub(super) fn find(name: &str) -> Option<Result<Scenario, ConfigurationError>> {
    let (name, text) = SCENARIOS.iter().find(|(known, _)| *known == name)?;
    Some(read(name, text))
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Result<Scenario, ConfigurationError>> {
    SCENARIOS.iter().map(|(name, text)| read(name, text))
}

/// Their names.
pub(super) fn names() -> Vec<&'static str> {
    SCENARIOS.iter().map(|(name, _)| *name).collect()
}

fn read(name: &str, text: &str) -> Result<Scenario, ConfigurationError> {
    parse(text, Path::new(&format!("{name} (built in)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_good_and_called_what_its_file_is() {
        for name in names() {
            let scenario = find(name).expect("it is there").expect("it is good");
            assert_eq!(scenario.name, name);
            assert!(!scenario.about.is_empty(), "{name}");
        }
    }
}
