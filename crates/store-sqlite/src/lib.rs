//! The embedded store: one SQLite file that several processes on one machine may share.
