//! What an authorization server says of itself (RFC 8414, OpenID Connect Discovery).
//!
//! It decides where a person is sent and where secrets go, so nothing in it is read tolerantly: the
//! issuer must be the very one that was asked, and a name that is there twice is refused.

use std::fmt;

use crate::body::{Body, Kind};
use crate::members::Value;
use crate::remark::Remarks;
use crate::{CodeVerifier, Message};

/// The parts of the metadata that are used. Whether a URL may be used is for the caller to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// RFC 6749 §3.1.
    pub authorization_endpoint: Option<String>,
    /// RFC 6749 §3.2.
    pub token_endpoint: Option<String>,
    /// RFC 8628 §3.1.
    pub device_authorization_endpoint: Option<String>,
    /// RFC 7009 §2.
    pub revocation_endpoint: Option<String>,
    /// Whether each authorization response says who sent it (RFC 9207 §3).
    pub issuer_is_promised: bool,
}

/// Why an answer is no metadata of the issuer that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataError {
    /// Another status than 200.
    Status(u16),
    /// No whole JSON object.
    NotJson,
    /// Another issuer's, or nobody's (RFC 8414 §3.3).
    OtherIssuer,
    /// A name that matters is there twice.
    Repeated(&'static str),
    /// A value that matters is of another kind.
    Odd(&'static str),
    /// The server says that it knows no PKCE with S256.
    NoPkce,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "answered with status {status}"),
            Self::NotJson => f.write_str("is no JSON object"),
            Self::OtherIssuer => f.write_str("belongs to another issuer than the configured one"),
            Self::Repeated(name) => write!(f, "has {name} twice"),
            Self::Odd(name) => write!(f, "has an odd {name}"),
            Self::NoPkce => f.write_str("knows no PKCE with S256, which a login here needs"),
        }
    }
}

impl std::error::Error for MetadataError {}

/// Where an issuer's metadata may be, in the order of asking (RFC 8414 §3, §5; OpenID Connect
/// Discovery §4). `issuer` is a URL without query and fragment.
pub fn well_known(issuer: &str) -> Vec<String> {
    let (scheme, rest) = issuer.split_once("://").unwrap_or(("https", issuer));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.strip_suffix('/').unwrap_or(path);
    let origin = format!("{scheme}://{authority}/.well-known");
    let mut all = vec![
        format!("{origin}/oauth-authorization-server{path}"),
        format!("{origin}/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        all.insert(1, format!("{scheme}://{authority}{path}/.well-known/openid-configuration"));
    }
    all
}

/// Reads the metadata of `issuer`.
///
/// # Errors
/// Why it cannot be relied on.
pub fn read_metadata(issuer: &str, message: &Message<'_>) -> Result<Metadata, MetadataError> {
    if message.status != 200 {
        return Err(MetadataError::Status(message.status));
    }
    let body = Body::parse(message, &mut Remarks::default());
    if body.kind != Kind::Object || body.too_long || message.truncated {
        return Err(MetadataError::NotJson);
    }
    if text(&body, "issuer")?.as_deref() != Some(issuer) {
        return Err(MetadataError::OtherIssuer);
    }
    let methods = "code_challenge_methods_supported";
    if let Some(value) = body.once(methods)? {
        let Value::List(known) = value else { return Err(MetadataError::Odd(methods)) };
        let is_ours = |value: &Value| matches!(value, Value::Text(text) if text.as_str() == CodeVerifier::METHOD);
        if !known.iter().any(is_ours) {
            return Err(MetadataError::NoPkce);
        }
    }
    let promise = "authorization_response_iss_parameter_supported";
    let issuer_is_promised = match body.once(promise)? {
        None | Some(Value::Null) => false,
        Some(Value::Boolean(promised)) => *promised,
        Some(
            Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Object(_) | Value::Other,
        ) => return Err(MetadataError::Odd(promise)),
    };
    Ok(Metadata {
        authorization_endpoint: text(&body, "authorization_endpoint")?,
        token_endpoint: text(&body, "token_endpoint")?,
        device_authorization_endpoint: text(&body, "device_authorization_endpoint")?,
        revocation_endpoint: text(&body, "revocation_endpoint")?,
        issuer_is_promised,
    })
}

fn text(body: &Body<'_>, name: &'static str) -> Result<Option<String>, MetadataError> {
    match body.once(name)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text.as_str().to_owned())),
        Some(
            Value::Boolean(_) | Value::Number(_) | Value::List(_) | Value::Object(_) | Value::Other,
        ) => Err(MetadataError::Odd(name)),
    }
}

impl Body<'_> {
    /// The member of this name.
    fn once(&self, name: &'static str) -> Result<Option<&Value>, MetadataError> {
        let mut named = self.all(name);
        match (named.next(), named.next()) {
            (_, Some(_)) => Err(MetadataError::Repeated(name)),
            (found, None) => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://login.example.com/tenant";

    fn read(body: &str) -> Result<Metadata, MetadataError> {
        let message = Message { status: 200, body: body.as_bytes(), ..Message::default() };
        read_metadata(ISSUER, &message)
    }

    #[test]
    fn where_metadata_is_looked_for() {
        #[rustfmt::skip]
        let cases: [(&str, &[&str]); 4] = [
            ("https://a.test", &[
                "https://a.test/.well-known/oauth-authorization-server",
                "https://a.test/.well-known/openid-configuration",
            ]),
            ("https://a.test/", &[
                "https://a.test/.well-known/oauth-authorization-server",
                "https://a.test/.well-known/openid-configuration",
            ]),
            ("https://a.test:444/t/1", &[
                "https://a.test:444/.well-known/oauth-authorization-server/t/1",
                "https://a.test:444/t/1/.well-known/openid-configuration",
                "https://a.test:444/.well-known/openid-configuration/t/1",
            ]),
            ("http://127.0.0.1:9/o/", &[
                "http://127.0.0.1:9/.well-known/oauth-authorization-server/o",
                "http://127.0.0.1:9/o/.well-known/openid-configuration",
                "http://127.0.0.1:9/.well-known/openid-configuration/o",
            ]),
        ];
        for (issuer, expected) in cases {
            assert_eq!(well_known(issuer), expected, "{issuer}");
        }
    }

    #[test]
    fn good_metadata() {
        let whole = read(
            r#"{"issuer":"https://login.example.com/tenant",
                "authorization_endpoint":"https://login.example.com/authorize",
                "token_endpoint":"https://login.example.com/token",
                "device_authorization_endpoint":"https://login.example.com/device",
                "revocation_endpoint":"https://login.example.com/revoke",
                "authorization_response_iss_parameter_supported":true,
                "code_challenge_methods_supported":["plain","S256"],"more":{"a":[1]}}"#,
        );
        let whole = whole.unwrap();
        assert!(whole.issuer_is_promised);
        assert_eq!(whole.revocation_endpoint.as_deref(), Some("https://login.example.com/revoke"));
        let least = r#"{"issuer":"https://login.example.com/tenant"}"#;
        assert_eq!(read(least), Ok(Metadata::default()));
    }

    #[test]
    fn bad_metadata_is_refused_whole() {
        use MetadataError::{NoPkce, NotJson, Odd, OtherIssuer, Repeated};
        #[rustfmt::skip]
        let cases = [
            ("",                                                                NotJson),
            ("[]",                                                              NotJson),
            ("<html>",                                                          NotJson),
            (r#"{"issuer":"https://login.example.com/tenant""#,                 NotJson),
            ("{}",                                                              OtherIssuer),
            (r#"{"issuer":null}"#,                                              OtherIssuer),
            (r#"{"issuer":"https://login.example.com"}"#,                       OtherIssuer),
            (r#"{"issuer":"https://login.example.com/tenant/"}"#,               OtherIssuer),
            (r#"{"issuer":"https://LOGIN.example.com/tenant"}"#,                OtherIssuer),
            (r#"{"issuer":"https://evil.example.com/tenant"}"#,                 OtherIssuer),
            (r#"{"issuer":["https://login.example.com/tenant"]}"#,              Odd("issuer")),
            (r#"{"issuer":"https://evil.test","issuer":"https://login.example.com/tenant"}"#, Repeated("issuer")),
        ];
        for (body, error) in cases {
            assert_eq!(read(body), Err(error), "{body}");
        }
        #[rustfmt::skip]
        let cases = [
            (r#""token_endpoint":"https://a.test","token_endpoint":"https://b.test""#, Repeated("token_endpoint")),
            (r#""token_endpoint":7"#,                                           Odd("token_endpoint")),
            (r#""revocation_endpoint":["https://a.test"]"#,                     Odd("revocation_endpoint")),
            (r#""code_challenge_methods_supported":["plain"]"#,                 NoPkce),
            (r#""code_challenge_methods_supported":[]"#,                        NoPkce),
            (r#""code_challenge_methods_supported":"S256""#,                    Odd("code_challenge_methods_supported")),
            (r#""authorization_response_iss_parameter_supported":"true""#,      Odd("authorization_response_iss_parameter_supported")),
        ];
        for (member, error) in cases {
            let body = format!(r#"{{"issuer":"{ISSUER}",{member}}}"#);
            assert_eq!(read(&body), Err(error), "{body}");
        }
        let moved = Message { status: 302, body: b"{}", ..Message::default() };
        assert_eq!(read_metadata(ISSUER, &moved), Err(MetadataError::Status(302)));
    }
}
