//! HTTP messages as plain values, and what becomes of a request.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A request as the organisation receives it. Its `Debug` shows neither headers, body nor query.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method in capitals.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Names compare without regard to case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// `GET path` with a bearer token (RFC 6750 §2.1).
    pub fn get(path: &str, access_token: &str) -> Self {
        Self::new("GET", path).bearer(access_token)
    }

    /// Adds a bearer token.
    #[must_use]
    pub fn bearer(self, access_token: &str) -> Self {
        self.header("authorization", &format!("Bearer {access_token}"))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A form for an endpoint of the authorization server, the client authenticated by Basic.
    pub fn form(path: &str, client_id: &str, secret: &str, fields: &[(&str, &str)]) -> Self {
        let basic = STANDARD.encode(format!("{client_id}:{secret}"));
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let mut request = Self::new("POST", path)
            .header("authorization", &format!("Basic {basic}"))
            .header("content-type", "application/x-www-form-urlencoded");
        request.body = form.finish().into_bytes();
        request
    }

    /// A token request with the grant `client_credentials` (RFC 6749 §4.4.2).
    pub fn client_credentials(client_id: &str, secret: &str) -> Self {
        let fields = [("grant_type", "client_credentials")];
        Self::form("/oauth/token", client_id, secret, &fields)
    }

    /// A token request with the grant `refresh_token` (RFC 6749 §6).
    pub fn refresh(client_id: &str, secret: &str, refresh_token: &str) -> Self {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        Self::form("/oauth/token", client_id, secret, &fields)
    }

    /// The first header called `name`.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// The path without its query.
    pub fn path_only(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method, self.path_only())
    }
}

/// A response. Its `Debug` shows the status alone: a body may hold tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// In the order to send.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// A JSON response.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The first header called `name`.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// The body read as JSON; `Null` if it is none.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A string member of a JSON body, such as `access_token`; empty if there is none.
    pub fn text(&self, member: &str) -> String {
        self.value()[member].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

/// What becomes of a request, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From the request's arrival to the outcome. What the request changed is changed already.
    pub after: Duration,
    /// What the caller sees then.
    pub outcome: Outcome,
}

/// What a caller sees of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response.
    Respond(Response),
    /// The response breaks off after so many bytes of its body.
    BreakOff {
        /// The response as it was meant.
        response: Response,
        /// Bytes of the body that arrive.
        after_bytes: usize,
    },
    /// The connection closes without a byte. Whether the request was processed only the ledger
    /// knows.
    CloseWithoutAnswer,
    /// The connection stays open and silent.
    Stall,
}

impl Outcome {
    /// The response, if a whole one arrives.
    pub fn response(&self) -> Option<&Response> {
        match self {
            Self::Respond(response) => Some(response),
            Self::BreakOff { .. } | Self::CloseWithoutAnswer | Self::Stall => None,
        }
    }
}

fn find_header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let named = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str())
}
