//! A diagnosis for a person to read.

use std::fmt::Write;
use std::io::IsTerminal;

use anstyle::AnsiColor;
use bellwether_doctor::{Diagnosis, Finding, Severity, Totals};

/// Wider lines are hard to read.
const WIDTH: usize = 96;
const SHOWN: usize = 3;

/// With colour, or without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    coloured: bool,
}

impl Style {
    /// Colour is for terminals.
    pub(super) fn for_standard_output() -> Self {
        Self { coloured: std::io::stdout().is_terminal() }
    }

    fn paint(self, style: anstyle::Style, text: &str) -> String {
        if self.coloured {
            format!("{}{text}{}", style.render(), style.render_reset())
        } else {
            text.to_owned()
        }
    }

    fn severity(self, severity: Severity) -> String {
        let (colour, text) = match severity {
            Severity::High => (AnsiColor::Red, "high"),
            Severity::Medium => (AnsiColor::Yellow, "medium"),
            Severity::Low => (AnsiColor::Blue, "low"),
        };
        self.paint(colour.on_default().bold(), text)
    }

    fn bold(self, text: &str) -> String {
        self.paint(anstyle::Style::new().bold(), text)
    }

    fn dim(self, text: &str) -> String {
        self.paint(anstyle::Style::new().dimmed(), text)
    }
}

/// All of it.
pub(super) fn told(diagnosis: &Diagnosis, style: Style) -> String {
    let mut text = looked_at(&diagnosis.totals);
    text.push('\n');
    if diagnosis.findings.is_empty() {
        let good = anstyle::Style::new().bold().fg_color(Some(AnsiColor::Green.into()));
        let _ = write!(text, "\n{}", style.paint(good, "Nothing is wrong with the tokens."));
        text.push_str(
            " Looked for: tokens that die early, renewals that pile up or repeat, stale and expired \
             tokens, refresh tokens used twice, throttling at login and API, retry loops, clocks \
             that disagree.",
        );
        return wrapped(&text, 0);
    }
    for (number, finding) in (1..).zip(&diagnosis.findings) {
        text.push('\n');
        text.push_str(&one(number, finding, style));
    }
    text.trim_end().to_owned()
}

/// One finding.
pub(super) fn one(number: usize, finding: &Finding, style: Style) -> String {
    let mut text = format!(
        "{number}. {}  {}, confidence {:.0} %\n",
        style.bold(finding.id.as_str()),
        style.severity(finding.severity),
        finding.confidence * 100.0,
    );
    text.push_str(&wrapped(&format!("   {}.", finding.summary), 3));
    text.push('\n');
    for evidence in finding.evidence.iter().take(SHOWN) {
        let place = format!("{}:{}", evidence.file, evidence.line);
        let line = format!("   {} {}  {}", place, evidence.time, evidence.what);
        let _ = writeln!(text, "{}", style.dim(&wrapped(&line, 5)));
    }
    text.push_str(&wrapped(&format!("   → {}", finding.advice), 5));
    text.push('\n');
    text
}

/// What there was to see.
pub(super) fn looked_at(totals: &Totals) -> String {
    let mut text = format!(
        "{} in {} from {}, {} of them token requests ({} failed); 401: {}, 429: {}",
        counted(totals.requests, "request"),
        counted(totals.lines, "line"),
        counted(totals.callers, "caller"),
        totals.token_requests,
        totals.token_failures,
        totals.status_401,
        totals.status_429,
    );
    if let (Some(first), Some(last)) = (totals.first, totals.last) {
        let _ = write!(text, "; {first} to {last}");
    }
    if totals.unreadable > 0 {
        let _ = write!(text, "; {} could not be read", counted(totals.unreadable, "line"));
    }
    wrapped(&text, 0)
}

fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Broken at spaces; lines after the first begin with `indent` spaces.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.split('\n') {
        let lead: String = paragraph.chars().take_while(|c| *c == ' ').collect();
        let mut line = lead;
        let mut is_empty = true;
        for word in paragraph.split_whitespace() {
            if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        lines.push(line);
    }
    lines.join("\n")
}
