//! A machine's escrow: answers that outlive its processes and the store's faults.

use bellwether_lifecycle::Timestamp;

use super::machine::Stamp;
use super::server::Response;

/// An answer as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// The generation that it begins, if it is a token.
    pub(super) generation: u64,
    pub(super) attempt: u64,
    pub(super) sent_at: Stamp,
    /// How far the wall clock of its writer was ahead.
    pub(super) wall_error: i64,
    pub(super) presented: Option<u64>,
    /// Whose grant it is, to tell if tokens are mixed up.
    pub(super) credential: usize,
    pub(super) response: Response,
    /// When it was durable.
    pub(super) kept_at: Timestamp,
}

impl Record {
    fn brings_something(&self) -> bool {
        matches!(self.response, Response::Granted { .. }) || self.response.refresh().is_some()
    }
}

/// As `bellwether-store` thins out: when there are more …
const MANY: usize = 16;
/// … so many of the last are left, and those of the highest generation …
const LEFT: usize = 4;
/// … and so many of the newest that bring something, as `bellwether-broker` wants it.
const NEEDED: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Escrow {
    records: Vec<Vec<Record>>,
}

impl Escrow {
    pub(super) fn new(keys: usize) -> Self {
        Self { records: vec![Vec::new(); keys] }
    }

    /// Appends a record.
    pub(super) fn append(&mut self, key: usize, record: Record) {
        let records = &mut self.records[key];
        records.push(record);
        if records.len() <= MANY {
            return;
        }
        let highest = records.iter().map(|record| record.generation).max();
        let old = records.len() - LEFT;
        let rank = |record: &Record| (record.generation, record.attempt);
        let mut needed: Vec<_> =
            records.iter().filter(|record| record.brings_something()).map(rank).collect();
        needed.sort_unstable_by(|one, other| other.cmp(one));
        needed.truncate(NEEDED);
        let mut position = 0;
        records.retain(|record| {
            position += 1;
            let is_needed = record.brings_something() && needed.contains(&rank(record));
            position > old || Some(record.generation) == highest || is_needed
        });
    }

    pub(super) fn records(&self, key: usize) -> &[Record] {
        &self.records[key]
    }

    /// The best answer: the newest that brings something, else the newest.
    pub(super) fn best(&self, key: usize) -> Option<&Record> {
        let rank =
            |record: &&Record| (record.brings_something(), record.generation, record.attempt);
        self.records[key].iter().max_by_key(rank)
    }
}
