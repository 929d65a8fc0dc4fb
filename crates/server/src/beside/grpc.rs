//! One message in, one message out: as much of gRPC as a unary call needs.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use prost::Message;
use tokio::time::timeout;

use crate::answer::{Answer, full, streamed};
use crate::refusal::Refusal;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Why a call cannot be answered with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Not a single whole message of the expected kind.
    Unreadable,
    /// Longer than is taken.
    TooLong,
    /// Compressed, although that was never offered.
    Compressed,
    /// The message did not arrive in time.
    TooSlow,
}

impl Malformed {
    /// The status code, and what a person is told; ASCII without `%`, as a header wants it.
    const fn status(self) -> (u8, &'static str) {
        match self {
            Self::Unreadable => (3, "the body is not one whole message of this method"),
            Self::TooLong => (8, "the message is too long"),
            Self::Compressed => (12, "compressed messages are not read"),
            Self::TooSlow => (4, "the message did not arrive in time"),
        }
    }
}

/// Whether this is a gRPC call at all; other clients are answered as HTTP clients.
pub(crate) fn is_call<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::invalid_request("a call comes as POST"));
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match kind.and_then(|kind| kind.strip_prefix("application/grpc")) {
        Some("" | "+proto") => Ok(()),
        Some(_) | None => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request",
            "the content type of a call is application/grpc",
        )),
    }
}

/// Reads the one message of a call, of at most `most` bytes.
pub(crate) async fn read<M, B>(body: B, most: usize, patience: Duration) -> Result<M, Malformed>
where
    M: Message + Default,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let whole = timeout(patience, Limited::new(body, most + PREFIX).collect()).await;
    match whole.map_err(|_| Malformed::TooSlow)? {
        Ok(whole) => decoded(&whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Malformed::TooLong),
        Err(_) => Err(Malformed::Unreadable),
    }
}

fn decoded<M: Message + Default>(framed: &[u8]) -> Result<M, Malformed> {
    let (prefix, message) = framed.split_first_chunk::<PREFIX>().ok_or(Malformed::Unreadable)?;
    let [compressed, length @ ..] = *prefix;
    match compressed {
        0 => {}
        1 => return Err(Malformed::Compressed),
        _ => return Err(Malformed::Unreadable),
    }
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(Malformed::Unreadable);
    }
    M::decode(message).map_err(|_| Malformed::Unreadable)
}

/// The one message of an answer.
pub(crate) fn message(message: &impl Message) -> Answer {
    let length = message.encoded_len();
    let Ok(prefix) = u32::try_from(length) else { return refused(Malformed::TooLong) };
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(prefix);
    framed.put_slice(&message.encode_to_vec());
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(framed.freeze());
    head(streamed(body.with_trailers(std::future::ready(Some(Ok(trailers))))))
}

/// An answer without a message.
pub(crate) fn refused(malformed: Malformed) -> Answer {
    let (code, said) = malformed.status();
    let mut answer = head(full(Bytes::new()));
    answer.headers_mut().insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
    answer.headers_mut().insert(GRPC_MESSAGE, HeaderValue::from_static(said));
    answer
}

fn head(body: crate::answer::Body) -> Answer {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Eq, Message)]
    struct Word {
        #[prost(string, tag = "1")]
        text: String,
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn one_whole_message_is_read_and_nothing_else() {
        #[rustfmt::skip]
        let cases: &[(&[u8], Result<&str, Malformed>)] = &[
            (b"\0\0\0\0\x04\x0a\x02ab",          Ok("ab")),
            (b"\0\0\0\0\0",                      Ok("")),
            // A field that is not known here is skipped.
            (b"\0\0\0\0\x07\x12\x01x\x0a\x02ab", Ok("ab")),
            (b"",                                Err(Malformed::Unreadable)),
            (b"\0\0\0\0",                        Err(Malformed::Unreadable)),
            (b"\0\0\0\0\x05\x0a\x02ab",          Err(Malformed::Unreadable)),
            (b"\0\0\0\0\x04\x0a\x02ab\0\0\0\0\0", Err(Malformed::Unreadable)),
            (b"\0\xff\xff\xff\xff",              Err(Malformed::Unreadable)),
            (b"\0\0\0\0\x04\x0a\x7fab",          Err(Malformed::Unreadable)),
            (b"\0\0\0\0\x04\x0a\x02\xff\xfe",    Err(Malformed::Unreadable)),
            (b"\x02\0\0\0\x04\x0a\x02ab",        Err(Malformed::Unreadable)),
            (b"\x01\0\0\0\x04\x0a\x02ab",        Err(Malformed::Compressed)),
            (b"\0\0\0\0\x0c\x0a\x0aabcdefghij",  Err(Malformed::TooLong)),
        ];
        for (bytes, expected) in cases {
            let read = read::<Word, _>(Full::new(Bytes::from_static(bytes)), 10, LONG).await;
            let read = read.map(|word| word.text);
            assert_eq!(read, expected.map(str::to_owned), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_message_comes_back_with_its_status_behind_it() {
        let answer = message(&Word { text: "ab".to_owned() });
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc");
        let whole = answer.into_body().collect().await.expect("a body");
        assert_eq!(whole.trailers().expect("trailers")[GRPC_STATUS], "0");
        assert_eq!(whole.to_bytes(), b"\0\0\0\0\x04\x0a\x02ab".as_slice());
        let answer = refused(Malformed::TooLong);
        assert_eq!(
            (answer.status(), &answer.headers()[GRPC_STATUS]),
            (StatusCode::OK, &"8".parse().unwrap())
        );
    }

    #[test]
    fn a_call_is_a_post_with_its_content_type() {
        #[rustfmt::skip]
        let cases = [
            ("POST", "application/grpc",       None),
            ("POST", "application/grpc+proto", None),
            ("POST", "application/grpc+json",  Some(415)),
            ("POST", "application/grpc-web",   Some(415)),
            ("POST", "application/json",       Some(415)),
            ("GET",  "application/grpc",       Some(400)),
        ];
        for (method, kind, refused) in cases {
            let request = Request::builder().method(method);
            let request = request.header(CONTENT_TYPE, kind).body(()).expect("a request");
            let status = is_call(&request).err().map(|refusal| refusal.status.as_u16());
            assert_eq!(status, refused, "{method} {kind}");
        }
    }
}
