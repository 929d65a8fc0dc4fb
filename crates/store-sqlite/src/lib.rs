//! The embedded store: one SQLite file that several processes on one machine may share.
//!
//! Each [`SqliteStore`] has a thread and a connection of its own. What callers ask for while a
//! transaction is under way goes into the next one together, so that a thousand credentials that
//! fall due at once do not wait for a thousand disk flushes. An answer is given after the commit
//! that contains it: an acknowledged write is on disk (WAL, `synchronous=FULL`).
//!
//! SQLite has no clock. A lease counts the time since boot and notes which boot; one from another
//! boot has run out. Beside the file lies a directory with a small file per open store, locked as
//! long as its process lives. The kernel drops that lock when the process dies, however it dies,
//! so that its leases are free at once and need not be waited out.
//!
//! A file that was copied, or set back to an older state, is recognised when it is opened and begins
//! another epoch: what it holds may have been used since.
//!
//! The file, its companions and its directory have to be on a local file system; only the owner
//! can read them. SQLite is bundled: versions before 3.51.3 can corrupt a log that several
//! connections share, and are refused should one be linked in.

mod fault;
mod origin;
mod place;
mod presence;
mod schema;
mod session;
mod store;
mod worker;

pub use store::SqliteStore;
