//! What every picture has: a caption, a legend, a ground with lines, and room for its shapes.

use std::fmt::Write;

use super::{Layer, Mark, Shape};
use crate::axis::{round_values, short};
use crate::escape::Escaped;

pub(super) const WIDTH: f64 = 920.0;
pub(super) const LEFT: f64 = 52.0;
pub(super) const RIGHT: f64 = 10.0;
pub(super) const TOP: f64 = 22.0;
const BOTTOM: f64 = 26.0;

/// Where values are in the picture.
pub(super) struct Frame {
    height: f64,
    most: f64,
    ticks: Vec<f64>,
    count: usize,
}

impl Frame {
    pub(super) fn new(height: f64, layers: &[Layer], limits: &[Mark]) -> Self {
        let count = layers.iter().map(|layer| layer.values.len()).max().unwrap_or(0).max(1);
        let single = layers.iter().filter(|layer| layer.shape != Shape::Stack);
        let single = single.flat_map(|layer| layer.values.iter().copied());
        let limits = limits.iter().map(|limit| limit.at * 1.05);
        let most = single.chain(stacked(layers, count)).chain(limits).fold(0.0, f64::max);
        let ticks = round_values(most);
        let most = ticks.last().copied().unwrap_or(1.0);
        Self { height, most, ticks, count }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Of a place, 0 to `count`.
    pub(super) fn x(&self, place: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * place / self.count as f64
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let room = self.height - TOP - BOTTOM;
        TOP + room * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }

    pub(super) fn ground(&self) -> f64 {
        self.height - BOTTOM
    }

    /// Everything up to the shapes.
    pub(super) fn open(
        &self,
        html: &mut String,
        id: &str,
        title: &str,
        about: &str,
        layers: &[Layer],
    ) {
        let _ = write!(html, "<figure><figcaption>{}", Escaped(title));
        if layers.len() > 1 || layers.iter().any(|layer| layer.name != title) {
            html.push_str("<ul class=\"legend\">");
            for layer in layers {
                let (class, name) = (layer.colour.class(), Escaped(&layer.name));
                let _ = write!(html, "<li><i class=\"key {class}\"></i>{name}</li>");
            }
            html.push_str("</ul>");
        }
        let _ = write!(
            html,
            "</figcaption><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-labelledby=\"{id}t {id}d\">\
             <title id=\"{id}t\">{}</title><desc id=\"{id}d\">{}</desc>",
            self.height,
            Escaped(title),
            Escaped(about),
        );
        for tick in &self.ticks {
            let y = self.y(*tick);
            let _ = write!(
                html,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"tick\" x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 7.0,
                y + 4.0,
                short(*tick),
            );
        }
    }

    /// The stacked layers, from the ground up.
    pub(super) fn stacks(&self, html: &mut String, layers: &[Layer]) {
        let mut base = vec![0.0; self.count];
        let gap = if self.count <= 120 { 0.14 } else { 0.0 };
        for layer in layers.iter().filter(|layer| layer.shape == Shape::Stack) {
            let mut path = String::new();
            for (place, value) in layer.values.iter().enumerate().filter(|(_, value)| **value > 0.0)
            {
                let (left, right) =
                    (self.x(place as f64 + gap / 2.0), self.x(place as f64 + 1.0 - gap / 2.0));
                let (low, high) = (self.y(base[place]), self.y(base[place] + value));
                // What is there is seen, however little it is.
                let high = high.min(low - 1.0);
                let _ = write!(path, "M{left:.1} {low:.1}V{high:.1}H{right:.1}V{low:.1}Z");
                base[place] += value;
            }
            if !path.is_empty() {
                let _ =
                    write!(html, "<path class=\"fill {}\" d=\"{path}\"/>", layer.colour.class());
            }
        }
    }

    /// A line across at each limit.
    pub(super) fn limits(&self, html: &mut String, limits: &[Mark]) {
        for limit in limits {
            let y = self.y(limit.at);
            let _ = write!(
                html,
                "<path class=\"limit\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"note\" x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                WIDTH - RIGHT - 4.0,
                y - 5.0,
                Escaped(&limit.label),
            );
        }
    }

    /// Numbers to see when the pointer rests on a place.
    pub(super) fn numbers(
        &self,
        html: &mut String,
        layers: &[Layer],
        name: impl Fn(usize) -> String,
    ) {
        for place in 0..self.count {
            let told = layers
                .iter()
                .filter_map(|layer| Some((&layer.name, layer.values.get(place)?)))
                .filter(|(_, value)| **value != 0.0)
                .map(|(layer, value)| format!("{layer}: {}", short(*value)))
                .collect::<Vec<_>>();
            if told.is_empty() {
                continue;
            }
            let (left, right) = (self.x(place as f64), self.x(place as f64 + 1.0));
            let _ = write!(
                html,
                "<rect class=\"over\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\">\
                 <title>{}</title></rect>",
                right - left,
                self.ground() - TOP,
                Escaped(format!("{}\n{}", name(place), told.join("\n"))),
            );
        }
    }

    pub(super) fn tick(&self, html: &mut String, x: f64, name: &str) {
        let (ground, below) = (self.ground(), self.height - 8.0);
        let _ = write!(
            html,
            "<path class=\"axis\" d=\"M{x:.1} {ground:.1}v4\"/><text class=\"tick\" x=\"{x:.1}\" \
             y=\"{below:.1}\" text-anchor=\"middle\">{}</text>",
            Escaped(name),
        );
    }

    pub(super) fn close(&self, html: &mut String) {
        let ground = self.ground();
        let _ = write!(
            html,
            "<path class=\"axis\" d=\"M{LEFT} {ground:.1}H{:.1}\"/></svg></figure>",
            WIDTH - RIGHT
        );
    }
}

fn stacked(layers: &[Layer], count: usize) -> impl Iterator<Item = f64> + '_ {
    (0..count).map(move |place| {
        let stacks = layers.iter().filter(|layer| layer.shape == Shape::Stack);
        stacks.filter_map(|layer| layer.values.get(place)).sum()
    })
}
