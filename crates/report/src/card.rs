//! One thing to say, with its weight, its reasons and what to do.

use std::fmt::Write;

use crate::colour::Tone;
use crate::escape::Escaped;
use crate::table::Table;

/// A framed piece of a page.
#[derive(Clone, Debug)]
pub struct Card {
    heading: String,
    tone: Tone,
    badges: Vec<String>,
    text: String,
    details: Option<(String, Table)>,
    advice: String,
}

impl Card {
    /// With its heading.
    pub fn new(tone: Tone, heading: impl Into<String>) -> Self {
        Self {
            heading: heading.into(),
            tone,
            badges: Vec::new(),
            text: String::new(),
            details: None,
            advice: String::new(),
        }
    }

    /// A word beside the heading; the first is coloured.
    #[must_use]
    pub fn badge(mut self, badge: impl Into<String>) -> Self {
        self.badges.push(badge.into());
        self
    }

    /// What it says.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// What can be unfolded; on paper it is.
    #[must_use]
    pub fn details(mut self, summary: impl Into<String>, table: Table) -> Self {
        self.details = Some((summary.into(), table));
        self
    }

    /// What to do.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    pub(crate) fn render(&self, html: &mut String) {
        let _ = write!(html, "<article class=\"card {}\"><header>", self.tone.class());
        let _ = write!(html, "<h3>{}</h3>", Escaped(&self.heading));
        for badge in &self.badges {
            let _ = write!(html, "<span class=\"badge\">{}</span>", Escaped(badge));
        }
        let _ = write!(html, "</header><p>{}</p>", Escaped(&self.text));
        if !self.advice.is_empty() {
            let _ = write!(html, "<p class=\"advice\">{}</p>", Escaped(&self.advice));
        }
        if let Some((summary, table)) = &self.details {
            let _ = write!(html, "<details><summary>{}</summary>", Escaped(summary));
            table.render(html);
            html.push_str("</details>");
        }
        html.push_str("</article>");
    }
}
