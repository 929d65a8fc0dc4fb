//! An API behind TLS: what it and the gateway agree on, and whom the gateway trusts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bellwether_server::ResourceServer;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Ask, Stage};

type Seen = Arc<Mutex<Vec<(Version, HeaderMap)>>>;

/// Serves one self-signed API that offers `protocols`, and notes how each request came.
async fn serve(certified: &CertifiedKey<KeyPair>, protocols: &[&[u8]]) -> (SocketAddr, Seen) {
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("both versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
        .expect("a key that fits");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
            tokio::spawn(async move {
                // A client that does not trust us goes away.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                answer(TokioIo::new(stream), is_http2, noted).await;
            });
        }
    });
    (address, seen)
}

/// Answers each request of a connection, and notes how it came.
async fn answer<I>(stream: I, is_http2: bool, noted: Seen)
where
    I: Read + Write + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let came = (request.version(), request.headers().clone());
        noted.lock().expect("no panic").push(came);
        let body = Full::new(Bytes::from_static(b"{}"));
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    if is_http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(server.serve_connection(stream, answer).await);
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        drop(server.serve_connection(stream, answer).await);
    }
}

async fn stage(address: SocketAddr, roots: RootCertStore) -> Stage {
    let url = format!("https://localhost:{}/", address.port()).parse().expect("a URL");
    let server = ResourceServer::new(url, Some(roots)).expect("an API");
    Stage::open(|setting| setting.api = Some(Arc::new(server))).await
}

#[tokio::test]
async fn http2_where_the_api_offers_it_and_one_authorization_either_way() {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    #[rustfmt::skip]
    let cases: [(&[&[u8]], Version); 3] = [
        (&[b"h2", b"http/1.1"], Version::HTTP_2),
        (&[b"http/1.1"],        Version::HTTP_11),
        (&[],                   Version::HTTP_11),
    ];
    for (protocols, expected) in cases {
        let (address, seen) = serve(&certified, protocols).await;
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).expect("a certificate");
        let stage = stage(address, roots).await;
        let token = stage.token().await;
        for _ in 0..3 {
            let ask = Ask::new("POST", "/api/x").bearer(&token).header("Connection", "keep-alive");
            assert_eq!(stage.ask(ask.json("{}")).await.status, 200, "{expected:?}");
        }
        let seen = seen.lock().expect("no panic");
        assert_eq!(seen.len(), 3);
        for (version, headers) in &*seen {
            assert_eq!(*version, expected);
            let all: Vec<_> = headers.get_all("authorization").iter().collect();
            assert_eq!(all, [&format!("Bearer {token}")]);
            assert!(!headers.contains_key("connection"));
        }
    }
}

#[tokio::test]
async fn http2_in_the_clear_where_the_configuration_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(TokioIo::new(stream), true, Arc::clone(&noted)));
        }
    });
    let server = ResourceServer::new(url.parse().expect("a URL"), None).expect("an API");
    let server = Arc::new(server.with_prior_knowledge());
    let stage = Stage::open(|setting| setting.api = Some(server)).await;
    let token = stage.token().await;
    for _ in 0..2 {
        assert_eq!(stage.ask(Ask::get("/api/x").bearer(&token)).await.status, 200);
    }
    let seen = seen.lock().expect("no panic");
    assert!(seen.len() == 2 && seen.iter().all(|(version, _)| *version == Version::HTTP_2));
}

#[tokio::test]
async fn an_api_that_nobody_vouches_for_gets_no_token() {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other = generate_simple_self_signed(["elsewhere.test".to_owned()]).expect("a certificate");
    // A stranger, and one of ours with another name.
    for (served, trusted) in [(&certified, &other), (&other, &other)] {
        let (address, seen) = serve(served, &[b"h2", b"http/1.1"]).await;
        let mut roots = RootCertStore::empty();
        roots.add(trusted.cert.der().clone()).expect("a certificate");
        let stage = stage(address, roots).await;
        let token = stage.token().await;
        let reply = stage.ask(Ask::get("/api/x").bearer(&token)).await;
        assert_eq!(reply.refusal(), (502, "temporarily_unavailable".to_owned(), true));
        assert!(seen.lock().expect("no panic").is_empty());
    }
}
