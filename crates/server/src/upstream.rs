//! The resource server: connections are kept, nothing is followed, the destination is configured.

use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use tokio::time::timeout;
use url::Url;

use crate::answer::BodyError;

/// A request body for the resource server: at hand, or passed through.
pub(crate) type UpstreamBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, BodyError>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// From the end of the request to the head of the answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, UpstreamBody>,
}

/// Why the resource server gave no answer.
#[derive(Debug)]
pub(crate) enum UpstreamError {
    Unreachable(String),
    TimedOut,
}

impl Upstream {
    pub(crate) fn new() -> Self {
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
        Self { client }
    }

    pub(crate) async fn send(
        &self,
        request: Request<UpstreamBody>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        match timeout(HEAD_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                let mut why = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    why = cause.to_string();
                    source = cause.source();
                }
                Err(UpstreamError::Unreachable(why))
            }
            Err(_) => Err(UpstreamError::TimedOut),
        }
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
