//! Which column of a JMeter result file is which.

use crate::moment::Moment;

/// Where each column is, and what stands between them.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(crate) delimiter: u8,
    pub(crate) time: usize,
    pub(crate) code: Option<usize>,
    pub(crate) elapsed: Option<usize>,
    pub(crate) label: Option<usize>,
    pub(crate) message: Option<usize>,
    pub(crate) thread: Option<usize>,
    pub(crate) success: Option<usize>,
    pub(crate) failure: Option<usize>,
    pub(crate) url: Option<usize>,
    pub(crate) host: Option<usize>,
    /// How many there are.
    pub(crate) count: usize,
    /// Every line has to have this many.
    pub(crate) least: usize,
}

const DELIMITERS: [u8; 5] = *b",;\t|^";

/// As JMeter writes them when nothing is changed.
const DEFAULT: [&str; 17] = [
    "timeStamp",
    "elapsed",
    "label",
    "responseCode",
    "responseMessage",
    "threadName",
    "dataType",
    "success",
    "failureMessage",
    "bytes",
    "sentBytes",
    "grpThreads",
    "allThreads",
    "URL",
    "Latency",
    "IdleTime",
    "Connect",
];

impl Columns {
    /// From a header; its error says what is missing; `None` where the line is no header.
    pub(crate) fn of_header(line: &[u8]) -> Option<Result<Self, Vec<&'static str>>> {
        let text = std::str::from_utf8(line).ok()?;
        let known = |name: &str| DEFAULT.iter().any(|known| known.eq_ignore_ascii_case(name));
        let split = |delimiter: u8| -> Vec<&str> {
            text.split(char::from(delimiter)).map(|name| name.trim().trim_matches('"')).collect()
        };
        let (delimiter, names) = DELIMITERS
            .map(|delimiter| (delimiter, split(delimiter)))
            .into_iter()
            .max_by_key(|(_, names)| names.iter().filter(|name| known(name)).count())?;
        if names.iter().filter(|name| known(name)).count() < 3 {
            return None;
        }
        Some(Self::named(delimiter, &names))
    }

    /// As JMeter writes them when nothing is changed, if the line fits that.
    pub(crate) fn without_header(line: &[u8]) -> Option<Self> {
        let delimiter = DELIMITERS.into_iter().find(|delimiter| {
            let mut fields = line.split(|byte| byte == delimiter);
            let is_number = |field: &[u8]| {
                !field.is_empty() && field.iter().all(u8::is_ascii_digit) && field.len() < 10
            };
            fields.next().is_some_and(|time| Moment::parse(time).is_some())
                && fields.next().is_some_and(is_number)
                && fields.count() >= 4
        })?;
        let count = line.split(|byte| *byte == delimiter).count().min(DEFAULT.len());
        Self::named(delimiter, &DEFAULT[..count]).ok()
    }

    fn named(delimiter: u8, names: &[&str]) -> Result<Self, Vec<&'static str>> {
        let find = |wanted: &str| names.iter().position(|name| name.eq_ignore_ascii_case(wanted));
        let (time, code, success) = (find("timeStamp"), find("responseCode"), find("success"));
        let (label, url) = (find("label"), find("URL"));
        let mut missing = Vec::new();
        if time.is_none() {
            missing.push("timeStamp (timestamp_format)");
        }
        if code.is_none() {
            missing.push("responseCode (response_code)");
        }
        if label.is_none() && url.is_none() {
            missing.push("label or URL (label, url)");
        }
        let (Some(time), true) = (time, missing.is_empty()) else { return Err(missing) };
        let least =
            [Some(time), code, label.or(url)].into_iter().flatten().max().map_or(1, |at| at + 1);
        Ok(Self {
            delimiter,
            time,
            code,
            elapsed: find("elapsed"),
            label,
            message: find("responseMessage"),
            thread: find("threadName"),
            success,
            failure: find("failureMessage"),
            url,
            host: find("Hostname"),
            count: names.len(),
            least,
        })
    }
}
