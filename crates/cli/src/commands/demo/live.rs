//! Progress on standard error: bars on a terminal, plain lines otherwise.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::contender::Contender;
use crate::tell::tell;

/// Bars move this often.
const REDRAW: Duration = Duration::from_millis(200);
/// Where nobody watches, lines come this often.
const LINES: Duration = Duration::from_secs(5);
const REDRAWS_PER_SECOND: u8 = 10;

pub(super) enum Live {
    Bars(Vec<ProgressBar>),
    Lines,
}

impl Live {
    pub(super) fn new(contenders: &[Arc<Contender>]) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
        let bars = MultiProgress::with_draw_target(target);
        let style = ProgressStyle::with_template("{prefix:<17} {bar:16.dim} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |contender: &Arc<Contender>| {
            let bar = bars.add(ProgressBar::new(contender.slots()).with_style(style.clone()));
            bar.set_prefix(contender.outcome().name);
            bar
        };
        Self::Bars(contenders.iter().map(bar).collect())
    }

    /// How often to show.
    pub(super) const fn every(&self) -> Duration {
        match self {
            Self::Bars(_) => REDRAW,
            Self::Lines => LINES,
        }
    }

    pub(super) fn show(&mut self, contenders: &[Arc<Contender>]) {
        match self {
            Self::Bars(bars) => {
                for (bar, contender) in bars.iter().zip(contenders) {
                    let outcome = contender.outcome();
                    let tally = outcome.polled.tally;
                    bar.set_position(tally.due - tally.open);
                    bar.set_message(outcome.in_brief());
                }
            }
            Self::Lines => {
                for contender in contenders {
                    let outcome = contender.outcome();
                    let due = outcome.polled.tally.due;
                    tell!("{:<17} {due} polls · {}", outcome.name, outcome.in_brief());
                }
                tell!();
            }
        }
    }

    /// Leaves the screen to the result.
    pub(super) fn end(&mut self, contenders: &[Arc<Contender>]) {
        self.show(contenders);
        match self {
            Self::Bars(bars) => bars.iter().for_each(ProgressBar::finish_and_clear),
            Self::Lines => {}
        }
    }
}
