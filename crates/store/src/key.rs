//! What a row is found under.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::seal::Digest;

/// The longest part of a key, in bytes.
const PART_LIMIT: usize = 128;

/// Names a row and its lease: `kind/name` or `kind/name/member`.
///
/// Each part is 1 to 128 of `A-Z a-z 0-9 . _ -`, so that no key can mean anything to a query
/// language, a path or a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    kind: Kind,
    name: Arc<str>,
    member: Option<u16>,
}

impl Key {
    /// One member of a configured credential's pool (a credential without a pool is member 0).
    ///
    /// # Errors
    /// If `name` breaks the grammar.
    pub fn credential(name: &str, member: u16) -> Result<Self, KeyError> {
        Ok(Self::other(Kind::CREDENTIAL, name)?.with_member(member))
    }

    /// A client that brought its own id and secret.
    pub fn client(digest: &Digest) -> Self {
        Self { kind: Kind::CLIENT, name: digest.to_hex().into(), member: None }
    }

    /// A refresh token that a caller brought.
    pub fn refresh(digest: &Digest) -> Self {
        Self { kind: Kind::REFRESH, name: digest.to_hex().into(), member: None }
    }

    /// Any other row.
    ///
    /// # Errors
    /// If `name` breaks the grammar.
    pub fn other(kind: Kind, name: &str) -> Result<Self, KeyError> {
        part(name)?;
        Ok(Self { kind, name: name.into(), member: None })
    }

    /// The same key with a member.
    #[must_use]
    pub fn with_member(self, member: u16) -> Self {
        Self { member: Some(member), ..self }
    }

    /// The kind.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, to be kept without another copy.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The member, if the key has one.
    pub fn member(&self) -> Option<u16> {
        self.member
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)?;
        self.member.map_or(Ok(()), |member| write!(f, "/{member}"))
    }
}

impl FromStr for Key {
    type Err = KeyError;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let kind = Kind::new(parts.next().unwrap_or_default())?;
        let key = Self::other(kind, parts.next().unwrap_or_default())?;
        let key = match parts.next() {
            Some(member) => key.with_member(member.parse().map_err(|_| KeyError::Member)?),
            None => key,
        };
        if parts.next().is_some() || key.to_string() != text {
            return Err(KeyError::Member);
        }
        Ok(key)
    }
}

/// What sort of row a key names; rows are listed by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// Members of configured credentials.
    pub const CREDENTIAL: Self = Self(Cow::Borrowed("credential"));
    /// Clients that brought their own id and secret.
    pub const CLIENT: Self = Self(Cow::Borrowed("client"));
    /// Refresh tokens that callers brought.
    pub const REFRESH: Self = Self(Cow::Borrowed("refresh"));

    /// A kind of one's own.
    ///
    /// # Errors
    /// If `text` breaks the grammar.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        part(text)?;
        Ok(Self(Cow::Owned(text.to_owned())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A part is empty or too long.
    #[error("a name in the store has 1 to 128 characters")]
    Length,
    /// A character outside the grammar.
    #[error("a name in the store has only letters, digits, '.', '_' and '-'")]
    Character,
    /// What follows the name is no member.
    #[error("a key in the store is KIND/NAME or KIND/NAME/MEMBER, with MEMBER from 0 to 65535")]
    Member,
}

fn part(text: &str) -> Result<(), KeyError> {
    if text.is_empty() || text.len() > PART_LIMIT {
        return Err(KeyError::Length);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.bytes().all(allowed) { Ok(()) } else { Err(KeyError::Character) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["credential/polling/0", "credential/a.b-c_D/65535", "client/00ff", "x/y"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        assert_eq!("credential/polling/3".parse(), Key::credential("polling", 3));
    }

    #[test]
    fn refuses_what_breaks_the_grammar() {
        let long = format!("x/{}", "y".repeat(129));
        let cases = [
            ("", KeyError::Length),
            ("x", KeyError::Length),
            ("x/", KeyError::Length),
            ("/y", KeyError::Length),
            (&long, KeyError::Length),
            ("x/y'; DROP TABLE", KeyError::Character),
            ("x/y\r\nFLUSHALL", KeyError::Character),
            ("x/é", KeyError::Character),
            ("x/y/", KeyError::Member),
            ("x/y/65536", KeyError::Member),
            ("x/y/007", KeyError::Member),
            ("x/y/+7", KeyError::Member),
            ("x/y/1/2", KeyError::Member),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Key>(), Err(error), "{text:?}");
        }
    }
}
