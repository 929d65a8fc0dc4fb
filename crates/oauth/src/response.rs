//! The answer of the token endpoint: a response (RFC 6749 §5.1) or an error (§5.2), read from
//! whatever came.
//!
//! - Nothing in an optional field costs the access token; nothing at all costs a readable new
//!   refresh token.
//! - An access token is used only if it can be sent as it is.
//! - An error in the body is believed before a success in the status.

use std::fmt;
use std::time::Duration;

use crate::body::{Body, Kind};
use crate::clean::holds_secret;
use crate::members::Value;
use crate::refusal::refusal;
use crate::remark::Remarks;
use crate::{Details, Remark, Scope, Secret, TokenError};

/// Bytes of a body that are looked at: 64 KiB. A longer one is not used, but a refresh token at its
/// beginning is saved.
pub const MAX_BODY: usize = 64 * 1024;
/// Bytes of an access token that can be sent: 16 KiB, beyond what servers accept in a header.
pub const MAX_ACCESS_TOKEN: usize = 16 * 1024;
/// The longest lifetime that is believed: ten years.
pub const MAX_EXPIRES_IN: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What came back over HTTP, as far as it matters here.
#[derive(Clone, Copy, Default)]
pub struct Message<'a> {
    /// The final status: 1xx do not count.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// `Date`.
    pub date: Option<&'a str>,
    /// `WWW-Authenticate`.
    pub www_authenticate: Option<&'a str>,
    /// Whether there is a `Location`.
    pub location: bool,
    /// The body, or its beginning: [`MAX_BODY`] + 1 bytes suffice.
    pub body: &'a [u8],
    /// Whether the connection failed before the body was whole.
    pub truncated: bool,
    /// The wall clock, in seconds since the Unix epoch.
    pub wall: u64,
    /// What was sent and must not come back in a text: client secret, refresh token.
    pub secrets: &'a [&'a Secret],
}

/// Shows the size of the body and no byte of it.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("status", &self.status)
            .field("body", &self.body.len())
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

/// What a [`Message`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The tokens, or why there are none.
    pub outcome: Result<TokenResponse, TokenError>,
    /// Any new refresh token that could be read, whatever else is wrong: to be kept before anything
    /// else is done. One that was sent and came back under an error is not new.
    pub refresh_token: Option<Secret>,
    /// What was odd.
    pub remarks: Vec<Remark>,
}

/// A successful token response (RFC 6749 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenResponse {
    /// The access token: visible ASCII, at most [`MAX_ACCESS_TOKEN`] bytes.
    pub access_token: Secret,
    /// How it is to be sent.
    pub token_type: TokenType,
    /// Its lifetime, counted from when it was requested; at most [`MAX_EXPIRES_IN`]. `None` when the
    /// server did not say.
    pub expires_in: Option<Duration>,
    /// The refresh token to use from now on. `None` keeps the old one.
    pub refresh_token: Option<Secret>,
    /// The scope granted. `None` when it is what was asked for.
    pub scope: Option<Scope>,
}

/// How an access token is sent; other types than bearer are not supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenType {
    /// `Authorization: Bearer …` (RFC 6750).
    #[default]
    Bearer,
}

impl fmt::Display for TokenType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("Bearer"),
        }
    }
}

/// Reads an answer. Never fails: what makes no sense is a [`TokenError`].
pub fn read(message: &Message<'_>) -> Reading {
    let mut remarks = Remarks::default();
    let body = Body::parse(message, &mut remarks);
    let refresh_token = refresh_token(&body, &mut remarks);
    let outcome =
        outcome(message, &body, &mut remarks).map(|(access_token, expires_in)| TokenResponse {
            access_token,
            token_type: TokenType::Bearer,
            expires_in,
            refresh_token: refresh_token.clone(),
            scope: scope(message, &body, &mut remarks),
        });
    let presented = |token: &Secret| message.secrets.contains(&token);
    let refresh_token = refresh_token.filter(|token| outcome.is_ok() || !presented(token));
    if outcome.is_err() && refresh_token.is_some() {
        remarks.add(Remark::RefreshTokenSaved);
    }
    Reading { outcome, refresh_token, remarks: remarks.into_vec() }
}

fn outcome(
    message: &Message<'_>,
    body: &Body,
    remarks: &mut Remarks,
) -> Result<(Secret, Option<Duration>), TokenError> {
    let success = matches!(message.status, 200..=299);
    if !success || body.is_error() {
        if success {
            remarks.add(Remark::ErrorUnderSuccess);
        }
        if body.text("access_token").is_some() {
            remarks.add(Remark::TokenUnderError);
        }
        return Err(refusal(message, body, remarks));
    }
    let access_token = access_token(body).map_err(|why| TokenError::Unusable {
        why,
        details: Details::new(message.status, None, None, &[]),
    })?;
    if !is_bearer(body, remarks) {
        let details = Details::new(message.status, None, None, &[]);
        return Err(TokenError::UnsupportedTokenType { details });
    }
    Ok((access_token, expires_in(body, remarks)))
}

fn access_token(body: &Body) -> Result<Secret, &'static str> {
    if body.too_long {
        return Err("the body is too long");
    }
    match body.kind {
        Kind::Object | Kind::Form => {}
        Kind::Empty => return Err("the body is empty"),
        Kind::BrokenObject => return Err("the JSON is cut short or malformed"),
        Kind::DeepObject => return Err("the JSON nests too deeply"),
        Kind::Markup => return Err("the body is a page for a browser"),
        Kind::Other => return Err("the body is neither a JSON object nor a form"),
    }
    let Some(access_token) = body.text("access_token") else {
        return Err("access_token is missing or no text");
    };
    if access_token.len() > MAX_ACCESS_TOKEN {
        return Err("access_token is too long to be sent");
    }
    if !access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("access_token holds characters that cannot be sent");
    }
    Ok(Secret::from(access_token))
}

fn is_bearer(body: &Body, remarks: &mut Remarks) -> bool {
    let Some(token_type) = body.text("token_type") else {
        remarks.add(Remark::TokenTypeMissing);
        return true;
    };
    let name = token_type.trim();
    // Apigee's name for it.
    let odd = name.eq_ignore_ascii_case("BearerToken");
    if odd || name.len() != token_type.len() {
        remarks.add(Remark::TokenTypeOdd);
    }
    odd || name.eq_ignore_ascii_case("Bearer")
}

fn expires_in(body: &Body, remarks: &mut Remarks) -> Option<Duration> {
    let mut there = false;
    let mut odd = false;
    let seconds = body.last("expires_in", |value| {
        let spelled = match value {
            Value::Number(spelled) => spelled.as_str(),
            Value::Text(text) => text.trim(),
            Value::Null => return None,
            Value::Boolean(_) | Value::List(_) | Value::Object(_) | Value::Other => "",
        };
        there = true;
        let seconds = spelled.parse::<f64>().ok().filter(|seconds| seconds.is_finite())?;
        odd = spelled.bytes().any(|byte| !byte.is_ascii_digit())
            || (matches!(value, Value::Text(_)) && body.kind != Kind::Form);
        Some(seconds.trunc())
    });
    let Some(seconds) = seconds else {
        if there {
            remarks.add(Remark::ExpiresInUnreadable);
        }
        return None;
    };
    if odd {
        remarks.add(Remark::ExpiresInOdd);
    }
    let lifetime = seconds.clamp(0.0, MAX_EXPIRES_IN.as_secs_f64());
    if lifetime != seconds {
        remarks.add(Remark::ExpiresInClamped);
    }
    Some(Duration::from_secs_f64(lifetime))
}

/// Sent in a form, a refresh token may hold any character; only one that was not decoded whole is
/// worthless.
fn refresh_token(body: &Body, remarks: &mut Remarks) -> Option<Secret> {
    let mut there = false;
    let token = body.last("refresh_token", |value| match value {
        Value::Text(text) if !text.is_empty() => {
            there = true;
            let whole = !text.contains(char::REPLACEMENT_CHARACTER);
            whole.then(|| Secret::from(text.as_str()))
        }
        Value::Text(_) | Value::Null => None,
        Value::Boolean(_) | Value::Number(_) | Value::List(_) | Value::Object(_) | Value::Other => {
            there = true;
            None
        }
    });
    if there && token.is_none() {
        remarks.add(Remark::RefreshTokenUnreadable);
    }
    token
}

/// A text with spaces, or a list of scope tokens. One that repeats a secret is not read.
fn scope(message: &Message<'_>, body: &Body, remarks: &mut Remarks) -> Option<Scope> {
    let mut there = false;
    let scope = body.last("scope", |value| {
        let scope = match value {
            Value::Null => return None,
            Value::Text(text) => Scope::parse(text).ok(),
            Value::List(values) => values
                .iter()
                .map(|value| match value {
                    Value::Text(text) => Some(text.as_str()),
                    Value::Null
                    | Value::Boolean(_)
                    | Value::Number(_)
                    | Value::List(_)
                    | Value::Object(_)
                    | Value::Other => None,
                })
                .collect::<Option<Vec<_>>>()
                .and_then(|tokens| Scope::from_tokens(tokens).ok()),
            Value::Boolean(_) | Value::Number(_) | Value::Object(_) | Value::Other => None,
        };
        there = true;
        scope.filter(|scope| !holds_secret(scope.as_str(), &body.known_secrets(message)))
    });
    if there && scope.is_none() {
        remarks.add(Remark::ScopeUnreadable);
    }
    scope.filter(|scope| !scope.is_empty())
}
