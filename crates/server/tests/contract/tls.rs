//! TLS on the gateway: what is spoken, who must show a certificate, and how one is renewed.

use std::sync::Arc;

use bellwether_server::{ClientAuth, Socket, Tls, TlsError, TlsMaterial};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::http2::{Http2, request};
use crate::support::{Ask, POLLER_KEY, Stage, callers};

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn sign(&self, name: &str) -> Identity {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Trusts this authority alone, and shows `identity` if there is one.
    fn client(&self, identity: Option<&Identity>, protocol: &[u8]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.as_ref().der().clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain =
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("one")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("an identity")
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

impl Identity {
    fn material<'a>(&'a self, client_ca: Option<(&'a str, ClientAuth)>) -> TlsMaterial<'a> {
        TlsMaterial {
            certificate: self.certificate.as_bytes(),
            key: self.key.as_bytes(),
            client_ca: client_ca.map(|(pem, auth)| (pem.as_bytes(), auth)),
        }
    }
}

async fn connect(stage: &Stage, connector: TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(stage.gateway).await?;
    connector.connect("localhost".try_into().expect("a name"), stream).await
}

/// One HTTP/1.1 request over TLS: the first line of the answer.
async fn ask(stage: &Stage, connector: TlsConnector) -> std::io::Result<String> {
    let mut stream = connect(stage, connector).await?;
    let bytes = Ask::rest("polling/token").header("Connection", "close").bytes();
    stream.write_all(&bytes).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

async fn refused(stage: &Stage, why: &str) -> u64 {
    let text = stage.ask_admin(Ask::get("/metrics")).await.text();
    let line =
        format!(r#"bellwether_connections_refused_total{{listener="gateway",reason="{why}"}}"#);
    let found = text.lines().find_map(|found| found.strip_prefix(&line));
    found.and_then(|value| value.trim().parse().ok()).expect("a count")
}

const OK: &str = "HTTP/1.1 200 OK";

#[tokio::test]
async fn both_protocols_are_spoken_and_the_clear_is_not() {
    let authority = Authority::new();
    let tls = Tls::new(authority.sign("localhost").material(None)).expect("good material");
    let stage = Stage::configured(|setting| setting.tls = Some(Arc::new(tls))).await;
    stage.until_held("polling").await;
    assert_eq!(ask(&stage, authority.client(None, b"http/1.1")).await.expect("an answer"), OK);
    let stream = connect(&stage, authority.client(None, b"h2")).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let caller = Http2::over(stream).await;
    let url = "https://localhost/bellwether/v1/credentials/polling/token";
    assert_eq!(caller.ask(request("GET", url, POLLER_KEY, "")).await.0, 200);
    let nobody = authority.client(None, b"smtp");
    assert!(connect(&stage, nobody).await.is_err(), "a protocol that is not spoken");

    let mut clear = TcpStream::connect(stage.gateway).await.expect("a listener");
    clear.write_all(&Ask::rest("polling/token").bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    let _ = clear.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    while refused(&stage, "tls").await < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_must_show_a_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ours = authority.sign("localhost");
    let ca = authority.0.as_ref().pem();
    let (known, unknown) = (authority.sign("poller"), stranger.sign("poller"));
    #[rustfmt::skip]
    let cases = [
        // who must,             who shows,       served
        (ClientAuth::Required,   Some(&known),    true),
        (ClientAuth::Required,   None,            false),
        (ClientAuth::Required,   Some(&unknown),  false),
        (ClientAuth::Optional,   Some(&known),    true),
        (ClientAuth::Optional,   None,            true),
        (ClientAuth::Optional,   Some(&unknown),  false),
    ];
    for (auth, shown, expected) in cases {
        let tls = Tls::new(ours.material(Some((&ca, auth)))).expect("good material");
        let stage = Stage::configured(|setting| setting.tls = Some(Arc::new(tls))).await;
        stage.until_held("polling").await;
        let answered = ask(&stage, authority.client(shown, b"http/1.1")).await;
        assert_eq!(answered.is_ok_and(|line| line == OK), expected, "{auth:?} {}", shown.is_some());
    }
}

/// `poller` needs its key and its certificate; whoever is `reports.test` needs no key.
#[tokio::test]
async fn a_certificates_name_is_a_caller_or_half_of_one() {
    let authority = Authority::new();
    let ca = authority.0.as_ref().pem();
    let ours = authority.sign("localhost");
    let tls = Tls::new(ours.material(Some((&ca, ClientAuth::Optional)))).expect("good material");
    let stage = Stage::configured(|setting| {
        setting.tls = Some(Arc::new(tls));
        setting.callers = callers();
        setting.callers[0].certificates = vec!["poller.test".to_owned()];
        setting.callers[1].keys.clear();
        setting.callers[1].certificates = vec!["Reports.test".to_owned()];
    })
    .await;
    stage.until_held("polling").await;
    let (poller, reports) = (authority.sign("poller.test"), authority.sign("reports.test"));
    let other = authority.sign("poller.test.evil.test");
    let url = "https://localhost/bellwether/v1/credentials/polling/token";
    #[rustfmt::skip]
    let cases = [
        // certificate,   key,               status
        (Some(&poller),   Some(POLLER_KEY),  200),
        (Some(&reports),  None,              200),
        (Some(&poller),   None,              401),
        (Some(&reports),  Some(POLLER_KEY),  401),
        (Some(&other),    Some(POLLER_KEY),  401),
        (Some(&other),    None,              401),
        (None,            Some(POLLER_KEY),  401),
        (None,            None,              401),
    ];
    for (number, (shown, key, status)) in cases.into_iter().enumerate() {
        let stream = connect(&stage, authority.client(shown, b"h2")).await.expect("a handshake");
        let caller = Http2::over(stream).await;
        let mut asked = request("GET", url, key.unwrap_or_default(), "");
        if key.is_none() {
            asked.headers_mut().remove("authorization");
        }
        assert_eq!(caller.ask(asked).await.0, status, "row {number}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections_and_a_broken_one_for_none() {
    let (old, new) = (Authority::new(), Authority::new());
    let tls = Arc::new(Tls::new(old.sign("localhost").material(None)).expect("good material"));
    let theirs = Arc::clone(&tls);
    let stage = Stage::configured(|setting| setting.tls = Some(theirs)).await;
    stage.until_held("polling").await;
    let stream = connect(&stage, old.client(None, b"h2")).await.expect("a handshake");
    let before = Http2::over(stream).await;

    let renewed = new.sign("localhost");
    let other_key = new.sign("localhost").key;
    let mixed = Identity { certificate: renewed.certificate.clone(), key: other_key };
    let none = Identity { certificate: String::new(), key: renewed.key.clone() };
    assert!(matches!(tls.replace(mixed.material(None)), Err(TlsError::Key(_))));
    assert!(matches!(tls.replace(none.material(None)), Err(TlsError::Certificate(_))));
    assert_eq!(ask(&stage, old.client(None, b"http/1.1")).await.expect("as before"), OK);

    tls.replace(renewed.material(None)).expect("good material");
    assert_eq!(ask(&stage, new.client(None, b"http/1.1")).await.expect("an answer"), OK);
    assert!(ask(&stage, old.client(None, b"http/1.1")).await.is_err(), "the old one is gone");
    let url = "https://localhost/bellwether/v1/credentials/polling/token";
    assert_eq!(before.ask(request("GET", url, POLLER_KEY, "")).await.0, 200);
}

/// What cannot be used is told apart, and no key is in what is said.
#[test]
fn what_is_wrong_is_told_by_its_part() {
    let authority = Authority::new();
    let good = authority.sign("localhost");
    let broken = |part: &str| Identity {
        certificate: if part == "certificate" {
            "none".to_owned()
        } else {
            good.certificate.clone()
        },
        key: if part == "key" { good.certificate.clone() } else { good.key.clone() },
    };
    let error = Tls::new(broken("certificate").material(None)).expect_err("no certificate");
    assert!(matches!(&error, TlsError::Certificate(why) if why.contains("PEM")), "{error}");
    let error = Tls::new(broken("key").material(None)).expect_err("no key");
    assert!(matches!(&error, TlsError::Key(why) if why.contains("no private key")), "{error}");
    let no_ca = good.material(Some(("none", ClientAuth::Required)));
    let error = Tls::new(no_ca).expect_err("no authorities");
    assert!(matches!(&error, TlsError::ClientCa(_)), "{error}");
}

/// A unix socket beside it needs none: the kernel says who is there.
#[tokio::test]
async fn a_unix_socket_stays_in_the_clear() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gateway.sock");
    let socket = Socket::unix(&path, 0o600).await.expect("a socket");
    let tls = Tls::new(Authority::new().sign("localhost").material(None)).expect("good material");
    let stage = Stage::configured(|setting| {
        setting.sockets = vec![socket];
        setting.tls = Some(Arc::new(tls));
    })
    .await;
    stage.until_held("polling").await;
    let mut stream = UnixStream::connect(&path).await.expect("a listener");
    let bytes = Ask::rest("polling/token").header("Connection", "close").bytes();
    stream.write_all(&bytes).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a whole answer");
    assert!(answer.starts_with(OK), "{answer}");
}
