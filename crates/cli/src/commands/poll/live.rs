//! How a poll stands, on standard error: one line that moves on a terminal, plain lines otherwise.

use std::io::IsTerminal;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Standing;
use crate::tell::tell;

/// Where nobody watches, lines come this often.
const LINES: Duration = Duration::from_secs(10);
const REDRAWS_PER_SECOND: u8 = 8;

pub(super) struct Live {
    name: String,
    bar: Option<ProgressBar>,
    trouble: Option<String>,
    failed: Option<String>,
    next_line_at: Timestamp,
}

impl Live {
    pub(super) fn new(name: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
            let style = ProgressStyle::with_template("{spinner} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::with_draw_target(None, target).with_style(style)
        });
        Self {
            name: name.to_owned(),
            bar,
            trouble: None,
            failed: None,
            next_line_at: Timestamp::ZERO,
        }
    }

    /// What stands in the way of tokens, once each time that it changes.
    pub(super) fn tell_renewals(&mut self, failed: Option<String>) {
        if let Some(failed) = failed.as_ref().filter(|_| failed != self.failed) {
            self.line(&format!("{}: no new token: {failed}", self.name));
        }
        self.failed = failed;
    }

    pub(super) fn show(&mut self, standing: &Standing, now: Timestamp) {
        // An output in trouble is told at once, and once.
        let trouble = &standing.delivered.trouble;
        if let Some(trouble) = trouble.as_ref().filter(|_| *trouble != self.trouble) {
            self.line(&format!("{}: the output takes nothing: {trouble}", self.name));
        }
        if trouble.is_none() && self.trouble.is_some() {
            self.line(&format!("{}: the output takes everything again", self.name));
        }
        self.trouble.clone_from(trouble);
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.told(standing));
                bar.tick();
            }
            None if now >= self.next_line_at => {
                self.next_line_at = now + LINES;
                tell!("{}", self.told(standing));
            }
            None => {}
        }
    }

    /// Leaves the last line.
    pub(super) fn end(&mut self, standing: &Standing) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        tell!("{}", self.told(standing));
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tell!("{text}")),
            None => tell!("{text}"),
        }
    }

    fn told(&self, standing: &Standing) -> String {
        let tally = standing.polled.tally;
        let latency = standing.polled.latency;
        let mut told = format!(
            "{}: {} due · {} done · {} late · {} gaps · {} open · {:.0}/{:.0} ms · {} × 401 · {} × 429 · \
             {} token requests",
            self.name,
            tally.due,
            tally.done,
            tally.late,
            tally.gaps,
            tally.open,
            latency.p50.as_secs_f64() * 1e3,
            latency.p99.as_secs_f64() * 1e3,
            standing.status_401,
            standing.status_429,
            standing.token_requests,
        );
        if standing.absent > 0 {
            told += &format!(" · {} gaps from before", standing.absent);
        }
        if standing.delivered.backfilled > 0 {
            told += &format!(" · {} gaps filled", standing.delivered.backfilled);
        }
        told
    }
}
