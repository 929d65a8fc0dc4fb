//! Values over time, in stretches of equal width.

use std::fmt::Write;

use super::frame::{Frame, TOP};
use super::{Layer, Mark, Shape};
use crate::axis::Clock;
use crate::escape::Escaped;

/// A picture of layers over time.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    about: String,
    clock: Clock,
    start: i64,
    width: i64,
    height: f64,
    layers: Vec<Layer>,
    events: Vec<Mark>,
    limits: Vec<Mark>,
}

impl Chart {
    /// From `start`, each value for the next `width` milliseconds.
    pub fn over_time(title: impl Into<String>, clock: Clock, start: i64, width: i64) -> Self {
        Self {
            title: title.into(),
            about: String::new(),
            clock,
            start,
            width: width.max(1),
            height: 240.0,
            layers: Vec::new(),
            events: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// What a reader who does not see the picture is told.
    #[must_use]
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = about.into();
        self
    }

    /// On top of those before it.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Something that happened, at a time in milliseconds.
    #[must_use]
    pub fn event(mut self, event: Mark) -> Self {
        self.events.push(event);
        self
    }

    /// A line across at a value.
    #[must_use]
    pub fn limit(mut self, limit: Mark) -> Self {
        self.limits.push(limit);
        self
    }

    /// How high it is, where 920 is its width.
    #[must_use]
    pub fn height(mut self, height: f64) -> Self {
        self.height = height;
        self
    }

    pub(crate) fn render(&self, html: &mut String, id: &str) {
        let frame = Frame::new(self.height, &self.layers, &self.limits);
        frame.open(html, id, &self.title, &self.about, &self.layers);
        frame.stacks(html, &self.layers);
        for layer in &self.layers {
            self.outline(html, layer, &frame);
        }
        frame.limits(html, &self.limits);
        let end = self.start + self.width * frame.count() as i64;
        for (at, name) in self.clock.ticks(self.start, end) {
            frame.tick(html, self.x(at as f64, &frame), &name);
        }
        for event in &self.events {
            let x = self.x(event.at, &frame);
            let _ = write!(
                html,
                "<path class=\"event\" d=\"M{x:.1} {TOP}V{:.1}\"/><text class=\"note\" x=\"{:.1}\" \
                 y=\"{:.1}\">{}</text>",
                frame.ground(),
                x + 4.0,
                TOP - 6.0,
                Escaped(&event.label),
            );
        }
        let step = if self.width % 1000 == 0 { 1000 } else { 100 };
        frame.numbers(html, &self.layers, |place| {
            let at = self.start + self.width * place as i64;
            format!("{} to {}", self.clock.name(at, step), self.clock.name(at + self.width, step))
        });
        frame.close(html);
    }

    fn x(&self, at: f64, frame: &Frame) -> f64 {
        frame.x((at - self.start as f64) / self.width as f64)
    }

    fn outline(&self, html: &mut String, layer: &Layer, frame: &Frame) {
        let colour = layer.colour.class();
        let mut path = String::new();
        for (place, value) in layer.values.iter().enumerate() {
            let y = frame.y(*value);
            let (left, middle, right) =
                (frame.x(place as f64), frame.x(place as f64 + 0.5), frame.x(place as f64 + 1.0));
            let first = place == 0;
            let _ = match layer.shape {
                Shape::Stack => return,
                Shape::Line if first => write!(path, "M{middle:.1} {y:.1}"),
                Shape::Line => write!(path, "L{middle:.1} {y:.1}"),
                Shape::Step | Shape::Area if first => write!(path, "M{left:.1} {y:.1}H{right:.1}"),
                Shape::Step | Shape::Area => write!(path, "V{y:.1}H{right:.1}"),
            };
        }
        if path.is_empty() {
            return;
        }
        if layer.shape == Shape::Area {
            let (ground, left) = (frame.ground(), frame.x(0.0));
            let _ =
                write!(html, "<path class=\"wash {colour}\" d=\"{path}V{ground:.1}H{left:.1}Z\"/>");
        }
        let _ = write!(html, "<path class=\"line {colour}\" d=\"{path}\"/>");
    }
}
