//! Formats that have one request on each line.

use std::fmt::Debug;
use std::io;

use super::{Reader, Step};
use crate::input::{LONGEST_LINE, Window};
use crate::observation::Observation;

/// Reads one line, which is not empty.
pub(crate) trait LineFormat: Debug {
    fn read(&mut self, line: &[u8], seen: &mut Observation) -> Step;

    /// Another request of the line before.
    fn further(&mut self, _seen: &mut Observation) -> bool {
        false
    }
}

/// Reads a log of such lines.
#[derive(Debug)]
pub(crate) struct Lines<F> {
    format: F,
    line: u64,
}

impl<F> Lines<F> {
    pub(crate) fn new(format: F) -> Self {
        Self { format, line: 0 }
    }
}

impl<F: LineFormat> Reader for Lines<F> {
    fn step(&mut self, window: &mut Window<'_>, seen: &mut Observation) -> io::Result<Step> {
        seen.line = self.line;
        if self.format.further(seen) {
            return Ok(Step::Request);
        }
        let Some(length) = window.line_at(0)? else { return Ok(Step::End) };
        self.line += 1;
        seen.line = self.line;
        let line = window.line(0, length).trim_ascii();
        let step = match line {
            [] => Step::Other,
            line if line.len() >= LONGEST_LINE => Step::Unreadable,
            line => self.format.read(line, seen),
        };
        window.consume(length);
        Ok(step)
    }

    fn lines(&self) -> u64 {
        self.line
    }
}

/// `GET /path HTTP/1.1`
pub(super) fn request_line(text: &[u8], seen: &mut Observation) -> bool {
    let mut parts = text.split(|byte| *byte == b' ').filter(|part| !part.is_empty());
    let (Some(method), Some(target)) = (parts.next(), parts.next()) else { return false };
    if !method.iter().all(u8::is_ascii_uppercase) {
        return false;
    }
    seen.method.extend_from_slice(method);
    seen.target.extend_from_slice(target);
    true
}

/// An HTTP status.
pub(super) fn status(text: &[u8]) -> Option<u16> {
    let [hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = text else {
        return None;
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    Some(digit(hundreds) * 100 + digit(tens) * 10 + digit(ones))
}

/// The words of a line; what is in quotes or brackets is one word, without them.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let (word, after) = match rest {
            [] => return None,
            [b'"', inside @ ..] => {
                let mut end = 0;
                while end < inside.len() && inside[end] != b'"' {
                    end += if inside[end] == b'\\' { 2 } else { 1 };
                }
                let end = end.min(inside.len());
                (&inside[..end], inside.get(end + 1..).unwrap_or_default())
            }
            [b'[', inside @ ..] => {
                let end = memchr::memchr(b']', inside)?;
                (&inside[..end], &inside[end + 1..])
            }
            plain => {
                let end = memchr::memchr2(b' ', b'\t', plain).unwrap_or(plain.len());
                (&plain[..end], &plain[end..])
            }
        };
        rest = after;
        Some(word)
    })
}

pub(super) fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
