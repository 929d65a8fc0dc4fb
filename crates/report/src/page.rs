//! The whole page.

use std::fmt::Write;

use crate::colour::Tone;
use crate::escape::Escaped;
use crate::section::Section;
use crate::style::STYLE;

/// A title, a verdict, a few facts, and sections.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    verdict: Option<(Tone, String)>,
    lead: String,
    facts: Vec<(String, String)>,
    sections: Vec<Section>,
    foot: String,
}

impl Page {
    /// With this title.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            verdict: None,
            lead: String::new(),
            facts: Vec::new(),
            sections: Vec::new(),
            foot: String::new(),
        }
    }

    /// What it comes to, in one sentence.
    #[must_use]
    pub fn verdict(mut self, tone: Tone, verdict: impl Into<String>) -> Self {
        self.verdict = Some((tone, verdict.into()));
        self
    }

    /// What stands under the verdict.
    #[must_use]
    pub fn lead(mut self, lead: impl Into<String>) -> Self {
        self.lead = lead.into();
        self
    }

    /// A number that matters, with its name.
    #[must_use]
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }

    /// One section more.
    #[must_use]
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// What stands at the very end.
    #[must_use]
    pub fn foot(mut self, foot: impl Into<String>) -> Self {
        self.foot = foot.into();
        self
    }

    /// As HTML.
    pub fn render(&self) -> String {
        let mut html = String::with_capacity(1 << 16);
        let title = Escaped(&self.title);
        let _ = write!(
            html,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
             <title>{title}</title><style>{STYLE}</style></head>\n<body><main><p class=\"kicker\">{title}</p>"
        );
        if let Some((tone, verdict)) = &self.verdict {
            let _ = write!(html, "<h1 class=\"{}\">{}</h1>", tone.class(), Escaped(verdict));
        } else {
            let _ = write!(html, "<h1>{title}</h1>");
        }
        if !self.lead.is_empty() {
            let _ = write!(html, "<p class=\"lead\">{}</p>", Escaped(&self.lead));
        }
        if !self.facts.is_empty() {
            html.push_str("<dl class=\"facts\">");
            for (name, value) in &self.facts {
                let (name, value) = (Escaped(name), Escaped(value));
                let _ = write!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
            }
            html.push_str("</dl>");
        }
        html.push('\n');
        for (number, section) in self.sections.iter().enumerate() {
            section.render(&mut html, number);
        }
        if !self.foot.is_empty() {
            let _ = write!(html, "<footer>{}</footer>", Escaped(&self.foot));
        }
        html.push_str("</main></body></html>\n");
        html
    }
}
