//! The problems found so far, and which parts of the text must not be shown with them.

use std::ops::Range;

use super::error::{Excerpt, Position, Problem};

/// An excerpt is cut after so many characters.
const LONGEST_EXCERPT: usize = 160;

/// Words in whose company a line with a syntax error may hold a secret.
const SENSITIVE: [&str; 6] = ["secret", "token", "key", "password", "url", "parameters"];

/// Collects problems by their place in the text and turns them into [`Problem`]s at the end, when
/// it is known what to hide.
#[derive(Debug)]
pub(super) struct Findings<'t> {
    text: &'t str,
    found: Vec<Finding>,
    hidden: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Finding {
    span: Range<usize>,
    key: String,
    message: String,
}

impl<'t> Findings<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new(), hidden: Vec::new() }
    }

    /// `span` counts bytes of the text.
    pub(super) fn add(
        &mut self,
        span: Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.found.push(Finding { span, key: key.into(), message: message.into() });
    }

    /// Keeps a part of the text out of every excerpt.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    /// Hides what may be a secret on the line of a syntax error, where keys and values cannot be
    /// told apart.
    pub(super) fn hide_doubtful_line(&mut self, offset: usize) {
        let line = self.line_at(offset);
        let text = &self.text[line.clone()];
        let sensitive = SENSITIVE.iter().any(|word| text.contains(word));
        let assigns = text.find('=');
        if sensitive || (assigns.is_none() && !text.trim_start().starts_with('[')) {
            let from = assigns.map_or(0, |at| at + 1);
            self.hide(line.start + from..line.end);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn line_number(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.found.iter().map(|finding| self.problem(finding)).collect()
    }

    fn problem(&self, finding: &Finding) -> Problem {
        let start = self.char_boundary(finding.span.start);
        let line = self.line_at(start);
        let column = self.text[line.start..start].chars().count() + 1;
        Problem {
            position: Some(Position { line: self.line_number(start), column }),
            key: finding.key.clone(),
            message: finding.message.clone(),
            excerpt: self.excerpt(start..finding.span.end, line),
        }
    }

    /// `None` for an empty line or when the place is too far to the right.
    fn excerpt(&self, span: Range<usize>, line: Range<usize>) -> Option<Excerpt> {
        let mut shown = String::new();
        let (mut caret_column, mut caret_count) = (1, 0);
        let mut in_hidden = false;
        for (offset, character) in self.text[line.clone()].char_indices() {
            let offset = line.start + offset;
            let hidden = self.hidden.iter().any(|hidden| hidden.contains(&offset));
            let repeats = hidden && in_hidden;
            in_hidden = hidden;
            if offset == span.start {
                caret_column = shown.chars().count() + if repeats { 0 } else { 1 };
            }
            if !repeats {
                caret_count += usize::from(span.contains(&offset));
                shown.push(match character {
                    _ if hidden => '…',
                    control if control.is_control() => ' ',
                    other => other,
                });
            }
        }
        if span.start >= line.end {
            caret_column = shown.chars().count() + 1;
        }
        if shown.trim().is_empty() || caret_column > LONGEST_EXCERPT {
            return None;
        }
        let line = shown.trim_end().chars().take(LONGEST_EXCERPT).collect();
        let caret_count = caret_count.clamp(1, LONGEST_EXCERPT + 1 - caret_column);
        Some(Excerpt { line, caret_column, caret_count })
    }

    fn char_boundary(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset.min(self.text.len()))
    }

    /// The line around an offset, without its end.
    fn line_at(&self, offset: usize) -> Range<usize> {
        let offset = self.char_boundary(offset);
        let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[offset..].find('\n').map_or(self.text.len(), |at| offset + at);
        start..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>, hidden: Range<usize>) -> String {
        let mut findings = Findings::new(text);
        findings.hide(hidden);
        findings.add(span, "", "");
        let Problem { position, excerpt, .. } = findings.into_problems().remove(0);
        let Position { line, column } = position.unwrap();
        match excerpt {
            None => format!("{line}:{column}"),
            Some(Excerpt { line: text, caret_column, caret_count }) => {
                format!("{line}:{column} {text} {caret_column}+{caret_count}")
            }
        }
    }

    #[test]
    fn the_caret_stands_under_what_is_meant() {
        #[rustfmt::skip]
        let cases = [
            // text,             place,  hidden, position, excerpt, caret
            ("a = 1",            4..5,   0..0, "1:5 a = 1 5+1"),
            ("x = 0\na = 12\n",  10..12, 0..0, "2:5 a = 12 5+2"),
            ("é = 1",            5..6,   0..0, "1:5 é = 1 5+1"),
            ("\ta = 1",          5..6,   0..0, "1:6  a = 1 6+1"),
            ("a = \"s3\" # b",   4..8,   4..8, "1:5 a = … # b 5+1"),
            ("{a=\"s3\",b=12}",  10..12, 3..7, "1:11 {a=…,b=12} 8+2"),
            ("a = [1,\n2]\nb",   4..10,  0..0, "1:5 a = [1, 5+3"),
            ("a =",              3..3,   0..0, "1:4 a = 4+1"),
            ("a = 1\n",          6..6,   0..0, "2:1"),
        ];
        for (text, span, hidden, expected) in cases {
            assert_eq!(shown(text, span, hidden), expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_shows_no_secret() {
        #[rustfmt::skip]
        let cases = [
            ("client_secret = \"s3cr3t",    "client_secret =…"),
            ("client_secret \"s3cr3t\"",    "…"),
            ("x = { secret = s3cr3t }",     "x =…"),
            ("s3cr3t",                      "…"),
            ("[[credential]",               "[[credential]"),
            ("pool = = 3",                  "pool = = 3"),
        ];
        for (text, expected) in cases {
            let mut findings = Findings::new(text);
            findings.hide_doubtful_line(3);
            findings.add(3..4, "", "");
            let excerpt = findings.into_problems().remove(0).excerpt.unwrap();
            assert_eq!(excerpt.line, expected, "{text:?}");
        }
    }
}
