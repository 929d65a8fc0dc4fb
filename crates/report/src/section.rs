//! A part of a page under a heading.

use std::fmt::Write;

use crate::card::Card;
use crate::chart::{Bars, Chart};
use crate::escape::Escaped;
use crate::table::Table;

/// Texts, pictures, tables and cards, in the order they were added.
#[derive(Clone, Debug)]
pub struct Section {
    heading: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Chart(Chart),
    Bars(Bars),
    Table(Table),
    Card(Card),
}

impl Section {
    /// Under this heading.
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), parts: Vec::new() }
    }

    /// A paragraph.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.with(Part::Text(text.into()))
    }

    /// A picture over time.
    #[must_use]
    pub fn chart(self, chart: Chart) -> Self {
        self.with(Part::Chart(chart))
    }

    /// A picture by category.
    #[must_use]
    pub fn bars(self, bars: Bars) -> Self {
        self.with(Part::Bars(bars))
    }

    /// A table.
    #[must_use]
    pub fn table(self, table: Table) -> Self {
        self.with(Part::Table(table))
    }

    /// A card.
    #[must_use]
    pub fn card(self, card: Card) -> Self {
        self.with(Part::Card(card))
    }

    fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    pub(crate) fn render(&self, html: &mut String, number: usize) {
        let _ = write!(html, "<section><h2>{}</h2>", Escaped(&self.heading));
        for (place, part) in self.parts.iter().enumerate() {
            let id = format!("p{number}-{place}");
            match part {
                Part::Text(text) => {
                    let _ = write!(html, "<p>{}</p>", Escaped(text));
                }
                Part::Chart(chart) => chart.render(html, &id),
                Part::Bars(bars) => bars.render(html, &id),
                Part::Table(table) => table.render(html),
                Part::Card(card) => card.render(html),
            }
        }
        html.push_str("</section>\n");
    }
}
