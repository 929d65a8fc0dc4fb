//! Decides when an access token is requested, renewed, retried and given up. Pure.

pub mod time;

pub use time::{Timestamp, UnixTime};
