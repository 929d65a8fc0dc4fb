//! TLS to the authorization server: the name must be right and the certificate known, and what
//! fails there is proof that nothing was sent.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwether_broker::{Http1, Outgoing, Transport, TransportError};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A token endpoint behind TLS, with a certificate of its own for `name`.
struct Endpoint {
    port: u16,
    pem: String,
    requests: Arc<AtomicUsize>,
}

async fn endpoint(name: &str, versions: &[&'static rustls::SupportedProtocolVersion]) -> Endpoint {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], private)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let (acceptor, counter) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&requests));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counter) = (acceptor.clone(), Arc::clone(&counter));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    counter.fetch_add(1, Ordering::SeqCst);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    stream.write_all(answer).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            });
        }
    });
    Endpoint { port, pem: certificate.pem(), requests }
}

fn trusting(pem: &str) -> Http1 {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    Http1::with_ca(file.path()).unwrap()
}

async fn send(transport: &Http1, host: &str, port: u16) -> Result<u16, TransportError> {
    let url = format!("https://{host}:{port}/oauth/token").parse().unwrap();
    let form = Some("grant_type=client_credentials".into());
    let outgoing = Outgoing { url, authorization: None, form };
    transport.send(outgoing).await.map(|received| received.status)
}

#[tokio::test]
async fn only_a_known_certificate_for_the_right_name_is_spoken_to() {
    let right = endpoint("localhost", rustls::ALL_VERSIONS).await;
    let other = endpoint("elsewhere.test", rustls::ALL_VERSIONS).await;
    #[rustfmt::skip]
    let cases = [
        // to,    name,        trusting, answered
        (&right, "localhost", &right,   true),
        (&right, "localhost", &other,   false),
        (&right, "127.0.0.1", &right,   false),
        (&other, "localhost", &other,   false),
    ];
    for (to, name, trusted, answered) in cases {
        let before = to.requests.load(Ordering::SeqCst);
        let result = send(&trusting(&trusted.pem), name, to.port).await;
        let arrived = to.requests.load(Ordering::SeqCst) - before;
        if answered {
            assert_eq!((result, arrived), (Ok(200), 1));
        } else {
            assert!(matches!(result, Err(TransportError::NotSent(_))), "{name}: {result:?}");
            assert_eq!(arrived, 0, "{name}");
        }
    }
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let endpoint = endpoint("localhost", &[version]).await;
        assert_eq!(send(&trusting(&endpoint.pem), "localhost", endpoint.port).await, Ok(200));
    }
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_gets_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = vec![0; 4096];
        let length = stream.read(&mut hello).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        hello.truncate(length);
        hello
    });
    let trusted = endpoint("localhost", rustls::ALL_VERSIONS).await;
    let result = send(&trusting(&trusted.pem), "localhost", port).await;
    assert!(matches!(result, Err(TransportError::NotSent(_))), "{result:?}");
    let heard = heard.await.unwrap();
    assert!(!heard.windows(10).any(|bytes| bytes == b"grant_type"), "the form went out in clear");
}
