//! Rows and columns.

use std::fmt::Write;

use crate::escape::Escaped;

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table with a head.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let columns = columns.into_iter().map(|(name, align)| (name.to_owned(), align)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// One row more; cells beyond the columns are left out.
    #[must_use]
    pub fn row(mut self, cells: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    pub(crate) fn render(&self, html: &mut String) {
        let class = |align: Align| match align {
            Align::Left => "",
            Align::Right => " class=\"number\"",
        };
        html.push_str("<div class=\"scroll\"><table><thead><tr>");
        for (name, align) in &self.columns {
            let _ = write!(html, "<th scope=\"col\"{}>{}</th>", class(*align), Escaped(name));
        }
        html.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            html.push_str("<tr>");
            for (cell, (_, align)) in row.iter().zip(&self.columns) {
                let _ = write!(html, "<td{}>{}</td>", class(*align), Escaped(cell));
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table></div>");
    }
}
