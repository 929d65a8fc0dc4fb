//! Delivers what a poll brought: every slot's entries at least once, none lost to a kill.
//!
//! A poll's slots are numbered. Whatever becomes of a slot, a sample or a gap, is an [`Entry`]; the
//! [`Writer`] takes entries in any order, writes them to an [`Output`] and keeps a [`Cursor`]: below
//! its watermark every slot has been written and synced. Who starts again asks the output what it
//! has beyond the cursor, and goes on from there; so a kill costs no sample and no gap goes untold.
//!
//! - While an output cannot take more, whoever delivers waits: the memory is bounded.
//! - An output that fails is tried again until it works or the poll is stopped. What was not taken
//!   is not below the watermark.
//! - `watermark` and `entry` are pure; each output is a file of its own.

mod cursor;
mod entry;
mod files;
mod gaps;
mod lines;
mod output;
mod postgres;
mod sqlite;
mod watermark;
mod writer;

pub use cursor::{Cursor, Plan};
pub use entry::{Entry, What};
pub use files::Files;
pub use gaps::Gaps;
pub use lines::Lines;
pub use output::{Output, OutputError, Resumed};
pub use postgres::Postgres;
pub use sqlite::Sqlite;
pub use watermark::Watermark;
pub use writer::{Progress, Undelivered, Writer};
