//! What a broker tells of its credentials: the events of `/v1/events`, as they come or as JSON lines.
//!
//! A generation more is a renewal that succeeded, a failure more is one that did not; the first
//! event of a credential says how things stand.

use std::collections::BTreeMap;

use super::Step;
use super::lines::LineFormat;
use crate::json::each_value;
use crate::moment::Moment;
use crate::observation::{Observation, excerpt};

/// Renewals told by one event; more have been missed.
const MOST: u64 = 32;

#[derive(Debug, Default)]
pub(crate) struct Events {
    known: BTreeMap<String, Counts>,
    /// Renewals of the last event that are to be told.
    open: Vec<Observation>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    generation: u64,
    failures: u64,
}

#[derive(Debug, Default)]
struct View {
    name: String,
    state: String,
    why: String,
    since: Option<f64>,
    counts: Counts,
    is_view: bool,
}

impl View {
    fn read(line: &[u8]) -> Option<Self> {
        let mut view = Self::default();
        let whole = each_value(line, &mut |path, value| {
            let count = || value.number().unwrap_or_default() as u64;
            match path {
                "name" => view.name = value.text().into_owned(),
                "state" => view.state = value.text().into_owned(),
                "why" => view.why = value.text().into_owned(),
                "since" => view.since = value.number(),
                "generation" => {
                    view.is_view = true;
                    view.counts.generation = count();
                }
                "failures" => view.counts.failures = count(),
                _ => {}
            }
        });
        (whole && view.is_view && !view.state.is_empty()).then_some(view)
    }
}

/// Is this a line of such a stream?
pub(crate) fn is_event(line: &[u8]) -> bool {
    line.starts_with(b"event: credential") || View::read(payload(line)).is_some()
}

fn payload(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"data:").unwrap_or(line).trim_ascii()
}

impl LineFormat for Events {
    fn read(&mut self, line: &[u8], seen: &mut Observation) -> Step {
        let fields: [&[u8]; 4] = [b"event:", b"id:", b"retry:", b":"];
        if fields.iter().any(|field| line.starts_with(field)) {
            return Step::Other;
        }
        let Some(view) = View::read(payload(line)) else { return Step::Unreadable };
        let at = view.since.map(|since| Moment((since * 1000.0) as i64)).unwrap_or_default();
        let now = view.counts;
        let before = self.known.insert(view.name.clone(), now);
        let (granted, failed) = match before {
            Some(before) if before.generation <= now.generation => {
                (now.generation - before.generation, now.failures.saturating_sub(before.failures))
            }
            // Another process with the same store, or the first event.
            Some(_) | None => {
                let is_good = matches!(view.state.as_str(), "fresh" | "renewing");
                (u64::from(is_good && now.generation > 0), u64::from(!is_good))
            }
        };
        let told = |status: u16| {
            let mut told = Observation {
                line: seen.line,
                file: seen.file,
                done_at: at,
                caller: view.name.clone().into_bytes(),
                label: b"token request".to_vec(),
                status: Some(status),
                ..Observation::default()
            };
            if status != 200 {
                excerpt(&mut told.message, view.why.as_bytes());
            }
            told
        };
        self.open.extend((0..granted.min(MOST)).map(|_| told(200)));
        self.open.extend((0..failed.min(MOST)).map(|_| told(400)));
        if self.further(seen) { Step::Request } else { Step::Other }
    }

    fn further(&mut self, seen: &mut Observation) -> bool {
        let Some(next) = self.open.pop() else { return false };
        *seen = next;
        true
    }
}
