//! What is wrong with a configuration, told so that it can be put right.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is wrong with one configuration file; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationError {
    file: PathBuf,
    problems: Vec<Problem>,
}

/// One thing to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file; `None` when the file as a whole is meant.
    pub position: Option<Position>,
    /// The key in question, as in `credential[0].pool`; empty when there is none.
    pub key: String,
    /// What is wrong and what to do about it. Holds no secret.
    pub message: String,
    pub(super) excerpt: Option<Excerpt>,
}

/// A place in a text, counted in characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// The line of the file, without what may be secret, and how far the caret's underline goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) line: String,
    pub(super) caret_column: usize,
    pub(super) caret_count: usize,
}

impl ConfigurationError {
    /// The problems of one file, sorted by place.
    pub(super) fn new(file: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.position);
        Self { file: file.to_owned(), problems }
    }

    /// The file as a whole cannot be used. Its name is told anyway, so the message need not begin
    /// with it.
    pub(super) fn whole_file(file: &Path, message: &str) -> Self {
        let name = format!("{} ", file.display());
        let message = message.strip_prefix(&name).unwrap_or(message).to_owned();
        let problem = Problem { position: None, key: String::new(), message, excerpt: None };
        Self::new(file, vec![problem])
    }

    /// The configuration file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is wrong, sorted by place.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigurationError {
    /// A block for each problem: `FILE:LINE:COLUMN: KEY: MESSAGE`, then the line with a caret under
    /// it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(Position { line, column }) = problem.position {
                write!(f, "{line}:{column}:")?;
            }
            if !problem.key.is_empty() {
                write!(f, " {}:", problem.key)?;
            }
            write!(f, " {}", problem.message)?;
            if let (Some(position), Some(excerpt)) = (problem.position, &problem.excerpt) {
                excerpt.fmt(f, position.line)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigurationError {}

impl Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>, number: usize) -> fmt::Result {
        let number = number.to_string();
        let (gutter, indent) = (number.len(), self.caret_column - 1);
        write!(f, "\n{:gutter$} |\n{number} | {}", "", self.line)?;
        write!(f, "\n{:gutter$} | {:indent$}{}", "", "", "^".repeat(self.caret_count))
    }
}
