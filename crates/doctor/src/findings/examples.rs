//! A few places in the log that show what a finding is about.

use crate::moment::Moment;
use crate::observation::Observation;
use crate::redaction::{cleaned, cleaned_target};

const MOST: usize = 5;

/// One place.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) file: usize,
    pub(crate) line: u64,
    pub(crate) time: Moment,
    /// Cleaned.
    pub(crate) what: String,
}

/// The first few, and how many there were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Examples {
    kept: Vec<Example>,
    count: u64,
}

impl Examples {
    /// Counts one; `what` is told for the first few only, after who it was and what came back.
    pub(crate) fn note(&mut self, seen: &Observation, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.kept.len() < MOST {
            let what = format!("{}: {}", told(seen), what());
            self.kept.push(Example { file: seen.file, line: seen.line, time: seen.done_at, what });
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn kept(&self) -> Vec<Example> {
        self.kept.clone()
    }
}

/// Who, what, and the answer.
fn told(seen: &Observation) -> String {
    let caller = cleaned(&seen.caller);
    let what = match (seen.target.as_slice(), seen.label.as_slice()) {
        (b"" | b"null" | b"-", label) => cleaned(label),
        (target, _) => cleaned_target(target),
    };
    let status = seen.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    match caller.as_str() {
        "" => format!("{what} → {status}"),
        caller => format!("{caller}, {what} → {status}"),
    }
}

/// What an answer said, cleaned and in quotes; nothing where it said nothing.
pub(crate) fn quoted(seen: &Observation) -> String {
    let said = cleaned(seen.message.trim_ascii());
    if said.is_empty() { String::new() } else { format!(" “{said}”") }
}
