//! HTTP/1.1 and HTTP/2 on one connection.
//!
//! The surfaces know one form of a request, that of HTTP/1.1: what HTTP/2 says otherwise is brought
//! into it here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::{COOKIE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;

use super::listen::{HEADER_TIMEOUT, Service};
use super::rounds::{Attendance, Found, Graceful, HeadClock};
use super::stream::Stream;
use super::streams::{Idleness, Sent, Streams};
use crate::answer::Body;
use crate::callers::Connection;
use crate::refusal::Refusal;

const MAX_HEADERS: usize = 100;
/// Bytes of one request's head, and of what is read or written ahead.
const MAX_HEAD: usize = 16 * 1024;

/// Requests at once on an HTTP/2 connection.
const MOST_STREAMS: u32 = 128;
/// Bytes of a head, unpacked, as RFC 9113 §6.5.2 counts them.
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Bytes of a body that may be under way unread; enough for 10 MB/s over 10 ms.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same for all bodies of a connection.
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Bytes of an answer that are kept while the caller's window is closed.
const MAX_UNSENT: usize = 64 * 1024;
/// Streams that were reset before anybody looked at them, and that we reset ourselves.
const MOST_RESET_UNSEEN: usize = 20;
const MOST_RESET_BY_US: usize = 128;
/// A peer that is gone is found out after both.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves HTTP/1.1 until the connection ends, or becomes something else.
pub(crate) async fn http1<S: Service>(
    stream: Stream,
    service: Arc<S>,
    connection: Arc<Connection>,
    attendance: Attendance,
    keep_alive: Duration,
) {
    let clock = HeadClock::new(attendance.clock().clone(), stream.heard(), keep_alive);
    let theirs = Arc::clone(&connection);
    let answer = service_fn(move |request| {
        let (service, connection) = (Arc::clone(&service), Arc::clone(&connection));
        service.answer(request, connection).map(Ok::<_, Infallible>)
    });
    let served = http1::Builder::new()
        .timer(clock)
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    log(attendance.carry(served, || Found::Well).await, &theirs);
}

/// Serves HTTP/2 until the connection ends.
pub(crate) async fn http2<S: Service>(
    stream: Stream,
    service: Arc<S>,
    connection: Arc<Connection>,
    attendance: Attendance,
    keep_alive: Duration,
) {
    let clock = attendance.clock().clone();
    let theirs = Arc::clone(&connection);
    let streams = Streams::default();
    let mut idleness = Idleness::new(streams.clone(), clock.clone(), keep_alive);
    let counted = streams.clone();
    let answer = service_fn(move |mut request| {
        let (service, connection) = (Arc::clone(&service), Arc::clone(&connection));
        let counted = counted.clone();
        async move {
            let answer = match as_http1(&mut request) {
                Ok(()) => service.answer(request, connection).await,
                Err(refusal) => refusal.into(),
            };
            Ok::<_, Infallible>(answer.map(|body| Sent::new(body, &counted)))
        }
    });
    let served = http2::Builder::new(streams)
        .timer(clock.clone())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_UNSENT)
        .max_pending_accept_reset_streams(MOST_RESET_UNSEEN)
        .max_local_error_reset_streams(MOST_RESET_BY_US)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream.metered(clock)), answer);
    log(attendance.carry(served, move || idleness.look()).await, &theirs);
}

fn log(ended: Option<hyper::Result<()>>, connection: &Connection) {
    let peer = &connection.peer;
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, ?peer, "a connection broke off"),
        None => tracing::debug!(?peer, "a connection did not come to an end by itself"),
    }
}

impl<S> Graceful for http1::UpgradeableConnection<TokioIo<Stream>, S>
where
    S: HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Graceful for http2::Connection<TokioIo<Stream>, S, Streams>
where
    S: HttpService<Incoming, ResBody = Sent<Body>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Brings an HTTP/2 request into the form of HTTP/1.1 (RFC 9113 §8.3.1, §8.2.3).
fn as_http1<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    if let Some(authority) = authority {
        let value = HeaderValue::try_from(authority.as_str()).ok();
        let mut named = request.headers().get_all(HOST).iter();
        match (named.next(), named.next()) {
            (None, _) => {
                request.headers_mut().extend(value.map(|value| (HOST, value)));
            }
            (Some(host), None) if host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {}
            (Some(_), _) => return Err(misdirected()),
        }
        if let Some(target) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = origin_form(target);
        }
    }
    *request.version_mut() = Version::HTTP_11;
    let crumbs = request.headers().get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let crumbs: Vec<&[u8]> = crumbs.collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        request.headers_mut().insert(COOKIE, cookie);
    }
    Ok(())
}

fn origin_form(target: PathAndQuery) -> Uri {
    Uri::from(target)
}

fn misdirected() -> Refusal {
    Refusal::new(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected_request",
        "Host and :authority name two; leave Host out",
    )
}
