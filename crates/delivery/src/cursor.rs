//! How far a poll has come.

use serde::{Deserialize, Serialize};

/// What the slots' numbers mean. Another plan begins another series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The poll's name.
    pub poll: String,
    /// Tells this list of agents, and how they are asked for, from any other.
    pub digest: String,
    /// Milliseconds between two slots of one agent.
    pub period: u64,
    /// How many slots a period has.
    pub units: u64,
}

/// How far a poll has come: below the watermark, every slot's entries are written and synced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// What the numbers mean.
    #[serde(flatten)]
    pub plan: Plan,
    /// Counts the plans that this output has had.
    pub series: u64,
    /// When slot 0 was due, in milliseconds since the epoch.
    pub anchor: u64,
    /// Every slot below is settled.
    pub watermark: u64,
    /// Slots above it that are settled too: from, and up to but not with.
    #[serde(default)]
    pub ahead: Vec<(u64, u64)>,
    /// Gaps that are still to be filled.
    #[serde(default)]
    pub backfill: Vec<u64>,
}

impl Cursor {
    /// For a plan that begins now.
    pub fn begin(plan: Plan, series: u64, anchor: u64) -> Self {
        Self { plan, series, anchor, watermark: 0, ahead: Vec::new(), backfill: Vec::new() }
    }

    /// Slots above the watermark that are settled.
    pub fn settled_ahead(&self) -> impl Iterator<Item = u64> + '_ {
        self.ahead.iter().flat_map(|&(from, end)| from..end)
    }
}
