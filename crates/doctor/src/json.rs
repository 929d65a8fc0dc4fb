//! JSON as a stream of paths and values: what is wanted is picked, all else passes by.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value without parts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Number(f64),
    Other,
}

impl Scalar<'_> {
    /// As text, whatever it is.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Other => Cow::Borrowed(""),
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Number(number) => Some(*number),
            Self::Other => None,
        }
    }
}

/// Shows every value in a JSON object with the names that lead to it, joined by dots. The elements
/// of a list have the list's name.
///
/// Bytes that are not UTF-8 are read as if they were a question mark.
pub(crate) fn each_value(text: &[u8], each: &mut dyn FnMut(&str, Scalar<'_>)) -> bool {
    let text = String::from_utf8_lossy(text);
    let mut path = String::new();
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let seed = Walk { path: &mut path, each };
    seed.deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok()
}

struct Walk<'a> {
    path: &'a mut String,
    each: &'a mut dyn FnMut(&str, Scalar<'_>),
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.each)(self.path, Scalar::Text(text));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        (self.each)(self.path, Scalar::Number(number));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        (self.each)(self.path, Scalar::Number(number as f64));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        (self.each)(self.path, Scalar::Number(number as f64));
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        (self.each)(self.path, Scalar::Other);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Walk { path: self.path, each: self.each })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let length = self.path.len();
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&name);
            members.next_value_seed(Walk { path: self.path, each: self.each })?;
            self.path.truncate(length);
        }
        Ok(())
    }
}
