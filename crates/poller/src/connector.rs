//! How workers reach the API.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Opens connections: HTTP/1.1 over TCP, with TLS for `https`.
#[derive(Clone, Debug)]
pub struct Connector(HttpsConnector<HttpConnector>);

/// One worker's connection, kept between requests and opened again when the server closed it.
pub(crate) type Connection = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

impl Connector {
    /// Trusts the machine's root certificates, which are read once, here.
    pub fn new() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with_roots(roots)
    }

    /// Trusts these certificates alone; for plain `http` there need be none.
    pub fn with_roots(roots: RootCertStore) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(bellwether_broker::tls_config(roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self(connector)
    }

    pub(crate) fn connection(&self) -> Connection {
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .build(self.0.clone())
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}
