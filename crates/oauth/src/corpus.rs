//! Bad answers of token endpoints, with what each must be read as.
//!
//! Data for tests: ours over values, others' over sockets. Every token and secret in it is a canary
//! that must not be seen in any log, error or debug output. In bodies `@A` stands for the new access
//! token, `@R` for the new refresh token, `@S` for the refresh token that was sent, `@C` for the
//! client secret.

mod bodies;
mod echoes;
mod parameters;
mod refusals;

use crate::{Message, Remedy, Secret};

/// The access token in the answers.
pub const ACCESS_TOKEN: &str = "at.Qm7Zx2Lk9Vb4-Nt8Rw3Jp6Hs1_Yd5Gf0Ce~uA";
/// The new refresh token in the answers.
pub const REFRESH_TOKEN: &str = "rt!9fJ2kLq7Xw4ZbN8vYc3TmPs6HdRg1Ea5Uo0Wi";
/// The refresh token that the request carried.
pub const SENT_REFRESH_TOKEN: &str = "sr-4bVn7Kd2Gy9PqLx5Tz8MwCf1Rj6Hs3Ea0Bt";
/// The client identifier that the request carried. No secret.
pub const CLIENT_ID: &str = "corpus-client";
/// The client secret that the request carried; each encoding spells it differently.
pub const CLIENT_SECRET: &str = "cs?8Zk+vT2/qW7=xLm4&Yp9%Rd6 Jn3>Hb5";
/// `wall` of every message: 1994-11-06 12:00:00 UTC.
pub const WALL: u64 = 784_123_200;

/// One answer and what it must be read as.
#[derive(Clone, Debug)]
pub struct Case {
    /// Names the case, alone in the corpus.
    pub name: String,
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<&'static str>,
    /// `Retry-After`.
    pub retry_after: Option<&'static str>,
    /// `Date`.
    pub date: Option<&'static str>,
    /// `WWW-Authenticate`.
    pub www_authenticate: Option<&'static str>,
    /// `Location`.
    pub location: Option<&'static str>,
    /// The connection breaks after `body`, before what was announced had come.
    pub truncated: bool,
    /// The body.
    pub body: Vec<u8>,
    /// What it must be read as.
    pub expected: Expected,
    /// Whether [`REFRESH_TOKEN`] must be kept.
    pub keeps_refresh_token: bool,
}

/// What a [`Case`] must be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// [`ACCESS_TOKEN`] with this lifetime in seconds.
    Token {
        /// `None` for an unknown lifetime.
        expires_in: Option<u64>,
    },
    /// An error.
    Error {
        /// [`TokenError::kind`](crate::TokenError::kind).
        kind: &'static str,
        /// [`TokenError::remedy`](crate::TokenError::remedy).
        remedy: Remedy,
    },
}

impl Case {
    /// The case as a message; `secrets` are those of [`secrets`].
    pub fn message<'a>(&'a self, secrets: &'a [&'a Secret]) -> Message<'a> {
        Message {
            status: self.status,
            content_type: self.content_type,
            retry_after: self.retry_after,
            date: self.date,
            www_authenticate: self.www_authenticate,
            location: self.location.is_some(),
            body: &self.body,
            truncated: self.truncated,
            wall: WALL,
            secrets,
        }
    }

    /// A JSON answer that must give the token.
    fn token(name: impl Into<String>, body: &str, expires_in: Option<u64>) -> Self {
        Self::new(name, 200, body, Expected::Token { expires_in })
    }

    /// A JSON answer that must give an error.
    fn error(name: impl Into<String>, status: u16, body: &str, kind: &'static str) -> Self {
        Self::new(name, status, body, Expected::Error { kind, remedy: usual_remedy(kind) })
    }

    fn unusable(name: impl Into<String>, body: &str) -> Self {
        Self::error(name, 200, body, "unusable")
    }

    fn new(name: impl Into<String>, status: u16, body: &str, expected: Expected) -> Self {
        Self {
            name: name.into(),
            status,
            content_type: Some("application/json"),
            retry_after: None,
            date: None,
            www_authenticate: None,
            location: None,
            truncated: false,
            body: filled_in(body).into_bytes(),
            expected,
            keeps_refresh_token: body.contains("\"refresh_token\":\"@R\""),
        }
    }

    fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = (!content_type.is_empty()).then_some(content_type);
        self
    }

    fn plain(self) -> Self {
        self.content_type("text/plain")
    }

    fn html(self) -> Self {
        self.content_type("text/html; charset=utf-8")
    }

    fn form(self) -> Self {
        self.content_type(crate::CONTENT_TYPE)
    }

    fn keeps(mut self, refresh_token: bool) -> Self {
        self.keeps_refresh_token = refresh_token;
        self
    }

    fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn challenge(mut self, www_authenticate: &'static str) -> Self {
        self.www_authenticate = Some(www_authenticate);
        self
    }

    fn cut_short(mut self) -> Self {
        self.truncated = true;
        self
    }
}

/// The secrets that each request carried.
pub fn secrets() -> [Secret; 2] {
    [Secret::from(CLIENT_SECRET), Secret::from(SENT_REFRESH_TOKEN)]
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(parameters::cases());
    cases.extend(bodies::cases());
    cases.extend(refusals::cases());
    cases.extend(echoes::cases());
    cases
}

fn filled_in(body: &str) -> String {
    body.replace("@A", ACCESS_TOKEN)
        .replace("@R", REFRESH_TOKEN)
        .replace("@S", SENT_REFRESH_TOKEN)
        .replace("@C", CLIENT_SECRET)
}

/// A table of its own rather than the code under test.
fn usual_remedy(kind: &str) -> Remedy {
    match kind {
        "throttled" | "unavailable" | "unusable" => Remedy::Retry { after: None },
        "invalid_grant" | "interaction_required" => Remedy::Reauthorize,
        _ => Remedy::FixConfiguration,
    }
}
