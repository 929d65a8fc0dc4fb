//! How far reading has got, on a terminal.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

/// Less is read before anybody looks.
const WORTH_SHOWING: u64 = 64 << 20;

/// A bar over all files together.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn over(files: &[PathBuf]) -> Self {
        let length = |file: &PathBuf| std::fs::metadata(file).map_or(0, |it| it.len());
        let total: u64 = files.iter().map(length).sum();
        let streamed = files.iter().any(|file| file.as_os_str() == "-");
        if !std::io::stderr().is_terminal() || (total < WORTH_SHOWING && !streamed) {
            return Self { bar: None };
        }
        let template = "{bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        let (bar, template) = if streamed {
            (ProgressBar::new_spinner(), "{spinner} {bytes} read, {bytes_per_sec}")
        } else {
            (ProgressBar::new(total), template)
        };
        let style = ProgressStyle::with_template(template);
        Self { bar: Some(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))) }
    }

    /// `input`, with the bar moving as it is read.
    pub(super) fn watch(&self, input: Box<dyn Read>) -> Box<dyn Read> {
        match &self.bar {
            Some(bar) => Box::new(bar.wrap_read(input)),
            None => input,
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
