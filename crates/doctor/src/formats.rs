//! The formats of logs, and which of them a file has.

mod combined;
mod envoy;
mod events;
mod haproxy;
mod har;
mod json_lines;
mod jtl_columns;
mod jtl_csv;
mod jtl_xml;
mod lines;

use std::fmt;
use std::io;

use crate::input::{LONGEST_LINE, Window};
use crate::observation::Observation;
use crate::redaction::cleaned;
use lines::{LineFormat, Lines};

/// What one step through a log came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A request was read.
    Request,
    /// Something that belongs there and is no request.
    Other,
    /// Something that does not belong there.
    Unreadable,
    /// Another run of the test begins in the same file.
    NewRun,
    /// There is no more.
    End,
}

/// Reads one format.
pub(crate) trait Reader {
    /// Reads on to the next request, or to whatever is in its place.
    fn step(&mut self, window: &mut Window<'_>, seen: &mut Observation) -> io::Result<Step>;

    /// Lines read so far.
    fn lines(&self) -> u64;
}

/// A format that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JMeter's results as CSV.
    JtlCsv,
    /// JMeter's results as XML.
    JtlXml,
    /// The HTTP archive of browsers and proxies.
    Har,
    /// Events of a broker.
    Events,
    /// A JSON object on each line.
    JsonLines,
    /// nginx and Apache.
    Combined,
    /// Envoy's default.
    Envoy,
    /// HAProxy's `httplog`.
    HaProxy,
}

impl Format {
    /// Its name, as it is told to a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::JtlCsv => "JMeter results (CSV)",
            Self::JtlXml => "JMeter results (XML)",
            Self::Har => "HAR",
            Self::Events => "the events of a broker",
            Self::JsonLines => "JSON lines",
            Self::Combined => "an nginx log (combined)",
            Self::Envoy => "an Envoy log (default)",
            Self::HaProxy => "a HAProxy log (httplog)",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a file cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// Nothing is in it.
    Empty,
    /// It is none of the formats.
    UnknownFormat {
        /// Its first line, cleaned.
        begins: String,
    },
    /// A JMeter result file that lacks what is needed most.
    MissingColumns {
        /// Their names.
        missing: Vec<&'static str>,
    },
    /// Its format is known and nothing in it is a request.
    NoRequest {
        /// What it looked like.
        format: Format,
        /// Lines that were looked at.
        lines: u64,
    },
    /// Reading failed.
    Io(io::Error),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("it is empty"),
            Self::UnknownFormat { begins } => write!(
                formatter,
                "it is no log that is known here; it begins with `{begins}`. Known are JMeter \
                 results (CSV or XML), HAR, JSON lines, nginx (combined), Envoy (default), HAProxy \
                 (httplog) and the events of `bellwether serve`, plain or as gzip or zstd"
            ),
            Self::MissingColumns { missing } => write!(
                formatter,
                "it looks like JMeter results, but lacks {}; switch them on in JMeter with \
                 jmeter.save.saveservice.*",
                missing.join(" and ")
            ),
            Self::NoRequest { format, lines } => write!(
                formatter,
                "it looks like {format}, but none of its {lines} lines could be read as a request"
            ),
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Noise before the first line that tells is passed over, this much of it.
const LOOKED_AT: usize = 100;

/// Finds out what a log is, from its first lines that tell.
pub(crate) fn detect(window: &mut Window<'_>) -> Result<(Format, Box<dyn Reader>), Unreadable> {
    let mut first = None;
    let mut missing = None;
    let (mut from, mut looked) = (0, 0);
    while looked < LOOKED_AT && from < LONGEST_LINE {
        let Some(length) = window.line_at(from)? else { break };
        let line = window.line(from, length);
        from += length;
        if line.trim_ascii().is_empty() {
            continue;
        }
        looked += 1;
        first.get_or_insert_with(|| cleaned(&line[..line.len().min(60)]));
        match recognised(line.trim_ascii(), window.view()) {
            Recognised::As(format, reader) => return Ok((format, reader)),
            Recognised::Lacking(columns) => missing = missing.or(Some(columns)),
            Recognised::Not => {}
        }
    }
    match (missing, first) {
        (Some(missing), _) => Err(Unreadable::MissingColumns { missing }),
        (None, Some(begins)) => Err(Unreadable::UnknownFormat { begins }),
        (None, None) => Err(Unreadable::Empty),
    }
}

enum Recognised {
    As(Format, Box<dyn Reader>),
    Lacking(Vec<&'static str>),
    Not,
}

fn recognised(line: &[u8], view: &[u8]) -> Recognised {
    let reader: Option<(Format, Box<dyn Reader>)> = if jtl_xml::is_jtl_xml(line) {
        Some((Format::JtlXml, Box::new(jtl_xml::JtlXml::default())))
    } else if events::is_event(line) {
        Some((Format::Events, Box::new(Lines::new(events::Events::default()))))
    } else if fits(json_lines::JsonLines, line) {
        Some((Format::JsonLines, Box::new(Lines::new(json_lines::JsonLines))))
    } else if har::is_har(line, view) {
        Some((Format::Har, Box::new(har::Har::default())))
    } else if fits(envoy::Envoy, line) {
        Some((Format::Envoy, Box::new(Lines::new(envoy::Envoy))))
    } else if fits(combined::Combined, line) {
        Some((Format::Combined, Box::new(Lines::new(combined::Combined))))
    } else if fits(haproxy::HaProxy, line) {
        Some((Format::HaProxy, Box::new(Lines::new(haproxy::HaProxy))))
    } else {
        None
    };
    if let Some((format, reader)) = reader {
        return Recognised::As(format, reader);
    }
    match jtl_columns::Columns::of_header(line) {
        Some(Ok(columns)) => {
            return Recognised::As(Format::JtlCsv, Box::new(jtl_csv::JtlCsv::new(columns)));
        }
        Some(Err(missing)) => return Recognised::Lacking(missing),
        None => {}
    }
    if let Some(columns) = jtl_columns::Columns::without_header(line) {
        return Recognised::As(Format::JtlCsv, Box::new(jtl_csv::JtlCsv::new(columns)));
    }
    Recognised::Not
}

/// Can this format read a request from the line?
fn fits(mut format: impl LineFormat, line: &[u8]) -> bool {
    format.read(line, &mut Observation::default()) == Step::Request
}
