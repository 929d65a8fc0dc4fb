//! What came of a part, by family.

use std::collections::BTreeMap;

/// One family's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Cases that were played.
    pub cases: u64,
    /// … of which nothing arrived.
    pub refused: u64,
    /// … of which something arrived.
    pub forwarded: u64,
    /// … after which the connection went on.
    pub kept: u64,
    /// … that went wrong. To be 0.
    pub wrong: u64,
}

/// A part's outcome.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By family.
    pub families: BTreeMap<&'static str, Line>,
    /// What went wrong, with the case's name.
    pub complaints: Vec<String>,
    /// Requests that the resource server read, by both readers.
    pub arrived: u64,
}

impl Report {
    /// All families together.
    pub fn total(&self) -> Line {
        let mut total = Line::default();
        for line in self.families.values() {
            total.cases += line.cases;
            total.refused += line.refused;
            total.forwarded += line.forwarded;
            total.kept += line.kept;
            total.wrong += line.wrong;
        }
        total
    }

    /// Enters one case.
    pub(crate) fn enter(
        &mut self,
        family: &'static str,
        name: &str,
        line: Line,
        complaints: Vec<String>,
    ) {
        let known = self.families.entry(family).or_default();
        known.cases += 1;
        known.refused += line.refused;
        known.forwarded += line.forwarded;
        known.kept += line.kept;
        known.wrong += u64::from(!complaints.is_empty());
        let named =
            complaints.into_iter().map(|complaint| format!("{family}, {name}: {complaint}"));
        self.complaints.extend(named);
    }
}
