//! One log, read request by request.

use std::io::BufRead;

use crate::classify::Classifier;
use crate::formats::{Format, Reader, Step, Unreadable, detect};
use crate::input::{Window, decoded};
use crate::observation::Observation;

/// What comes next in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A request.
    Request,
    /// A request, the first of another run of the test.
    RequestOfNewRun,
    /// Nothing more.
    End,
}

/// A log that is being read.
pub struct Source<'a> {
    format: Format,
    reader: Box<dyn Reader>,
    window: Window<'a>,
    classifier: Classifier,
    file: usize,
    unreadable: u64,
    requests: u64,
    damage: Option<String>,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Source").field("format", &self.format).finish_non_exhaustive()
    }
}

impl<'a> Source<'a> {
    /// Begins to read `input`, which is file number `file`.
    pub fn open(file: usize, input: impl BufRead + 'a) -> Result<Self, Unreadable> {
        let mut window = Window::new(decoded(input)?);
        let (format, reader) = detect(&mut window)?;
        Ok(Self {
            format,
            reader,
            window,
            classifier: Classifier::new(),
            file,
            unreadable: 0,
            requests: 0,
            damage: None,
        })
    }

    /// Reads the next request into `seen`.
    ///
    /// # Errors
    ///
    /// Where there was no request from beginning to end.
    pub fn next(&mut self, seen: &mut Observation) -> Result<Next, Unreadable> {
        let mut new_run = false;
        loop {
            seen.clear();
            seen.file = self.file;
            match self.reader.step(&mut self.window, seen)? {
                Step::Request => break,
                Step::Other => {}
                Step::Unreadable => self.unreadable += 1,
                Step::NewRun => new_run = true,
                Step::End => return self.end(),
            }
        }
        self.requests += 1;
        self.classifier.classify(seen);
        Ok(if new_run { Next::RequestOfNewRun } else { Next::Request })
    }

    fn end(&mut self) -> Result<Next, Unreadable> {
        if let Some(damage) = self.window.take_damage() {
            self.unreadable += 1;
            self.damage = Some(damage.to_string());
        }
        if self.requests == 0 {
            return Err(Unreadable::NoRequest { format: self.format, lines: self.lines() });
        }
        Ok(Next::End)
    }

    /// What it was recognised as.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Lines read so far.
    pub fn lines(&self) -> u64 {
        self.reader.lines()
    }

    /// Lines that could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Why it ended before its end, if it did.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }
}
