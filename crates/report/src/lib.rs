//! Pages that need nothing else: pictures, tables and a verdict in one HTML file.
//!
//! Data in, a `String` out. A [`Page`] has a verdict and [`Section`]s; a section has texts,
//! [`Chart`]s, [`Bars`], [`Table`]s and [`Card`]s. Pictures are inline SVG with a title and a
//! description, so that a screen reader tells them; hovering over one shows its numbers without a
//! script. Light or dark is the reader's choice, and a print has no dark.
//!
//! - Nothing is loaded from anywhere, and there is no script.
//! - Whatever comes from outside is escaped in exactly one place: where it is written.
//! - The same data give the same bytes.

mod axis;
mod card;
mod chart;
mod colour;
mod escape;
mod page;
mod section;
mod style;
mod table;

pub use axis::Clock;
pub use card::Card;
pub use chart::{Bars, Chart, Layer, Mark, Shape};
pub use colour::{Colour, Tone};
pub use page::Page;
pub use section::Section;
pub use table::{Align, Table};
