//! A tiny model of threads, tokens and servers, and the logs it leaves in each format.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

pub(crate) mod world;
pub(crate) mod written;

use bellwether_doctor::{Diagnosis, Examination, Merged, Source};

/// What the doctor says of these logs.
pub(crate) fn diagnose(logs: &[Vec<u8>]) -> Diagnosis {
    let sources = logs.iter().enumerate().map(|(file, log)| {
        Source::open(file, log.as_slice()).unwrap_or_else(|why| panic!("log {file}: {why}"))
    });
    let mut merged = Merged::new(sources.collect()).expect("each has a request");
    let names = (0..logs.len()).map(|file| format!("{file}.log")).collect();
    let mut examination = Examination::new(names);
    while merged.step(&mut examination).expect("it reads") {}
    examination.diagnosis()
}

/// The ids of what was found, in order.
pub(crate) fn ids(diagnosis: &Diagnosis) -> Vec<&'static str> {
    diagnosis.findings.iter().map(|finding| finding.id.as_str()).collect()
}
