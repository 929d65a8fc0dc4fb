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

use crate::message::BodyError;
use crate::refusal::Refusal;
use crate::upstream::AnswerBody;

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

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error_description: &'a str,
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
