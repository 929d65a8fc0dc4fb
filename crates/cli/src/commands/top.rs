//! `bellwether top`: what `status` shows, live.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use super::{Failure, status};
use crate::configuration::{Environment, duration};

const SHORTEST: Duration = Duration::from_millis(100);
/// The terminal's second screen, empty and without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the upper left corner; what is below goes.
const HOME: &str = "\x1b[H";
const CLEAR_BELOW: &str = "\x1b[J";

/// Watch the running broker's credentials, until it is stopped with Ctrl-C
///
/// On a terminal the table stays in place; elsewhere each look is a table or, with --json, a line.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// How often to look
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    every: Duration,
    /// Print one JSON document a line
    #[arg(long)]
    json: bool,
    /// The configuration; else $BELLWETHER_CONFIG, ./bellwether.toml, or the user's own
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The store of a broker that runs without a configuration
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl Top {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        let socket = status::socket(self.store.as_deref(), self.config.as_deref(), environment)?;
        let screen = std::io::stdout().is_terminal() && !self.json;
        super::runtime()?.block_on(async {
            // A broker that does not run is told where everything else is.
            status::views(&socket).await?;
            if screen {
                put(ENTER)?;
            }
            let watched = self.watch(&socket, screen).await;
            if screen {
                put(LEAVE)?;
            }
            watched
        })
    }

    async fn watch(&self, socket: &std::path::Path, screen: bool) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::Failed(error.to_string());
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut ticks = interval(self.every.max(SHORTEST));
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let views = status::views(socket).await?;
            let text = match (self.json, screen) {
                (true, _) => format!("{}\n", status::json(&views)),
                (false, false) => format!("{}\n\n", status::table(&views, status::now())),
                (false, true) => {
                    // Line by line, so that nothing flickers.
                    let table = status::table(&views, status::now()).to_string();
                    let lines: String =
                        table.lines().map(|line| format!("{line}\x1b[K\n")).collect();
                    format!("{HOME}{lines}{CLEAR_BELOW}")
                }
            };
            // Nobody reads any more: that is the end.
            if put(&text).is_err() {
                return Ok(());
            }
        }
    }
}

fn put(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::Failed(format!("the result cannot be written: {error}")))
}
