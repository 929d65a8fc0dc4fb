//! The log: lines on standard error, colour on a terminal alone.

mod apart;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::configuration::Environment;

/// What is logged unless `$BELLWETHER_LOG` says otherwise.
const DEFAULT: &str = "info";

/// Starts logging; the first call counts. Nobody waits for whoever reads: what is still to be written
/// when the guard goes is written then.
pub(crate) fn start(environment: Environment<'_>) -> apart::Guard {
    let (lines, guard) = apart::start(std::io::stderr());
    start_at(environment, DEFAULT, lines);
    guard
}

/// For commands whose result is what matters: problems alone.
pub(crate) fn start_quiet(environment: Environment<'_>) {
    start_at(environment, "error", std::io::stderr);
}

fn start_at<W>(environment: Environment<'_>, default: &str, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = environment("BELLWETHER_LOG").and_then(|value| value.into_string().ok());
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or(default))
        .unwrap_or_else(|_| EnvFilter::new(default));
    let json = environment("BELLWETHER_LOG_FORMAT").is_some_and(|format| format == "json");
    // A line that cannot be written is dropped: to say so on standard error would panic, and end
    // whatever was about to be told.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .log_internal_errors(false);
    // A second start finds the first one in place.
    let _ = if json {
        lines.json().try_init()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    };
}
