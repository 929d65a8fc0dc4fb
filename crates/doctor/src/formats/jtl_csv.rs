//! JMeter's results as CSV: the common case, and so the fast one.
//!
//! A line without a quote is split at its delimiters. A quote may hide delimiters, line ends and
//! doubled quotes; such a record is taken apart byte by byte. A quote that nothing closes within
//! [`LONGEST_RECORD`] is noise, and only its own line is passed over.

use std::io;

use memchr::{memchr, memchr_iter};

use super::jtl_columns::Columns;
use super::lines::status;
use super::{Reader, Step};
use crate::input::Window;
use crate::moment::Moment;
use crate::observation::{Identity, Observation, excerpt};

/// An error page in a `failureMessage` may be long; a record is not longer than this.
const LONGEST_RECORD: usize = 1 << 16;
const MOST_FIELDS: usize = 64;

/// Reads it.
#[derive(Debug)]
pub(crate) struct JtlCsv {
    columns: Columns,
    line: u64,
    /// Fields of a record with quotes, one after the other.
    unquoted: Vec<u8>,
    begun: bool,
}

/// Where the fields of a record are.
struct Fields {
    spans: [(u32, u32); MOST_FIELDS],
    count: usize,
}

impl Fields {
    fn new() -> Self {
        Self { spans: [(0, 0); MOST_FIELDS], count: 0 }
    }

    fn push(&mut self, start: usize, end: usize) {
        if let Some(span) = self.spans.get_mut(self.count) {
            *span = (start as u32, end as u32);
            self.count += 1;
        }
    }

    fn of<'a>(&self, text: &'a [u8], column: Option<usize>) -> &'a [u8] {
        let Some(column) = column.filter(|column| *column < self.count) else { return &[] };
        let (start, end) = self.spans[column];
        &text[start as usize..end as usize]
    }
}

impl JtlCsv {
    pub(crate) fn new(columns: Columns) -> Self {
        Self { columns, line: 0, unquoted: Vec::new(), begun: false }
    }

    /// How long the record is that begins with a line of this length, and how many lines it has.
    fn record(window: &mut Window<'_>, first: usize) -> io::Result<Option<(usize, u64)>> {
        let (mut length, mut lines) = (first, 1);
        let mut quotes = memchr_iter(b'"', &window.view()[..length]).count();
        while quotes % 2 == 1 {
            if length > LONGEST_RECORD {
                return Ok(None);
            }
            let Some(more) = window.line_at(length)? else { return Ok(None) };
            quotes += memchr_iter(b'"', &window.view()[length..length + more]).count();
            length += more;
            lines += 1;
        }
        Ok(Some((length, lines)))
    }

    /// Splits a record with quotes into `unquoted`.
    fn unquote(&mut self, record: &[u8], fields: &mut Fields) {
        self.unquoted.clear();
        let (mut start, mut quoted, mut at) = (0, false, 0);
        while let Some(byte) = record.get(at) {
            at += 1;
            if *byte == b'"' {
                if quoted && record.get(at) == Some(&b'"') {
                    self.unquoted.push(b'"');
                    at += 1;
                } else {
                    quoted = !quoted;
                }
            } else if *byte == self.columns.delimiter && !quoted {
                fields.push(start, self.unquoted.len());
                start = self.unquoted.len();
            } else {
                self.unquoted.push(*byte);
            }
        }
        fields.push(start, self.unquoted.len());
    }
}

impl Reader for JtlCsv {
    fn step(&mut self, window: &mut Window<'_>, seen: &mut Observation) -> io::Result<Step> {
        let Some(first) = window.line_at(0)? else { return Ok(Step::End) };
        self.line += 1;
        seen.line = self.line;
        let mut fields = Fields::new();
        if memchr(b'"', &window.view()[..first]).is_none() {
            let is_whole = window.view()[first - 1] == b'\n' || !window.is_last();
            let step = {
                let line = window.line(0, first);
                let mut start = 0;
                for end in memchr_iter(self.columns.delimiter, line) {
                    fields.push(start, end);
                    start = end + 1;
                }
                fields.push(start, line.len());
                read(&self.columns, line, &fields, seen)
            };
            let step = match step {
                Step::Unreadable => self.not_a_sample(window.line(0, first)),
                // The last line of a file that was cut off.
                Step::Request if !is_whole && fields.count < self.columns.count => Step::Unreadable,
                step @ (Step::Request | Step::Other | Step::NewRun | Step::End) => step,
            };
            window.consume(first);
            self.begun |= step == Step::Request;
            return Ok(step);
        }
        let Some((length, lines)) = Self::record(window, first)? else {
            window.consume(first);
            return Ok(Step::Unreadable);
        };
        self.unquote(window.line(0, length), &mut fields);
        let step = match read(&self.columns, &self.unquoted, &fields, seen) {
            Step::Unreadable if lines > 1 => {
                // Perhaps a stray quote in noise: what follows it may be good.
                window.consume(first);
                return Ok(Step::Unreadable);
            }
            Step::Unreadable => self.not_a_sample(window.line(0, length)),
            step @ (Step::Request | Step::Other | Step::NewRun | Step::End) => step,
        };
        window.consume(length);
        self.line += lines - 1;
        self.begun |= step == Step::Request;
        Ok(step)
    }

    fn lines(&self) -> u64 {
        self.line
    }
}

impl JtlCsv {
    /// A header, an empty line, or noise.
    fn not_a_sample(&mut self, line: &[u8]) -> Step {
        if line.trim_ascii().is_empty() {
            return Step::Other;
        }
        match Columns::of_header(line) {
            Some(Ok(columns)) => {
                self.columns = columns;
                if self.begun { Step::NewRun } else { Step::Other }
            }
            Some(Err(_)) | None => Step::Unreadable,
        }
    }
}

fn read(columns: &Columns, text: &[u8], fields: &Fields, seen: &mut Observation) -> Step {
    if fields.count < columns.least {
        return Step::Unreadable;
    }
    let Some(at) = Moment::parse(fields.of(text, Some(columns.time))) else {
        return Step::Unreadable;
    };
    let code = fields.of(text, columns.code);
    seen.status = status(code);
    let success = fields.of(text, columns.success);
    if seen.status.is_none() && !is_code(code, success) {
        return Step::Unreadable;
    }
    let message = fields.of(text, columns.message);
    // A transaction controller sums up samples that have lines of their own.
    if message.starts_with(b"Number of samples in transaction") {
        return Step::Other;
    }
    seen.elapsed = milliseconds(fields.of(text, columns.elapsed));
    seen.done_at = at.plus(seen.elapsed);
    seen.identity = Identity::Thread;
    seen.caller.extend_from_slice(fields.of(text, columns.host));
    if !seen.caller.is_empty() {
        seen.caller.push(b' ');
    }
    seen.caller.extend_from_slice(fields.of(text, columns.thread));
    seen.label.extend_from_slice(fields.of(text, columns.label));
    // Without a header, some other column may stand where the URL would.
    let url = fields.of(text, columns.url);
    if memchr(b'/', url).is_some() {
        seen.target.extend_from_slice(url);
    }
    if seen.status.is_none_or(|status| status >= 400) {
        excerpt(&mut seen.message, message);
        let failure = fields.of(text, columns.failure);
        if !failure.is_empty() {
            seen.message.push(b' ');
            excerpt(&mut seen.message, failure);
        }
        if seen.status.is_none() {
            seen.message.push(b' ');
            excerpt(&mut seen.message, code);
        }
    }
    Step::Request
}

/// What JMeter writes where there was no answer.
fn is_code(code: &[u8], success: &[u8]) -> bool {
    code.starts_with(b"Non HTTP") || matches!(success, b"true" | b"false")
}

pub(super) fn milliseconds(text: &[u8]) -> i64 {
    if text.len() > 9 {
        return 0;
    }
    text.iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
        .unwrap_or(0)
}
