//! The store that all processes share: rows, leases, fences, and snapshots that it may fall back
//! to. Every operation happens in one instant; that is what linearisable means.

use std::collections::VecDeque;
use std::time::Duration;

use bellwether_lifecycle::{Failure, Timestamp};

use super::machine::Stamp;

/// A grant's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) generation: u64,
    pub(super) attempt: u64,
    pub(super) token: Option<StoredToken>,
    pub(super) refresh: Option<u64>,
    pub(super) refused: Option<u64>,
    pub(super) failure: Option<StoredFailure>,
    pub(super) intent: Option<Mark>,
    pub(super) doubt: Option<Mark>,
    /// The origin of the store that wrote it.
    pub(super) epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredToken {
    pub(super) access: u64,
    /// Whose grant it is, to tell if tokens are mixed up.
    pub(super) credential: usize,
    pub(super) sent_at: Stamp,
    pub(super) expires_at: Stamp,
    /// How far the wall clock of its writer was ahead, in milliseconds: what nobody knows.
    pub(super) wall_error: i64,
    /// How much too late its end may seem to its own writer, in milliseconds.
    pub(super) inexact: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredFailure {
    pub(super) failure: Failure,
    pub(super) at: Stamp,
    pub(super) secret: u32,
}

/// A request that carried `presented`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: Stamp,
    pub(super) presented: Option<u64>,
}

/// Who holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) node: usize,
    pub(super) incarnation: u32,
    pub(super) machine: usize,
    /// A name of its own for each renewal.
    pub(super) name: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) fence: u64,
    pub(super) holder: Holder,
    /// The renewal that has it, whatever name it goes by.
    pub(super) serial: u64,
    pub(super) taken_at: Timestamp,
    pub(super) until: Timestamp,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    Done,
    Fenced,
    Behind,
}

#[derive(Debug, Default)]
struct Cell {
    row: Option<Row>,
    lease: Option<Lease>,
    /// The rows of before, with the time when they were written.
    history: VecDeque<(Timestamp, Option<Row>)>,
    /// It fell back, and no token was accepted since.
    fell_back: bool,
    fell_at: Timestamp,
}

/// Rows that a snapshot may fall back to.
const REMEMBERED: usize = 24;

#[derive(Debug)]
pub(super) struct Store {
    cells: Vec<Cell>,
    last_fence: u64,
    /// Rises when it is copied or restored.
    pub(super) epoch: u64,
}

impl Store {
    pub(super) fn new(keys: usize) -> Self {
        Self { cells: (0..keys).map(|_| Cell::default()).collect(), last_fence: 0, epoch: 1 }
    }

    pub(super) fn row(&self, key: usize) -> Option<Row> {
        self.cells[key].row
    }

    pub(super) fn lease(&self, key: usize) -> Option<Lease> {
        self.cells[key].lease
    }

    /// Whether the row is older than one that was there before.
    pub(super) fn fell_back(&self, key: usize) -> bool {
        self.cells[key].fell_back
    }

    /// Grants the lease, or says how long the present one may last.
    pub(super) fn acquire(
        &mut self,
        now: Timestamp,
        key: usize,
        (holder, serial): (Holder, u64),
        ttl: Duration,
        is_free: impl Fn(&Lease) -> bool,
    ) -> Result<u64, Duration> {
        let cell = &mut self.cells[key];
        if let Some(lease) = &cell.lease
            && lease.holder != holder
            && !is_free(lease)
        {
            return Err(now.until(lease.until));
        }
        self.last_fence += 1;
        let fence = self.last_fence;
        cell.lease = Some(Lease { fence, holder, serial, taken_at: now, until: now + ttl });
        Ok(fence)
    }

    pub(super) fn release(&mut self, key: usize, fence: u64) {
        let cell = &mut self.cells[key];
        if cell.lease.is_some_and(|lease| lease.fence == fence) {
            cell.lease = None;
        }
    }

    pub(super) fn save(&mut self, now: Timestamp, key: usize, fence: u64, row: Row) -> Saved {
        let cell = &self.cells[key];
        if cell.lease.is_none_or(|lease| lease.fence != fence) {
            return Saved::Fenced;
        }
        if cell.row.is_some_and(|stored| stored.generation > row.generation) {
            return Saved::Behind;
        }
        self.write(now, key, row);
        Saved::Done
    }

    /// Writes without asking anybody.
    pub(super) fn write(&mut self, now: Timestamp, key: usize, row: Row) {
        let cell = &mut self.cells[key];
        cell.history.push_back((now, cell.row));
        if cell.history.len() > REMEMBERED {
            cell.history.pop_front();
        }
        cell.row = Some(row);
    }

    /// It does not fall back to before this: what a person put in is kept by that person.
    pub(super) fn forget_history(&mut self, key: usize) {
        self.cells[key].history.clear();
    }

    /// Nothing that the store fell back from counts any more.
    pub(super) fn settle(&mut self, key: usize) {
        self.cells[key].fell_back = false;
    }

    /// Becomes what it was at `then`; leases do not outlive that. Says which rows were changed.
    pub(super) fn fall_back(&mut self, now: Timestamp, then: Timestamp) -> Vec<usize> {
        let mut changed = Vec::new();
        for (key, cell) in self.cells.iter_mut().enumerate() {
            let before = cell.row;
            while let Some(&(written, row)) = cell.history.back()
                && written > then
            {
                cell.row = row;
                cell.history.pop_back();
            }
            cell.lease = None;
            if cell.row != before {
                (cell.fell_back, cell.fell_at) = (true, now);
                changed.push(key);
            }
        }
        changed
    }

    /// Whoever has the lease writes no more.
    pub(super) fn evict(&mut self, key: usize) {
        self.cells[key].lease = None;
    }

    /// When the row last fell back.
    pub(super) fn fell_at(&self, key: usize) -> Timestamp {
        self.cells[key].fell_at
    }

    /// Loses a row.
    pub(super) fn lose(&mut self, now: Timestamp, key: usize) {
        let cell = &mut self.cells[key];
        *cell = Cell { fell_back: true, fell_at: now, ..Cell::default() };
    }
}
