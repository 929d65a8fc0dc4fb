//! What came from an authorization server and is not yet in the store.
//!
//! A rotated refresh token exists twice at most: in the answer just read, and wherever that was
//! written first. An [`Escrow`] is that first place, on the machine that asked: before a request
//! leaves, [`reserve`](Escrow::reserve) makes sure that there is room; once the answer is read,
//! [`append`](Escrow::append) makes it outlive process and machine before anybody parses it. Should
//! the store be away, full or set back to an older state, [`records`](Escrow::records) still has
//! what it lacks.
//!
//! A record is a [`Row`]: its generation, and what the [`Keyring`](crate::Keyring) sealed for it.

mod answer;
mod directory;
mod file;
mod frame;
mod journal;
mod memory;
mod workers;

use std::fmt;

use crate::key::Key;
use crate::store::{Row, StoreFuture};

pub use file::FileEscrow;
pub use memory::MemoryEscrow;

/// A local durable record of token responses, written before anything else is done with them.
///
/// Work begins with the call, not with the first poll, and a future that is dropped takes nothing
/// back: a record whose append was asked for is there or was refused.
pub trait Escrow: Send + Sync + fmt::Debug {
    /// Makes room for one more record of `key`, the largest that a token response can become, so
    /// that a full disk is met before anything is sent. Records are thinned out for it when they
    /// are many; those of the highest generation stay, and so do `needed`: whoever read them knows
    /// which of them bring something, while here all are sealed.
    ///
    /// # Errors
    /// [`StoreError::Full`](crate::StoreError::Full) if there is no such room; any error means
    /// that nothing may be sent whose answer must not be lost.
    fn reserve(&self, key: &Key, needed: Vec<Row>) -> StoreFuture<'_, ()>;

    /// Appends `record`; once it returns, the record survives process and machine.
    ///
    /// # Errors
    /// The record may be there or not; appending it again does no harm.
    fn append(&self, key: &Key, record: Row) -> StoreFuture<'_, ()>;

    /// The intact records of `key`, in the order in which they were appended.
    fn records(&self, key: &Key) -> StoreFuture<'_, Vec<Row>>;

    /// Forgets what is kept for `key`.
    fn remove(&self, key: &Key) -> StoreFuture<'_, ()>;
}

/// A key's records are thinned out when there are more.
const MANY: usize = 16;
/// How many of the last records are left then, besides those of the highest generation and those
/// that are needed.
const LEFT: usize = 4;

/// Drops records that later ones have made useless.
fn thin_out(records: &mut Vec<Row>, needed: &[Row]) {
    let highest = records.iter().map(|record| record.generation).max();
    let old = records.len().saturating_sub(LEFT);
    let mut position = 0;
    records.retain(|record| {
        position += 1;
        position > old || Some(record.generation) == highest || needed.contains(record)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Sealed;

    #[test]
    fn the_last_records_the_highest_generation_and_what_is_needed_are_left() {
        // generations as they were appended, those that are needed, those left
        let cases: [(&[u64], &[u64], &[u64]); 7] = [
            (&[], &[], &[]),
            (&[1, 2, 3], &[], &[1, 2, 3]),
            (&[1, 2, 3, 4, 5, 6], &[], &[3, 4, 5, 6]),
            (&[9, 1, 9, 2, 3, 4, 5], &[], &[9, 9, 2, 3, 4, 5]),
            (&[7, 7, 7, 7, 7, 7], &[], &[7, 7, 7, 7, 7, 7]),
            (&[1, 2, 3, 3, 3, 3, 3], &[2], &[2, 3, 3, 3, 3, 3]),
            (&[1, 2, 3, 4, 5], &[8], &[2, 3, 4, 5]),
        ];
        for (appended, needed, left) in cases {
            let record = |generation: &u64| Row {
                generation: *generation,
                sealed: Sealed::from_bytes(b"x".as_slice()),
            };
            let mut records: Vec<Row> = appended.iter().map(record).collect();
            let needed: Vec<Row> = needed.iter().map(record).collect();
            thin_out(&mut records, &needed);
            let generations: Vec<u64> = records.iter().map(|record| record.generation).collect();
            assert_eq!(generations, left, "of {appended:?}");
        }
    }
}
