//! Hostile callers and hostile resource servers, on raw sockets, and who judges them.
//!
//! ```text
//!  case ──bytes──▶ gateway under test ──bytes──▶ origin ──▶ strict reader ┐
//!    ▲                  │                                  sloppy reader ├─▶ judge
//!    └── probe, answers ┘◀─────────── answers that say to whom they belong ┘
//! ```
//!
//! Nothing here knows how the gateway is made: it has an address, a caller's key and a resource
//! server, and is judged by what goes in and what comes out. A case is told in the words of RFC 9110
//! and RFC 9112; the two readers share nothing but the type of their result.
//!
//! The same corpus runs inside the server's contract tests and against a process.

mod answers;
mod bed;
mod case;
pub mod corpus;
mod floods;
pub mod frames;
mod good;
mod judge;
mod message;
mod origin;
mod reply;
mod report;
mod sloppy;
mod slow;
mod strict;

pub use answers::{ANSWER_CASES, AnswerCase, Outcome, answer_cases, answers, scripted};
pub use bed::{Bed, Pressure, Resident};
pub use case::{Case, End, Expected, KEY, Seen};
pub use floods::{Flood, floods, speaks_http2};
pub use good::{Latencies, Now};
pub use judge::framing;
pub use message::{Message, Reading, Readings, read_all};
pub use origin::{Answers, Arrived, Manner, Origin, Script, Then, echo};
pub use reply::Reply;
pub use report::{Line, Report};
pub use slow::{DEFAULT_CAP, Slow, slow};
