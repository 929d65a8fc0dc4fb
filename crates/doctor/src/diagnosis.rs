//! What an examination comes to, as it is told.

use serde::Serialize;

use crate::findings::{Id, Severity};
use crate::timeline::Timeline;
use crate::totals::Totals;

/// Findings, the likeliest cause first, and counts.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// What is wrong; empty for a clean bill.
    pub findings: Vec<Finding>,
    /// What was counted.
    pub totals: Totals,
    /// Over time, for pictures.
    #[serde(skip)]
    pub timeline: Timeline,
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What.
    pub id: Id,
    /// How much it matters.
    pub severity: Severity,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence, with numbers.
    pub summary: String,
    /// How often it was seen.
    pub count: u64,
    /// The first few places that show it.
    pub evidence: Vec<Evidence>,
    /// What to do.
    pub advice: String,
}

/// A place in a log.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// The file's name.
    pub file: String,
    /// From 1; where the format has no lines, the number of the entry.
    pub line: u64,
    /// By the log's clock, in UTC.
    pub time: String,
    /// What happened there; no secret is in it.
    pub what: String,
}
