//! What is told of one agent in one slot.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// What is told of one agent in one slot: one line, or one row.
///
/// A slot may bring several, if one request asks for several agents. They are numbered, and the
/// slot is settled when the last of them is written.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The slot's number, or the first one's.
    pub slot: u64,
    /// How many slots it is about: more than one where a long absence is told at once.
    pub slots: u64,
    /// Which of the slot's entries this is, from 1 on, and how many there are.
    pub part: (u32, u32),
    /// Whom it is about; `None` where nobody knows yet whom a page would have told of.
    pub agent: Option<String>,
    /// When the sample was due, in milliseconds since the epoch.
    pub due_at: u64,
    /// What became of it.
    pub what: What,
}

/// What became of an agent's slot.
#[derive(Clone, Debug)]
pub enum What {
    /// A sample.
    Sample {
        /// When it arrived, in milliseconds since the epoch.
        at: u64,
        /// From when it was due, in microseconds.
        latency: u64,
        /// Whether it came later than a quarter of the period.
        late: bool,
        /// Of the API's answer.
        status: u16,
        /// JSON on one line; `None` if the API says that nothing changed.
        data: Option<Box<RawValue>>,
    },
    /// None, and why.
    Gap {
        /// What the last try met.
        why: String,
        /// How often it was tried.
        tries: u32,
    },
    /// A sample that was fetched later, for a gap that was told before.
    Backfill {
        /// When it arrived, in milliseconds since the epoch.
        at: u64,
        /// Of the API's answer.
        status: u16,
        /// JSON on one line.
        data: Box<RawValue>,
    },
}

impl What {
    /// Its name in an output.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sample { .. } => "sample",
            Self::Gap { .. } => "gap",
            Self::Backfill { .. } => "backfill",
        }
    }
}

/// Milliseconds since the epoch as Unix seconds.
pub(crate) fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1e3
}

/// An entry as a line of a poll's series.
pub(crate) struct Line<'a> {
    pub(crate) poll: &'a str,
    pub(crate) series: u64,
    pub(crate) entry: &'a Entry,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Entry { slot, slots, part, agent, due_at, what } = self.entry;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("poll", self.poll)?;
        map.serialize_entry("series", &self.series)?;
        map.serialize_entry("slot", slot)?;
        if *slots > 1 {
            map.serialize_entry("slots", slots)?;
        }
        if part.1 > 1 {
            map.serialize_entry("part", part)?;
        }
        map.serialize_entry("agent", agent)?;
        map.serialize_entry("due_at", &seconds(*due_at))?;
        map.serialize_entry("kind", what.kind())?;
        match what {
            What::Sample { at, latency, late, status, data } => {
                map.serialize_entry("at", &seconds(*at))?;
                map.serialize_entry("latency_ms", &(*latency as f64 / 1e3))?;
                map.serialize_entry("late", late)?;
                map.serialize_entry("status", status)?;
                match data {
                    Some(data) => map.serialize_entry("data", data)?,
                    None => map.serialize_entry("unchanged", &true)?,
                }
            }
            What::Gap { why, tries } => {
                map.serialize_entry("why", why)?;
                map.serialize_entry("tries", tries)?;
            }
            What::Backfill { at, status, data } => {
                map.serialize_entry("at", &seconds(*at))?;
                map.serialize_entry("status", status)?;
                map.serialize_entry("data", data)?;
            }
        }
        map.end()
    }
}

/// The columns of a table that not every kind has.
#[derive(Default)]
pub(crate) struct Row<'a> {
    pub(crate) at: Option<f64>,
    pub(crate) latency: Option<f64>,
    pub(crate) late: Option<bool>,
    pub(crate) status: Option<u16>,
    pub(crate) data: Option<&'a str>,
    pub(crate) why: Option<&'a str>,
    pub(crate) tries: Option<u32>,
}

impl<'a> Row<'a> {
    pub(crate) fn of(what: &'a What) -> Self {
        match what {
            What::Sample { at, latency, late, status, data } => Self {
                at: Some(seconds(*at)),
                latency: Some(*latency as f64 / 1e3),
                late: Some(*late),
                status: Some(*status),
                data: data.as_ref().map(|data| data.get()),
                ..Self::default()
            },
            What::Gap { why, tries } => {
                Self { why: Some(why), tries: Some(*tries), ..Self::default() }
            }
            What::Backfill { at, status, data } => Self {
                at: Some(seconds(*at)),
                status: Some(*status),
                data: Some(data.get()),
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_all_there_is_and_no_more() {
        let data = || RawValue::from_string(r#"{"id":7}"#.to_owned()).unwrap();
        let sample =
            |data| What::Sample { at: 1_500, latency: 12_345, late: false, status: 200, data };
        #[rustfmt::skip]
        let cases = [
            ((1, 1), sample(Some(data())),
             r#""agent":"a","due_at":1.25,"kind":"sample","at":1.5,"latency_ms":12.345,"late":false,"status":200,"data":{"id":7}}"#),
            ((1, 1), sample(None),
             r#""agent":"a","due_at":1.25,"kind":"sample","at":1.5,"latency_ms":12.345,"late":false,"status":200,"unchanged":true}"#),
            ((2, 3), What::Gap { why: "no access token".into(), tries: 4 },
             r#""part":[2,3],"agent":"a","due_at":1.25,"kind":"gap","why":"no access token","tries":4}"#),
            ((1, 1), What::Backfill { at: 2_000, status: 200, data: data() },
             r#""agent":"a","due_at":1.25,"kind":"backfill","at":2.0,"status":200,"data":{"id":7}}"#),
        ];
        for (part, what, expected) in cases {
            let entry =
                Entry { slot: 9, slots: 1, part, agent: Some("a".into()), due_at: 1_250, what };
            let line = Line { poll: "p", series: 2, entry: &entry };
            let expected = format!(r#"{{"poll":"p","series":2,"slot":9,{expected}"#);
            assert_eq!(serde_json::to_string(&line).unwrap(), expected);
        }
    }
}
