//! Pictures: over time, and by category.

mod bars;
mod frame;
mod over_time;

use crate::colour::Colour;

pub use bars::Bars;
pub use over_time::Chart;

/// How a layer is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// On top of the stacked layers before it: what is counted.
    Stack,
    /// From point to point: what is measured.
    Line,
    /// Level until the next value: what is held.
    Step,
    /// A step with its ground filled.
    Area,
}

/// One row of values.
#[derive(Clone, Debug)]
pub struct Layer {
    pub(crate) name: String,
    pub(crate) colour: Colour,
    pub(crate) shape: Shape,
    pub(crate) values: Vec<f64>,
}

impl Layer {
    /// Named in the legend. Values begin at 0; what is no number is nothing.
    pub fn new(name: impl Into<String>, colour: Colour, shape: Shape, values: Vec<f64>) -> Self {
        let values = values.into_iter().map(drawn).collect();
        Self { name: name.into(), colour, shape, values }
    }
}

/// Something that happened at one time, or a limit at one value.
#[derive(Clone, Debug)]
pub struct Mark {
    pub(crate) at: f64,
    pub(crate) label: String,
}

impl Mark {
    /// At a time in milliseconds, or at a value.
    pub fn new(at: f64, label: impl Into<String>) -> Self {
        Self { at: drawn(at), label: label.into() }
    }
}

fn drawn(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}
