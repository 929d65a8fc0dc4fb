//! `bellwether doctor`: reads logs and says what goes wrong with the tokens.

mod live;
mod page;
mod progress;
mod text;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use bellwether_doctor::{Diagnosis, Examination, Merged, Source, Trouble, Unreadable};
use clap::Args;

use self::progress::Progress;
use super::{Failure, print_result};
use crate::tell::tell;

const BUFFER: usize = 1 << 17;

/// Read logs and say what goes wrong with the tokens, the likeliest cause first
///
/// Knows JMeter results (CSV and XML), HAR, JSON lines, nginx (combined), Envoy (default), HAProxy
/// (httplog) and the events of a broker, plain or as gzip or zstd. Several files are read as one, in
/// the order of time. Exit status 0 says that nothing is wrong, 1 that something is, 2 that a file
/// cannot be read.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Logs to read; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON document on standard output
    #[arg(long)]
    json: bool,
    /// Also write a page with pictures, which needs nothing else
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,
    /// Follow a growing log, or a broker by its admin address (http://…), until Ctrl-C
    #[arg(long)]
    live: bool,
}

impl Doctor {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.files.iter().filter(|file| is_standard_input(file)).count() > 1 {
            return Err(Failure::Usage("standard input (`-`) can be read only once".to_owned()));
        }
        let diagnosis = if self.live { self.follow()? } else { self.examine()? };
        if let Some(path) = &self.html {
            self.write_page(path, &diagnosis)?;
        }
        if self.json {
            let document = serde_json::to_string(&diagnosis).map_err(|error| {
                Failure::Failed(format!("the result cannot be written: {error}"))
            })?;
            print_result(&document)?;
        } else {
            print_result(&text::told(&diagnosis, text::Style::for_standard_output()))?;
        }
        if diagnosis.findings.is_empty() { Ok(()) } else { Err(Failure::Told { exit_status: 1 }) }
    }

    fn examine(&self) -> Result<Diagnosis, Failure> {
        let progress = Progress::over(&self.files);
        let cannot = |trouble: Trouble| self.cannot_be_read(&trouble);
        let mut sources = Vec::new();
        for (file, path) in self.files.iter().enumerate() {
            let source = open(path)
                .map(|input| BufReader::with_capacity(BUFFER, progress.watch(input)))
                .map_err(Unreadable::Io)
                .and_then(|input| Source::open(file, input))
                .map_err(|why| cannot(Trouble { file, why }))?;
            sources.push(source);
        }
        let mut examination = Examination::new(self.files.iter().map(|path| name(path)).collect());
        let mut merged = Merged::new(sources).map_err(cannot)?;
        while merged.step(&mut examination).map_err(cannot)? {}
        progress.end();
        for (path, source) in self.files.iter().zip(merged.sources()) {
            if let Some(damage) = source.damage() {
                tell!("{}: it ends before its end ({damage}); read as far as it goes", name(path));
            }
        }
        Ok(examination.diagnosis())
    }

    fn follow(&self) -> Result<Diagnosis, Failure> {
        let [path] = self.files.as_slice() else {
            return Err(Failure::Usage("--live follows one FILE or address".to_owned()));
        };
        live::follow(path, self.json)
    }

    fn write_page(&self, path: &Path, diagnosis: &Diagnosis) -> Result<(), Failure> {
        let files: Vec<String> = self.files.iter().map(|path| name(path)).collect();
        std::fs::write(path, page::page(diagnosis, &files)).map_err(|error| {
            Failure::Usage(format!("{} cannot be written: {error}", path.display()))
        })
    }

    fn cannot_be_read(&self, trouble: &Trouble) -> Failure {
        let path = self.files.get(trouble.file).map_or(Path::new(""), PathBuf::as_path);
        unreadable(path, &trouble.why)
    }
}

fn unreadable(path: &Path, why: &Unreadable) -> Failure {
    Failure::Usage(format!("{} cannot be read: {why}", name(path)))
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn name(path: &Path) -> String {
    if is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    if is_standard_input(path) {
        return Ok(Box::new(std::io::stdin()));
    }
    Ok(Box::new(File::open(path)?))
}
