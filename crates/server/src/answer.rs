//! Answers that are made here and not upstream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use crate::upstream::AnswerBody;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BodyError(String);

impl BodyError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The body of an answer.
pub(crate) enum Body {
    /// Small, and ours.
    Full(Full<Bytes>),
    /// The API's.
    Api(AnswerBody),
    /// Ours, and streams.
    Streamed(UnsyncBoxBody<Bytes, BodyError>),
}

/// What every handler returns.
pub(crate) type Answer = Response<Body>;

/// Names the reason of every answer that did not come from upstream.
pub(crate) const BELLWETHER_ERROR: HeaderName = HeaderName::from_static("bellwether-error");

/// A body at hand.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Body::Full(Full::new(bytes.into()))
}

/// A body that streams.
pub(crate) fn streamed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    Body::Streamed(body.map_err(BodyError::new).boxed_unsync())
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Api(body) => Pin::new(body).poll_frame(context),
            Self::Streamed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Api(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Api(body) => body.size_hint(),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

/// Bytes that the answer with a token usually has room in.
const USUAL_JSON: usize = 512;

/// JSON as bytes.
pub(crate) fn rendered(value: &impl Serialize) -> Bytes {
    let mut bytes = Vec::with_capacity(USUAL_JSON);
    if serde_json::to_writer(&mut bytes, value).is_err() {
        bytes.clear();
    }
    bytes.into()
}

/// JSON that nobody may store (RFC 6749 §5.1).
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    json_bytes(status, rendered(value))
}

/// The same, rendered before.
pub(crate) fn json_bytes(status: StatusCode, json: Bytes) -> Answer {
    let mut response = Response::new(full(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Nothing but a status.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Text for a person.
pub(crate) fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// An error in the shape of RFC 6749 §5.2, with its code once more in `Bellwether-Error`.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) description: String,
    pub(crate) code: &'static str,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) challenge: Option<&'static str>,
    /// The connection takes no further request.
    pub(crate) closes: bool,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error_description: &'a str,
}

impl Refusal {
    /// An error with this code on the wire and in `Bellwether-Error`.
    pub(crate) fn new(status: StatusCode, code: &'static str, description: &str) -> Self {
        Self {
            status,
            error: code.to_owned(),
            description: description.to_owned(),
            code,
            retry_after: None,
            challenge: None,
            closes: false,
        }
    }

    /// A request that breaks RFC 6749 §3.2.
    pub(crate) fn invalid_request(description: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// Nobody may know whether it exists.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here for this caller")
    }

    /// No key, or a wrong one.
    pub(crate) fn unauthorized() -> Self {
        let description = "show a key, or a token that was handed out here, as a bearer token";
        let mut refusal = Self::new(StatusCode::UNAUTHORIZED, "invalid_token", description);
        refusal.challenge = Some("Bearer");
        refusal
    }

    /// It came through something that was not named as a proxy.
    pub(crate) fn forwarded() -> Self {
        let description = "requests that came through a proxy are not answered here, unless its \
                           address is in [gateway] trusted_proxies";
        Self::new(StatusCode::FORBIDDEN, "forwarded_request", description)
    }

    /// The caller did not come to an end.
    pub(crate) fn too_slow() -> Self {
        let description = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", description)
    }

    /// The same, as the last answer of the connection.
    pub(crate) fn and_close(self) -> Self {
        Self { closes: true, ..self }
    }

    /// Waits to be tried again.
    pub(crate) fn unavailable(
        status: StatusCode,
        why: &str,
        retry_after: Option<Duration>,
    ) -> Self {
        let mut refusal = Self::new(status, "temporarily_unavailable", why);
        refusal.retry_after = Some(retry_after.unwrap_or(Duration::from_secs(1)));
        refusal
    }
}

/// Whole seconds, rounded up: `Retry-After` is never undercut, and never zero.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    let rounded = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    rounded.max(1)
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let body = ErrorBody { error: &refusal.error, error_description: &refusal.description };
        let mut response = json(refusal.status, &body);
        let headers = response.headers_mut();
        headers.insert(BELLWETHER_ERROR, HeaderValue::from_static(refusal.code));
        if let Some(wait) = refusal.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if let Some(challenge) = refusal.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if refusal.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Drops the body, for `HEAD`.
pub(crate) fn without_body(mut answer: Answer) -> Answer {
    let length = http_body::Body::size_hint(answer.body()).exact();
    *answer.body_mut() = full(Bytes::new());
    if let Some(length) = length {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    answer
}
