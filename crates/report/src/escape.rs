//! Text made safe to stand in HTML and SVG.

use std::fmt::{self, Display, Write};

/// Writes a value with the five characters of markup escaped, and without control characters.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(formatter), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                c if c.is_control() && c != '\n' => self.0.write_char('\u{FFFD}')?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn markup_is_text() {
        let told = Escaped(r#"<b a="x" c='y'>&\u{1b}"#).to_string();
        assert_eq!(told, "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;\\u{1b}");
        assert_eq!(Escaped("a\u{1b}b\0").to_string(), "a\u{FFFD}b\u{FFFD}");
    }
}
