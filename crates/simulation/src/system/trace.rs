//! What happened, line by line, for whoever reads a failing run.

use super::fact::Fact;
use super::world::World;

/// Lines, the latest last.
#[derive(Debug, Default)]
pub(super) struct Trace(pub(super) Vec<String>);

impl World {
    /// Adds a line, if anybody reads it.
    pub(super) fn note(
        &mut self,
        node: Option<usize>,
        credential: Option<usize>,
        what: impl FnOnce() -> String,
    ) {
        let Some(trace) = &mut self.trace else { return };
        let at = self.now.as_nanos() / 1_000 - 1_000_000_000_000;
        let who = |prefix: char, number: Option<usize>| {
            number.map_or(String::new(), |number| format!("{prefix}{number}"))
        };
        let (node, credential) = (who('n', node), who('c', credential));
        let seconds = at as f64 / 1e6;
        trace.0.push(format!("{seconds:>14.6}  {node:<4}{credential:<4}{}", what()));
    }

    pub(super) fn trace_fact(&mut self, fact: &Fact) {
        if self.trace.is_none() {
            return;
        }
        let (node, credential) = match *fact {
            Fact::Storm(_) => (None, None),
            Fact::Started { node } | Fact::Killed { node } => (Some(node), None),
            Fact::Processed { credential, .. }
            | Fact::Refused { credential, .. }
            | Fact::Kept { credential, .. }
            | Fact::GivenUp { credential, .. } => (None, Some(credential)),
            Fact::Reconfigured { node, credential } => (Some(node), Some(credential)),
            Fact::Sent { place, .. }
            | Fact::ToldToWait { place, .. }
            | Fact::Leased { place, .. }
            | Fact::Released { place, .. }
            | Fact::Saved { place, .. }
            | Fact::Published { place, .. }
            | Fact::Withdrawn { place }
            | Fact::Failed { place, .. }
            | Fact::Became { place, .. }
            | Fact::Served { place, .. }
            | Fact::TurnedAway { place, .. }
            | Fact::Forgotten { place, .. }
            | Fact::Looked { place, .. } => (Some(place.node), Some(place.credential)),
            Fact::NotKept { .. } | Fact::Read { .. } => (None, None),
        };
        let text = format!("{fact:?}");
        self.note(node, credential, || text);
    }
}
