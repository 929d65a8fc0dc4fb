//! Scope: what an access token may be used for (RFC 6749 §3.3).

use std::fmt;
use std::str::FromStr;

/// A set of scope tokens in one canonical spelling: sorted, each once, one space between two.
///
/// Two requests that mean the same scope are equal, whatever order they name it in. The empty
/// scope is the default and means that none was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

/// A scope holds a character that RFC 6749 §3.3 does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidScope;

impl Scope {
    /// Reads a list of scope tokens with spaces between them. Case matters; spaces too many do not.
    ///
    /// # Errors
    /// When a token holds anything but visible ASCII, or `"` or `\`.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        Self::from_tokens(text.split(' ').filter(|token| !token.is_empty()))
    }

    /// The set of these tokens.
    ///
    /// # Errors
    /// When a token is empty or holds anything but visible ASCII, or `"` or `\`.
    pub fn from_tokens<'a>(
        tokens: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidScope> {
        let mut tokens: Vec<&str> = tokens.into_iter().collect();
        if !tokens.iter().all(|token| is_scope_token(token)) {
            return Err(InvalidScope);
        }
        tokens.sort_unstable();
        tokens.dedup();
        Ok(Self(tokens.join(" ").into()))
    }

    /// The canonical spelling, as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens, sorted.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|token| !token.is_empty())
    }

    /// Whether no scope is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `wider` names every token of this scope.
    pub fn is_subset_of(&self, wider: &Self) -> bool {
        let mut candidates = wider.tokens();
        self.tokens().all(|token| candidates.any(|candidate| candidate == token))
    }
}

fn is_scope_token(token: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !token.is_empty() && token.bytes().all(allowed)
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        Self::parse(text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InvalidScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scope may hold visible ASCII characters except '\"' and '\\' only")
    }
}

impl std::error::Error for InvalidScope {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn spelling_is_canonical() {
        let cases = [
            ("", ""),
            ("   ", ""),
            ("a", "a"),
            ("b a", "a b"),
            ("a b a", "a b"),
            (" b  a ", "a b"),
            ("A a", "A a"),
            ("https://example.test/.default", "https://example.test/.default"),
        ];
        for (text, expected) in cases {
            assert_eq!(scope(text).as_str(), expected, "{text:?}");
        }
    }

    #[test]
    fn characters_outside_the_grammar_are_refused() {
        for text in ["a\tb", "a\nb", "\"a\"", "a\\b", "é", "a\u{0}", "a\u{7f}", "a\u{a0}b"] {
            assert_eq!(Scope::parse(text), Err(InvalidScope), "{text:?}");
        }
        assert_eq!(Scope::from_tokens(["a b"]), Err(InvalidScope), "two tokens passed as one");
        assert_eq!(Scope::from_tokens([""]), Err(InvalidScope));
    }

    #[test]
    fn subset() {
        let cases = [
            ("", "", true),
            ("", "a", true),
            ("a", "", false),
            ("a c", "a b c", true),
            ("c d", "a b c", false),
            ("a b c", "a c", false),
            ("a", "A", false),
            ("ab", "a b", false),
        ];
        for (narrow, wide, expected) in cases {
            assert_eq!(
                scope(narrow).is_subset_of(&scope(wide)),
                expected,
                "{narrow:?} in {wide:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter(
            tokens in prop::collection::vec("[!#-\\[\\]-~]{1,8}", 0..8),
            seed in any::<usize>(),
        ) {
            let mut other = tokens.clone();
            other.extend(tokens.first().cloned());
            if !other.is_empty() {
                let middle = seed % other.len();
                other.rotate_left(middle);
            }
            prop_assert_eq!(scope(&tokens.join(" ")), scope(&other.join("  ")));
        }

        #[test]
        fn different_sets_are_different(
            one in prop::collection::btree_set("[a-c]{1,2}", 0..5),
            other in prop::collection::btree_set("[a-c]{1,2}", 0..5),
        ) {
            let join = |set: &std::collections::BTreeSet<String>| {
                scope(&set.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
            };
            prop_assert_eq!(join(&one) == join(&other), one == other);
            prop_assert_eq!(join(&one).is_subset_of(&join(&other)), one.is_subset(&other));
        }
    }
}
