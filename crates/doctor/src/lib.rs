//! Reads logs and says what goes wrong with the tokens.
//!
//! Log lines in, findings out. A [`Source`] reads one log, whatever its format, compression and
//! character encoding, as [`Observation`]s: one request and its answer each. An [`Examination`]
//! takes them in the order of time. It first places each of them (`callers`: who sent it, with
//! which token, and what others did meanwhile), then shows it to one detector for each finding.
//! What they found comes out as a [`Diagnosis`], the likeliest cause first, with evidence.
//!
//! - Memory is bounded, whatever the length of a log.
//! - Nothing here reads a clock or draws a random number: the same log gives the same diagnosis.
//! - Tokens and secrets are never kept, only fingerprints; what is quoted from a log is
//!   [cleaned](redaction) first.
//!
//! How fast it is: `cargo run --release -p bellwether-doctor --example log_throughput`.

mod callers;
mod classify;
mod diagnosis;
mod examination;
mod findings;
pub mod fingerprint;
mod formats;
mod input;
mod json;
mod merge;
pub mod moment;
pub mod observation;
pub mod redaction;
mod source;
mod timeline;
mod totals;

pub use diagnosis::{Diagnosis, Evidence, Finding};
pub use examination::Examination;
pub use findings::{Id, Severity};
pub use formats::{Format, Unreadable};
pub use merge::{Merged, Trouble};
pub use observation::Observation;
pub use source::{Next, Source};
pub use timeline::{Bucket, Timeline};
pub use totals::Totals;
