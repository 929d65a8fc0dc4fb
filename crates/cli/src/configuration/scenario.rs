//! A scenario of the lab: a TOML file, read whole or refused whole like the configuration.

mod fault;
mod knobs;

use std::path::Path;
use std::time::Duration;

use bellwether_lab::{FleetSize, Scenario};
use bellwether_lifecycle::Allowance;
use bellwether_simulation::rehearsal::Strategy;
use bellwether_simulation::{NamedProfile, Profile};
use toml::de::DeTable;

use super::duration;
use super::error::ConfigurationError;
use super::findings::Findings;
use super::gateway::one_of;
use super::section::{Context, Field, Section};

/// A scenario is no larger than this, in bytes.
const MAX_SCENARIO: u64 = 1024 * 1024;
/// Agents, workers and the like.
pub const MOST_AGENTS: u32 = 10_000_000;
/// More workers than any machine has use for.
pub const MOST_WORKERS: u32 = 100_000;
/// Shorter periods are finer than anything that is simulated.
pub const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
/// Longer runs say nothing that shorter ones do not.
pub const LONGEST_RUN: Duration = Duration::from_secs(366 * 86_400);
const MOST_PROCESSES: u32 = 10_000;
const MOST_TOKENS: u32 = 10_000;

/// Reads a scenario's file.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(path: &Path) -> Result<Scenario, ConfigurationError> {
    let text = read_file(path).map_err(|message| ConfigurationError::whole_file(path, &message))?;
    parse(&text, path)
}

fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            format!("{shown} does not exist; `bellwether lab list` names the built-in scenarios")
        } else {
            format!("{shown} cannot be read: {error}")
        }
    })?;
    if !metadata.is_file() {
        return Err(format!("{shown} is no regular file; name one"));
    }
    if metadata.len() > MAX_SCENARIO {
        return Err(format!("{shown} is larger than {} KiB", MAX_SCENARIO / 1024));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8 text; write it anew"))
}

/// Reads a scenario's text; `path` is what errors call it.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(text: &str, path: &Path) -> Result<Scenario, ConfigurationError> {
    let nothing = |_: &str| None;
    let mut context =
        Context { findings: Findings::new(text), directory: Path::new(""), environment: &nothing };
    let scenario = read(&mut context, text);
    match scenario {
        Some(scenario) if context.findings.is_empty() => Ok(scenario),
        Some(_) | None => Err(ConfigurationError::new(path, context.findings.into_problems())),
    }
}

fn read(context: &mut Context<'_>, text: &str) -> Option<Scenario> {
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            context.findings.add(span, "", format!("is no TOML: {}", error.message()));
            return None;
        }
    };
    let mut root = Section::root(&document);
    let name = root.required("name", "\"my-scenario\"").and_then(|field| field.string(context));
    let about = root.optional("about").and_then(|field| field.string(context));
    let profile_name =
        root.required("profile", "\"genesys\"").and_then(|field| profile(context, &field));
    let mut count = |context: &mut Context<'_>, key, most, default| match root.optional(key) {
        Some(field) => whole(context, &field, 1, most).unwrap_or(default),
        None => default,
    };
    let agents = count(context, "agents", MOST_AGENTS, 1000);
    let workers = count(context, "workers", MOST_WORKERS, 50);
    let processes = count(context, "processes", MOST_PROCESSES, 1);
    let pool = root.optional("pool").and_then(|field| whole(context, &field, 1, MOST_TOKENS));
    let seed = root.optional("seed").map_or(Some(1), |field| number(context, &field));
    let mut span = |context: &mut Context<'_>, key, least, most| {
        root.optional(key).and_then(|field| time(context, &field, least, most))
    };
    let period = span(context, "period", SHORTEST_PERIOD, LONGEST_RUN);
    let duration = span(context, "duration", SHORTEST_PERIOD, LONGEST_RUN);
    let lifetime = span(context, "lifetime", Duration::from_secs(1), LONGEST_RUN);
    let allowance = root.optional("allowance").and_then(|field| allowance(context, &field));
    let strategies = match root.optional("strategies") {
        Some(field) => strategies(context, &field),
        None => Some(Strategy::ALL.to_vec()),
    };
    let knobs = root.optional("knobs").and_then(|field| field.section(context));
    let faults = root.optional("fault").map(|field| field.sections(context)).unwrap_or_default();
    let fleet = root.optional("fleet").and_then(|field| field.section(context));
    root.finish(context);

    let named = profile_name.and_then(NamedProfile::find);
    // Also where the name is wrong, so that all mistakes are told at once.
    let mut profile = named.map_or_else(Profile::plain, NamedProfile::profile);
    if let Some(section) = knobs {
        knobs::read(context, section, &mut profile);
    }
    if let Some(lifetime) = lifetime {
        profile.access_token_lifetime = lifetime;
    }
    let faults = faults.into_iter().filter_map(|section| fault::read(context, section)).collect();
    let fleet = fleet.and_then(|section| read_fleet(context, section));
    Some(Scenario {
        name: name?.to_owned(),
        about: about.unwrap_or_default().to_owned(),
        profile_name: named?.name.to_owned(),
        profile,
        faults,
        agents,
        workers,
        processes,
        period: period.unwrap_or(Duration::from_secs(5)),
        duration: duration.unwrap_or(Duration::from_secs(900)),
        pool: pool.and_then(|pool| u16::try_from(pool).ok()),
        allowance: allowance.unwrap_or(Allowance::DEFAULT),
        seed: seed?,
        strategies: strategies?,
        fleet,
    })
}

fn profile<'d>(context: &mut Context<'_>, field: &Field<'d>) -> Option<&'d str> {
    let name = field.string(context)?;
    if NamedProfile::find(name).is_some() {
        return Some(name);
    }
    let known: Vec<_> = NamedProfile::ALL.iter().map(|profile| profile.name).collect();
    field.refuse(context, one_of(name, &known))
}

fn strategies(context: &mut Context<'_>, field: &Field<'_>) -> Option<Vec<Strategy>> {
    let items = field.items(context)?;
    if items.is_empty() {
        return field.refuse(context, "is empty; leave it out for all strategies");
    }
    let known = Strategy::ALL.map(Strategy::name);
    let mut strategies = Vec::new();
    for item in items {
        let Some(name) = item.string(context) else { continue };
        match Strategy::named(name) {
            Some(strategy) if strategies.contains(&strategy) => {
                item.refuse::<()>(context, format!("{name:?} is there twice"));
            }
            Some(strategy) => strategies.push(strategy),
            None => {
                item.refuse::<()>(context, one_of(name, &known));
            }
        }
    }
    Some(strategies)
}

fn allowance(context: &mut Context<'_>, field: &Field<'_>) -> Option<Allowance> {
    let mut section = field.section(context)?;
    let per_second = section
        .required("per_second", "8")
        .and_then(|field| whole(context, &field, 1, 1_000_000))
        .map(f64::from);
    let burst =
        section.required("burst", "16").and_then(|field| whole(context, &field, 1, 1_000_000));
    section.finish(context);
    Some(Allowance { per_second: per_second?, burst: burst? })
}

fn read_fleet(context: &mut Context<'_>, mut section: Section<'_>) -> Option<FleetSize> {
    let mut count = |context: &mut Context<'_>, key, example| {
        section.required(key, example).and_then(|field| whole(context, &field, 1, 1_000_000))
    };
    let replicas = count(context, "replicas", "100");
    let credentials = count(context, "credentials", "10000");
    section.finish(context);
    Some(FleetSize { replicas: replicas?, credentials: credentials? })
}

/// A whole number in a range.
fn whole(context: &mut Context<'_>, field: &Field<'_>, least: u32, most: u32) -> Option<u32> {
    let number = field.as_integer().and_then(|number| u32::try_from(number).ok());
    match number.filter(|number| (least..=most).contains(number)) {
        Some(number) => Some(number),
        None => field.refuse(context, format!("must be a whole number from {least} to {most}")),
    }
}

fn number(context: &mut Context<'_>, field: &Field<'_>) -> Option<u64> {
    match field.as_integer().and_then(|number| u64::try_from(number).ok()) {
        Some(number) => Some(number),
        None => field.refuse(context, "must be a whole number, 0 or more"),
    }
}

fn time(
    context: &mut Context<'_>,
    field: &Field<'_>,
    least: Duration,
    most: Duration,
) -> Option<Duration> {
    let found = field.parse(context, duration::parse)?;
    if (least..=most).contains(&found) {
        return Some(found);
    }
    let range = format!("{} to {}", duration::write(least), duration::write(most));
    field.refuse(context, format!("must be {range}"))
}
