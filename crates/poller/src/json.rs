//! The data in an API's answer, as one line of JSON.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::agents::check;

/// Where in an answer the agents are, if it tells of several: names of members, joined by dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The array; empty if the answer itself is one.
    pub items: String,
    /// In an item, its agent's name.
    pub id: String,
}

/// A body as JSON on one line; what is no JSON becomes a string.
pub(crate) fn whole(body: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(body);
    // In JSON a line ends only between tokens: within a string it is written as an escape.
    let on_one_line = text.replace(['\n', '\r'], " ");
    let json = RawValue::from_string(on_one_line.trim().to_owned());
    json.unwrap_or_else(|_| value(&Value::String(text.into_owned())))
}

/// Each item with its agent's name; `None` if the answer has no such array.
pub(crate) fn items(body: &[u8], split: &Split) -> Option<Vec<(String, Box<RawValue>)>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let items = member(&answer, &split.items)?.as_array()?;
    let named = |item: &Value| {
        let name = match member(item, &split.id)? {
            Value::String(name) => name.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        check(&name).ok()?;
        Some((name, value(item)))
    };
    Some(items.iter().filter_map(named).collect())
}

fn member<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let mut names = path.split('.').filter(|name| !name.is_empty());
    names.try_fold(value, |value, name| value.get(name))
}

fn value(value: &Value) -> Box<RawValue> {
    // What was read as JSON can be written as such.
    RawValue::from_string(value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_becomes_one_line_of_json() {
        #[rustfmt::skip]
        let cases = [
            ("{\"a\":1}",                   "{\"a\":1}"),
            (" {\r\n  \"a\": \"x\\ny\"\n}\n", "{    \"a\": \"x\\ny\" }"),
            ("",                            "\"\""),
            ("ok\nfine",                    "\"ok\\nfine\""),
            ("{\"a\":",                     "\"{\\\"a\\\":\""),
        ];
        for (body, expected) in cases {
            assert_eq!(whole(body.as_bytes()).get(), expected, "{body:?}");
        }
        assert_eq!(whole(b"\xff").get(), "\"\u{fffd}\"");
    }

    #[test]
    fn an_answer_is_split_by_agent() {
        let body = r#"{"page":{"entities":[{"id":"a","n":1},{"id":7},{"n":2},{"id":null},{"id":"\u0000"}]}}"#;
        let split = |items: &str, id: &str| Split { items: items.into(), id: id.into() };
        let found = items(body.as_bytes(), &split("page.entities", "id")).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["a", "7"]);
        assert_eq!(found[0].1.get(), r#"{"id":"a","n":1}"#);
        assert!(items(body.as_bytes(), &split("entities", "id")).is_none());
        assert!(items(b"[]", &split("", "id")).unwrap().is_empty());
        assert!(items(b"not json", &split("", "id")).is_none());
    }
}
