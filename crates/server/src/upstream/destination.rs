//! Where API requests go: scheme, host, port and path of the configuration, never of a caller.

use std::sync::Arc;

use bellwether_broker::{TlsError, connect, machine_roots, server_name, tls_config};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

/// The API of a vendor.
pub struct ResourceServer {
    url: Url,
    /// Before each path; never ends in `/`.
    base: String,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    tls: Option<Tls>,
    is_http2: bool,
}

struct Tls {
    name: ServerName<'static>,
    /// Offers HTTP/2 and HTTP/1.1.
    either: TlsConnector,
    /// Offers HTTP/1.1 alone: only there a connection can be upgraded.
    http1: TlsConnector,
}

/// Why an API cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ResourceServerError {
    /// No request can be sent to such a URL.
    #[error("{0} is no address of an API")]
    Url(Url),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A new connection.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) is_http2: bool,
}

/// In the clear, or not.
pub(super) enum Stream {
    Clear(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl std::fmt::Debug for ResourceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ResourceServer").field(&self.url.as_str()).finish()
    }
}

impl ResourceServer {
    /// The API at this URL; for `https` its certificate is checked against `roots`, or against the
    /// machine's own.
    ///
    /// # Errors
    /// When the URL names no host, or there are no root certificates.
    pub fn new(url: Url, roots: Option<RootCertStore>) -> Result<Self, ResourceServerError> {
        let unfit = || ResourceServerError::Url(url.clone());
        let host = url.host_str().ok_or_else(unfit)?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let tls = match url.scheme() {
            "https" => {
                let roots = roots.map_or_else(machine_roots, Ok)?;
                Some(Tls::new(server_name(&url).map_err(|_| unfit())?, roots))
            }
            _ => None,
        };
        Ok(Self {
            base: url.path().trim_end_matches('/').to_owned(),
            scheme: Scheme::try_from(url.scheme()).map_err(|_| unfit())?,
            host: HeaderValue::from_str(&authority).map_err(|_| unfit())?,
            authority: Authority::try_from(authority).map_err(|_| unfit())?,
            tls,
            is_http2: false,
            url,
        })
    }

    /// Speaks HTTP/2 in the clear without being asked (RFC 9113 §3.3).
    #[must_use]
    pub fn with_prior_knowledge(self) -> Self {
        Self { is_http2: true, ..self }
    }

    /// Its URL, as it was configured.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The target of a request there, in origin form.
    pub(crate) fn target(&self, asked: &PathAndQuery, path: &str) -> Option<PathAndQuery> {
        if self.base.is_empty() && path.len() == asked.path().len() {
            return Some(asked.clone());
        }
        let query = asked.query().map_or_else(String::new, |query| format!("?{query}"));
        format!("{}{path}{query}", self.base).try_into().ok()
    }

    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The same target in absolute form, as HTTP/2 wants it.
    pub(super) fn absolute(&self, target: &Uri) -> Option<Uri> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(target.path_and_query()?.clone())
            .build()
            .ok()
    }

    /// Connects, for HTTP/1.1 alone or for what both sides like best.
    pub(super) async fn connect(&self, http1_only: bool) -> Result<Opened, String> {
        let tcp = connect(&self.url).await.map_err(|error| error.to_string())?;
        let Some(tls) = &self.tls else {
            return Ok(Opened {
                stream: Stream::Clear(tcp),
                is_http2: self.is_http2 && !http1_only,
            });
        };
        let connector = if http1_only { &tls.http1 } else { &tls.either };
        let stream = connector.connect(tls.name.clone(), tcp).await;
        let stream = stream.map_err(|error| format!("TLS: {error}"))?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Opened { stream: Stream::Encrypted(Box::new(stream)), is_http2 })
    }
}

impl Tls {
    fn new(name: ServerName<'static>, roots: RootCertStore) -> Self {
        let http1 = tls_config(roots);
        let mut either = http1.clone();
        either.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let connector = |config| TlsConnector::from(Arc::new(config));
        Self { name, either: connector(either), http1: connector(http1) }
    }
}

/// Whether a path could be read as another one by somebody further on.
pub(crate) fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    let is_plain = |byte: &u8| !matches!(byte, b'%' | b'\\' | b'.');
    if bytes.first() == Some(&b'/') && bytes.iter().all(is_plain) {
        return false;
    }
    let lower = path.to_ascii_lowercase();
    let dots = |segment: &str| matches!(segment.replace("%2e", ".").as_str(), "." | "..");
    !path.starts_with('/')
        || lower.contains('\\')
        || lower.contains("%2f")
        || lower.contains("%5c")
        || lower.contains("%00")
        || lower.split('/').any(dots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_is_the_configured_one() {
        let url: Url = "http://api.test:8443/base/".parse().unwrap();
        let server = ResourceServer::new(url, None).unwrap();
        #[rustfmt::skip]
        let cases = [
            ("/api/v2/x?y=1", "/api/v2/x",   "/base/api/v2/x?y=1"),
            ("/",             "/",           "/base/"),
            ("/@evil.test/",  "/@evil.test/", "/base/@evil.test/"),
            ("/sdk/api/x?y",  "/api/x",      "/base/api/x?y"),
        ];
        for (asked, path, expected) in cases {
            let target = server.target(&asked.parse().unwrap(), path).unwrap();
            assert_eq!(target, expected, "{asked}");
            let absolute = server.absolute(&Uri::from(target)).unwrap().to_string();
            assert_eq!(absolute, format!("http://api.test:8443{expected}"));
        }
        assert_eq!(server.host(), "api.test:8443");
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
