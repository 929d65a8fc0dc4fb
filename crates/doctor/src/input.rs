//! Bytes in, lines out: compression, character encodings and line ends are behind this.

mod decoding;
mod window;

pub(crate) use decoding::decoded;
pub(crate) use window::{LONGEST_LINE, Window};
