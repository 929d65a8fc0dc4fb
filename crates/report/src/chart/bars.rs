//! Counts by category, such as the second of the minute.

use super::frame::Frame;
use super::{Layer, Mark};

/// A picture of stacked bars.
#[derive(Clone, Debug)]
pub struct Bars {
    title: String,
    about: String,
    categories: Vec<String>,
    layers: Vec<Layer>,
    limits: Vec<Mark>,
    height: f64,
}

impl Bars {
    /// One bar for each category.
    pub fn new(title: impl Into<String>, categories: Vec<String>) -> Self {
        Self {
            title: title.into(),
            about: String::new(),
            categories,
            layers: Vec::new(),
            limits: Vec::new(),
            height: 180.0,
        }
    }

    /// What a reader who does not see the picture is told.
    #[must_use]
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = about.into();
        self
    }

    /// Stacked on those before it.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// A line across at a value.
    #[must_use]
    pub fn limit(mut self, limit: Mark) -> Self {
        self.limits.push(limit);
        self
    }

    pub(crate) fn render(&self, html: &mut String, id: &str) {
        let frame = Frame::new(self.height, &self.layers, &self.limits);
        frame.open(html, id, &self.title, &self.about, &self.layers);
        frame.stacks(html, &self.layers);
        frame.limits(html, &self.limits);
        let every = self.categories.len().div_ceil(13).max(1);
        let every = if every > 2 { every.div_ceil(5) * 5 } else { every };
        for (place, name) in self.categories.iter().enumerate().step_by(every) {
            frame.tick(html, frame.x(place as f64 + 0.5), name);
        }
        let name = |place: usize| self.categories.get(place).cloned().unwrap_or_default();
        frame.numbers(html, &self.layers, name);
        frame.close(html);
    }
}
