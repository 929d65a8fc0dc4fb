//! The resource server: connections are kept, nothing is followed, the destination is configured.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use tokio::sync::Notify;
use tokio::time::sleep;
use url::Url;

use crate::answer::BodyError;

/// A request body for the resource server: at hand, or passed through.
pub(crate) type UpstreamBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, BodyError>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, UpstreamBody>,
    answer_timeout: Duration,
}

/// Why the resource server gave no answer.
#[derive(Debug)]
pub(crate) enum UpstreamError {
    Unreachable(String),
    TimedOut,
}

impl Upstream {
    /// Waits for the head of an answer for `answer_timeout` from the end of the request.
    pub(crate) fn new(answer_timeout: Duration) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(bellwether_broker::tls_config(roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self { client, answer_timeout }
    }

    pub(crate) async fn send(
        &self,
        request: Request<UpstreamBody>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let passed = Arc::new(Notify::new());
        let request = request.map(|body| match body {
            Either::Left(at_hand) => Either::Left(at_hand),
            Either::Right(body) => {
                let noticed = Noticed { body, passed: Arc::clone(&passed) };
                Either::Right(noticed.boxed_unsync())
            }
        });
        let mut answer = pin!(self.client.request(request));
        // What is still being sent, however long it takes, is not late.
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                () = passed.notified() => {}
                () = sleep(self.answer_timeout) => return Err(UpstreamError::TimedOut),
            }
        };
        match answer {
            Ok(response) => Ok(response),
            Err(error) => {
                let mut why = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    why = cause.to_string();
                    source = cause.source();
                }
                Err(UpstreamError::Unreachable(why))
            }
        }
    }
}

/// A body that tells of each piece that passes.
struct Noticed {
    body: UnsyncBoxBody<Bytes, BodyError>,
    passed: Arc<Notify>,
}

impl Body for Noticed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.passed.notify_one();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The target on the configured resource server: its origin and path, then what the caller asked.
pub(crate) fn target(resource_server: &Url, path_and_query: &str) -> Option<Uri> {
    let scheme = Scheme::try_from(resource_server.scheme()).ok()?;
    let host = resource_server.host_str()?;
    let authority = match resource_server.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let base = resource_server.path().trim_end_matches('/');
    let path_and_query: PathAndQuery = format!("{base}{path_and_query}").try_into().ok()?;
    Uri::builder()
        .scheme(scheme)
        .authority(Authority::try_from(authority).ok()?)
        .path_and_query(path_and_query)
        .build()
        .ok()
}

/// Whether a path could be read as another one by somebody further on.
pub(crate) fn is_ambiguous(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let dots = |segment: &str| matches!(segment.replace("%2e", ".").as_str(), "." | "..");
    !path.starts_with('/')
        || lower.contains('\\')
        || lower.contains("%2f")
        || lower.contains("%5c")
        || lower.contains("%00")
        || lower.split('/').any(dots)
}

/// Boxes a body that is passed through.
pub(crate) fn pass_through(body: Incoming) -> UpstreamBody {
    Either::Right(body.map_err(BodyError::new).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_is_the_configured_one() {
        let server: Url = "https://api.test:8443/base/".parse().unwrap();
        let cases = [
            ("/api/v2/x?y=1", Some("https://api.test:8443/base/api/v2/x?y=1")),
            ("/", Some("https://api.test:8443/base/")),
            ("/@evil.test/", Some("https://api.test:8443/base/@evil.test/")),
        ];
        for (path, expected) in cases {
            let target = target(&server, path).map(|uri| uri.to_string());
            assert_eq!(target.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_ambiguous() {
        for path in ["/a/../b", "/a/%2e%2E/b", "/a/.", "/a%2fb", "/a\\b", "/%5c", "//../x", "a"] {
            assert!(is_ambiguous(path), "{path}");
        }
        for path in ["/", "/api/v2/users/1", "/a/..b/c...", "/a%20b", "/a/.well-known/x"] {
            assert!(!is_ambiguous(path), "{path}");
        }
    }
}
