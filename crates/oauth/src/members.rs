//! Reads the members of a JSON object, as far as they can be read.
//!
//! A parser that gives all or nothing loses a new refresh token to a `NaN` three members later.
//! This one gives each member it has read, and says whether the object was whole. It accepts all of
//! JSON (RFC 8259), and beyond it any bare word as a value, control characters in strings and a
//! trailing comma. Of members with the same name it keeps all.

use zeroize::Zeroizing;

/// Levels of objects and arrays; what is deeper is passed over.
pub(crate) const MAX_DEPTH: usize = 16;

/// A value, as far as a token response needs it.
#[derive(PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    /// As it was spelled: `1e400` and `NaN` included.
    Number(String),
    /// What could not be decoded in it is U+FFFD.
    Text(Zeroizing<String>),
    List(Vec<Value>),
    Object(Vec<Member>),
    /// A bare word that JSON does not know, or something too deep.
    Other,
}

/// A member of an object: a name and its value.
#[derive(PartialEq)]
pub(crate) struct Member {
    pub(crate) name: Zeroizing<String>,
    pub(crate) value: Value,
}

/// What could be read of an object.
pub(crate) struct Object {
    pub(crate) members: Vec<Member>,
    /// Bytes of a whole object.
    pub(crate) length: usize,
    pub(crate) whole: bool,
    pub(crate) too_deep: bool,
}

/// Reads the object that `text` begins with.
pub(crate) fn object(text: &str) -> Object {
    let mut scanner = Scanner { text, at: 0, depth: 0, too_deep: false };
    let mut members = Vec::new();
    let whole = scanner.members(&mut members).is_some();
    Object { members, length: scanner.at, whole, too_deep: scanner.too_deep }
}

/// The first text after a `"name":` in `text`, wherever that stands: the last resort when an object
/// is broken.
pub(crate) fn first_text(text: &str, name: &str) -> Option<Zeroizing<String>> {
    text.match_indices(name).find_map(|(at, _)| {
        let rest = text[at + name.len()..].strip_prefix('"')?;
        text[..at].ends_with('"').then_some(())?;
        let mut scanner = Scanner { text: rest, at: 0, depth: 0, too_deep: false };
        scanner.take(b':')?;
        scanner.space();
        scanner.string()
    })
}

/// Each step gives `None` where the text stops making sense.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    too_deep: bool,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes white space and then `byte`.
    fn take(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn members(&mut self, members: &mut Vec<Member>) -> Option<()> {
        self.take(b'{')?;
        loop {
            if self.take(b'}').is_some() {
                return Some(());
            }
            let name = self.string()?;
            self.take(b':')?;
            members.push(Member { name, value: self.value()? });
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    fn list(&mut self) -> Option<Vec<Value>> {
        self.take(b'[')?;
        let mut values = Vec::new();
        loop {
            if self.take(b']').is_some() {
                return Some(values);
            }
            values.push(self.value()?);
            if self.take(b',').is_none() {
                return self.take(b']').map(|()| values);
            }
        }
    }

    fn value(&mut self) -> Option<Value> {
        self.space();
        match self.peek()? {
            b'"' => self.string().map(Value::Text),
            b'{' | b'[' if self.depth + 2 > MAX_DEPTH => {
                self.too_deep = true;
                self.pass_over()
            }
            b'{' => {
                self.depth += 1;
                let mut members = Vec::new();
                self.members(&mut members)?;
                self.depth -= 1;
                Some(Value::Object(members))
            }
            b'[' => {
                self.depth += 1;
                let values = self.list()?;
                self.depth -= 1;
                Some(Value::List(values))
            }
            _ => self.bare_word(),
        }
    }

    /// Passes over an object or array without recursion, however deep it is.
    fn pass_over(&mut self) -> Option<Value> {
        let mut open = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string_end()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Some(Value::Other);
            }
        }
    }

    /// A number, a literal, or any other run without quotes, brackets, separators and white space.
    fn bare_word(&mut self) -> Option<Value> {
        let rest = &self.text[self.at..];
        let ends = |character: char| {
            character.is_whitespace()
                || matches!(character, ',' | ':' | '"' | '{' | '}' | '[' | ']')
        };
        // At the very end of the text nobody knows whether the word was longer.
        let word = &rest[..rest.find(ends)?];
        if word.is_empty() {
            return None;
        }
        self.at += word.len();
        let numeric = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.');
        Some(match word {
            "null" => Value::Null,
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            "NaN" | "Infinity" => Value::Number(word.to_owned()),
            _ if word.bytes().next().is_some_and(numeric) => Value::Number(word.to_owned()),
            _ => Value::Other,
        })
    }

    /// Passes a string and gives what is between its quotes, still escaped.
    fn string_end(&mut self) -> Option<&str> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(&self.text[start..self.at - 1]);
                }
                // The next byte is escaped, and if it is more than ASCII the rest of it is passed
                // as what it is.
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }

    fn string(&mut self) -> Option<Zeroizing<String>> {
        let escaped = self.string_end()?;
        // The longest growth is an escape of two bytes that becomes U+FFFD: a buffer that never
        // grows leaves no copy behind.
        let mut text = Zeroizing::new(String::with_capacity(escaped.len() / 2 * 3 + 3));
        let mut rest = escaped;
        while let Some(at) = rest.find('\\') {
            text.push_str(&rest[..at]);
            let (character, length) = unescape(&rest[at + 1..]);
            text.push(character);
            rest = &rest[at + 1 + length..];
        }
        text.push_str(rest);
        Some(text)
    }
}

/// The character that an escape stands for, and the bytes of the escape after its backslash.
fn unescape(escape: &str) -> (char, usize) {
    let Some(first) = escape.chars().next() else {
        return (char::REPLACEMENT_CHARACTER, 0);
    };
    let character = match first {
        '"' | '\\' | '/' => first,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unescape_unicode(escape),
        _ => char::REPLACEMENT_CHARACTER,
    };
    (character, first.len_utf8())
}

/// `u0000`, or a pair of them for a character beyond the basic plane.
fn unescape_unicode(escape: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 4)?;
        let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        hexadecimal.then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let Some(first) = unit(1) else {
        return (char::REPLACEMENT_CHARACTER, 1);
    };
    let second = if escape.get(5..7) == Some("\\u") { unit(7) } else { None };
    let pair = [first, second.unwrap_or(0)];
    match char::decode_utf16(pair).next() {
        Some(Ok(character)) => (character, if character.len_utf16() == 2 { 11 } else { 5 }),
        Some(Err(_)) | None => (char::REPLACEMENT_CHARACTER, 5),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The members as one line, so that a table shows them.
    fn shown(value: &Value) -> String {
        match value {
            Value::Null => "null".to_owned(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::Number(spelled) => spelled.clone(),
            Value::Text(text) => format!("{:?}", text.as_str()),
            Value::List(values) => {
                format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(","))
            }
            Value::Object(members) => shown_members(members),
            Value::Other => "other".to_owned(),
        }
    }

    fn shown_members(members: &[Member]) -> String {
        let shown = members
            .iter()
            .map(|member| format!("{:?}:{}", member.name.as_str(), shown(&member.value)));
        format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn whole_objects() {
        let cases = [
            ("{}", "{}"),
            (r#" { "a" : 1 , "b" : [ true , null ] } "#, r#"{"a":1,"b":[true,null]}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
            (r#"{"a":{"b":{"c":"d"}}}"#, r#"{"a":{"b":{"c":"d"}}}"#),
            (r#"{"a":-1.5e+3,"b":1e400,"c":NaN}"#, r#"{"a":-1.5e+3,"b":1e400,"c":NaN}"#),
            (r#"{"a":undefined,"b":False}"#, r#"{"a":other,"b":other}"#),
            (r#"{"a":[1,],}"#, r#"{"a":[1]}"#),
            (r#"{"\u0061\n":"\"\\\/\b\f\r\t"}"#, r#"{"a\n":"\"\\/\u{8}\u{c}\r\t"}"#),
            (r#"{"a":"\u00e9\ud83d\ude00é"}"#, r#"{"a":"é😀é"}"#),
            (r#"{"a":"\ud83dx\ude00\q\u12"}"#, "{\"a\":\"\u{fffd}x\u{fffd}\u{fffd}\u{fffd}12\"}"),
            (r#"{"a":"\ud83d\u0041"}"#, "{\"a\":\"\u{fffd}A\"}"),
            ("{\"a\":\"x\ny\"}", r#"{"a":"x\ny"}"#),
        ];
        for (text, expected) in cases {
            let read = object(text);
            assert!(read.whole, "{text}");
            assert_eq!(shown_members(&read.members), expected, "{text}");
        }
    }

    #[test]
    fn broken_objects_give_what_came_before() {
        let cases = [
            ("", "{}"),
            ("{", "{}"),
            (r#"{"a":1"#, "{}"),
            (r#"{"a":1,"#, r#"{"a":1}"#),
            (r#"{"a":"b","c"#, r#"{"a":"b"}"#),
            (r#"{"a":"b","c":"#, r#"{"a":"b"}"#),
            (r#"{"a":"b","c":"d"#, r#"{"a":"b"}"#),
            (r#"{"a":"b","c":"d\"#, r#"{"a":"b"}"#),
            (r#"{"a":"b","c":{"d":1}"#, r#"{"a":"b","c":{"d":1}}"#),
            (r#"{"a":"b" "c":"d"}"#, r#"{"a":"b"}"#),
            (r#"{"a":"b",c:"d"}"#, r#"{"a":"b"}"#),
            (r#"{"a":"b","c":,"d":1}"#, r#"{"a":"b"}"#),
            (r#"{"a":"b","c":[1}"#, r#"{"a":"b"}"#),
        ];
        for (text, expected) in cases {
            let read = object(text);
            assert!(!read.whole, "{text}");
            assert_eq!(shown_members(&read.members), expected, "{text}");
        }
    }

    #[test]
    fn the_first_text_of_a_name_is_found_in_rubbish() {
        let cases = [
            (r#"}}"name":"x""#, Some("x")),
            (r#""name" : "x","name":"y""#, Some("x")),
            (r#""name":1,"name":"y""#, Some("y")),
            (r#""name":"cut"#, None),
            (r#"\"name\":\"quoted\""#, None),
            (r#"name:"x""#, None),
            (r#""other_name":"x""#, None),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = first_text(text, "name");
            assert_eq!(found.as_ref().map(|text| text.as_str()), expected, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_and_what_is_behind_is_read() {
        for (depth, too_deep) in [(1, false), (15, false), (16, true), (20_000, true)] {
            let text = format!(r#"{{"a":{}"]["{},"b":1}}"#, "[".repeat(depth), "]".repeat(depth));
            let read = object(&text);
            assert!(read.whole, "{depth}");
            assert_eq!(read.too_deep, too_deep, "{depth}");
            assert_eq!(read.members.len(), 2, "{depth}");
        }
    }

    /// The same as another parser makes of it; numbers as they are spelled.
    fn from_json(value: &serde_json::Value) -> Value {
        match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(boolean) => Value::Boolean(*boolean),
            serde_json::Value::Number(number) => Value::Number(number.to_string()),
            serde_json::Value::String(text) => Value::Text(Zeroizing::new(text.clone())),
            serde_json::Value::Array(values) => Value::List(values.iter().map(from_json).collect()),
            serde_json::Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| Member {
                        name: Zeroizing::new(name.clone()),
                        value: from_json(value),
                    })
                    .collect(),
            ),
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_json_is_read_as_another_parser_reads_it(value in json(), indented in any::<bool>()) {
            let value = serde_json::json!({ "member": value });
            let text = if indented { format!("{value:#}") } else { value.to_string() };
            let read = object(&text);
            prop_assert!(read.whole);
            prop_assert_eq!(read.length, text.len());
            prop_assert!(Value::Object(read.members) == from_json(&value), "{}", text);
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{}:,\"\\\\ua0-9ntd\\-é ]{0,60}") {
            let _ = object(&format!("{{{text}"));
            let _ = first_text(&text, "a");
        }
    }
}
