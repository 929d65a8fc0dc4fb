//! Several logs read as one, in the order of time.
//!
//! The next request is always the earliest that any of them has next. Logs that follow each other
//! in time are read one after the other that way, and logs of the same time side by side.

use crate::examination::Examination;
use crate::formats::Unreadable;
use crate::observation::Observation;
use crate::source::{Next, Source};

/// Logs that are read together.
#[derive(Debug)]
pub struct Merged<'a> {
    sources: Vec<Reading<'a>>,
}

#[derive(Debug)]
struct Reading<'a> {
    source: Source<'a>,
    /// What it has next.
    next: Next,
    seen: Observation,
}

/// A file that cannot be read.
#[derive(Debug)]
pub struct Trouble {
    /// Which, from 0.
    pub file: usize,
    /// Why.
    pub why: Unreadable,
}

impl<'a> Merged<'a> {
    /// These, each at its first request.
    ///
    /// # Errors
    ///
    /// Where one of them has none.
    pub fn new(sources: Vec<Source<'a>>) -> Result<Self, Trouble> {
        let begin = |(file, mut source): (usize, Source<'a>)| {
            let mut seen = Observation::default();
            let next = source.next(&mut seen).map_err(|why| Trouble { file, why })?;
            Ok(Reading { source, next, seen })
        };
        let sources = sources.into_iter().enumerate().map(begin).collect::<Result<_, Trouble>>()?;
        Ok(Self { sources })
    }

    /// Shows the next request to `examination`; false when there is no more.
    ///
    /// # Errors
    ///
    /// Where reading failed.
    pub fn step(&mut self, examination: &mut Examination) -> Result<bool, Trouble> {
        let waiting = self.sources.iter().enumerate().filter(|(_, it)| it.next != Next::End);
        let earliest = waiting.min_by_key(|(_, it)| it.seen.done_at).map(|(file, _)| file);
        let Some(file) = earliest else { return Ok(false) };
        let reading = &mut self.sources[file];
        examination.take(reading.next, &reading.seen);
        reading.next =
            reading.source.next(&mut reading.seen).map_err(|why| Trouble { file, why })?;
        if reading.next == Next::End {
            examination.add_lines(&reading.source);
        }
        Ok(true)
    }

    /// The logs.
    pub fn sources(&self) -> impl Iterator<Item = &Source<'a>> {
        self.sources.iter().map(|reading| &reading.source)
    }
}
