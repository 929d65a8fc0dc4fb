//! A whole examination: requests in, a diagnosis out.

use crate::callers::Callers;
use crate::diagnosis::{Diagnosis, Evidence, Finding};
use crate::findings::{Detector, Found, Overall, detectors, found};
use crate::observation::Observation;
use crate::source::{Next, Source};
use crate::timeline::Timeline;
use crate::totals::Totals;

/// What is known after the requests so far.
#[derive(Debug)]
pub struct Examination {
    callers: Callers,
    detectors: Vec<Box<dyn Detector>>,
    totals: Totals,
    timeline: Timeline,
    files: Vec<String>,
}

impl Examination {
    /// Of these files, by the names that evidence shows.
    pub fn new(files: Vec<String>) -> Self {
        Self {
            callers: Callers::default(),
            detectors: detectors(),
            totals: Totals { files: files.len() as u64, ..Totals::default() },
            timeline: Timeline::default(),
            files,
        }
    }

    /// Takes the next request.
    pub fn observe(&mut self, seen: &Observation) {
        let situation = self.callers.place(seen);
        self.totals.observe(seen);
        self.timeline.observe(seen);
        for detector in &mut self.detectors {
            detector.observe(seen, &situation);
        }
    }

    /// What follows belongs to another run: nobody has a token any more.
    pub fn begin_run(&mut self) {
        self.callers.begin_run();
        for detector in &mut self.detectors {
            detector.begin_run();
        }
    }

    /// Takes what a source says comes next.
    pub fn take(&mut self, next: Next, seen: &Observation) {
        match next {
            Next::Request => self.observe(seen),
            Next::RequestOfNewRun => {
                self.begin_run();
                self.observe(seen);
            }
            Next::End => {}
        }
    }

    /// Adds the lines of a source that was read.
    pub fn add_lines(&mut self, source: &Source<'_>) {
        self.totals.lines += source.lines();
        self.totals.unreadable += source.unreadable();
    }

    /// What has been found so far.
    pub fn diagnosis(&self) -> Diagnosis {
        let mut totals = self.totals.clone();
        totals.callers = self.callers.count() as u64;
        totals.lifetime_ms = self.callers.lifetime();
        let overall = Overall {
            totals: &totals,
            holders: self.callers.holders(),
            lifetime: self.callers.lifetime(),
        };
        let found = found(&self.detectors, &overall);
        let findings = found.into_iter().map(|found| self.finding(found)).collect();
        Diagnosis { findings, totals, timeline: self.timeline.clone() }
    }

    fn finding(&self, found: Found) -> Finding {
        let name = |file: usize| self.files.get(file).cloned().unwrap_or_default();
        let evidence = found.examples.into_iter().map(|example| Evidence {
            file: name(example.file),
            line: example.line,
            time: example.time.to_string(),
            what: example.what,
        });
        Finding {
            id: found.id,
            severity: found.severity,
            confidence: (found.confidence * 100.0).round() / 100.0,
            summary: found.summary,
            count: found.count,
            evidence: evidence.collect(),
            advice: found.advice,
        }
    }
}
