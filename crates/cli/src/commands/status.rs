//! `bellwether status`: the credentials, their state and why.

use std::path::{Path, PathBuf};

use bellwether_server::CredentialView;
use bellwether_store::{Clock, SystemClock};
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};

use super::{Failure, load_configuration, print_result};
use crate::configuration::{Environment, StoreUrl};
use crate::local_socket::{self, Answer, Ask};
use crate::plan;

/// Show the running broker's credentials, their state and why
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
    /// The configuration; else $BELLWETHER_CONFIG, ./bellwether.toml, or the user's own
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The store of a broker that runs without a configuration
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl Status {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        let socket = socket(self.store.as_deref(), self.config.as_deref(), environment)?;
        let views = super::runtime()?.block_on(views(&socket))?;
        if self.json {
            return print_result(&json(&views));
        }
        print_result(&table(&views, now()).to_string())
    }
}

/// Where the running broker of a configuration, or of a store, listens for this user.
pub(super) fn socket(
    store: Option<&str>,
    config: Option<&Path>,
    environment: Environment<'_>,
) -> Result<PathBuf, Failure> {
    let store = if store.is_some() {
        plan::store(store, None, environment).map_err(Failure::Usage)?
    } else {
        match load_configuration(config, environment) {
            Ok(configuration) => configuration.store,
            Err(Failure::Usage(_)) if config.is_none() => {
                plan::store(None, None, environment).map_err(Failure::Usage)?
            }
            Err(failure) => return Err(failure),
        }
    };
    match &store.url {
        StoreUrl::Sqlite(path) => Ok(plan::beside(path, "sock")),
        StoreUrl::Memory => Err(Failure::Usage(
            "a broker with its store in memory has no socket; look at its admin listener"
                .to_owned(),
        )),
    }
}

/// What the running broker says of its credentials.
pub(super) async fn views(socket: &Path) -> Result<Vec<CredentialView>, Failure> {
    match local_socket::ask(socket, &Ask::Status).await {
        Some(Ok(Answer::Status(views))) => Ok(views),
        Some(Ok(Answer::Failed { message })) => Err(Failure::Failed(message)),
        Some(Ok(Answer::Token(_))) => {
            Err(Failure::Failed("the running broker answers oddly".to_owned()))
        }
        Some(Err(error)) => Err(Failure::Failed(error.to_string())),
        None => Err(Failure::Failed(format!(
            "no broker is running on {}; start one with `bellwether serve`",
            socket.with_extension("").display()
        ))),
    }
}

pub(super) fn json(views: &[CredentialView]) -> String {
    serde_json::json!({ "credentials": views }).to_string()
}

/// Unix seconds.
pub(super) fn now() -> f64 {
    SystemClock::new().wall().as_millis() as f64 / 1000.0
}

pub(super) fn table(views: &[CredentialView], now: f64) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let heads = ["credential", "state", "since", "next", "tokens", "expires in", "why"];
    table.set_header(heads.map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
    for view in views {
        let colour = match view.state.as_str() {
            "fresh" => Color::Green,
            "renewing" => Color::Blue,
            "backing_off" | "in_doubt" => Color::Yellow,
            _ => Color::Red,
        };
        let next = match view.next_at {
            Some(at) => format!("{} in {}", view.next_action, span(at - now)),
            None => view.next_action.clone(),
        };
        let ends = view.expires_at.map_or_else(|| "–".to_owned(), |end| span(end - now));
        table.add_row([
            Cell::new(&view.name),
            Cell::new(&view.state).fg(colour),
            Cell::new(span(now - view.since)),
            Cell::new(next),
            Cell::new(format!("{}/{}", view.held, view.pool)).set_alignment(CellAlignment::Right),
            Cell::new(ends).set_alignment(CellAlignment::Right),
            Cell::new(&view.why),
        ]);
    }
    table
}

fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round();
    match seconds {
        s if s < 120.0 => format!("{s} s"),
        s if s < 7200.0 => format!("{} min", (s / 60.0).round()),
        s => format!("{} h", (s / 3600.0).round()),
    }
}
