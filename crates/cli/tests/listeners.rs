//! Where `serve` listens: unix sockets, sockets of systemd, TLS; and what it says of it.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use support::{KEY, Serving, Stage};

/// The request that everybody makes here.
fn request() -> String {
    format!(
        "GET /bellwether/v1/credentials/polling/token HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    )
}

fn status(mut stream: impl Read + Write) -> String {
    stream.write_all(request().as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a whole answer");
    answer.lines().next().unwrap_or_default().to_owned()
}

fn with_gateway(stage: &Stage, section: &str) {
    let text = stage.configuration();
    stage.file("bellwether.toml", &text.replacen("listen = \"127.0.0.1:0\"", section, 1));
}

#[test]
fn a_unix_socket_beside_a_port_is_told_has_its_mode_and_goes_at_the_end() {
    let stage = Stage::new();
    with_gateway(
        &stage,
        "listen = [\"127.0.0.1:0\", \"unix:gateway.sock\"]\nsocket_mode = \"0660\"",
    );
    let serving = stage.serve();
    let path = stage.path("gateway.sock");
    let told = serving.wait_for("ready gateway=http://127.0.0.1:");
    assert!(told.contains(",unix:gateway.sock admin=http://"), "{told}");
    let mode = std::fs::metadata(&path).expect("its file").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let stream = UnixStream::connect(&path).expect("a listener");
    assert_eq!(status(stream), "HTTP/1.1 200 OK");

    let mut second = stage.command(&["serve", "--listen"]);
    second.arg(format!("unix:{}", path.display())).args(["--store", "sqlite:other.db"]);
    let refused = second.output().expect("the binary");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("another process listens there"), "{said}");

    let (ended, _) = serving.end(Signal::TERM);
    assert_eq!(ended.code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_socket_that_a_killed_process_left_is_replaced() {
    let stage = Stage::new();
    with_gateway(&stage, "listen = [\"127.0.0.1:0\", \"unix:gateway.sock\"]");
    let (killed, _) = stage.serve().end(Signal::KILL);
    assert!(!killed.success());
    let path = stage.path("gateway.sock");
    assert!(path.exists(), "nobody could remove it");
    let _again = stage.serve();
    assert_eq!(status(UnixStream::connect(&path).expect("a listener")), "HTTP/1.1 200 OK");
}

/// The shell puts the socket where systemd does, and says whose it is.
#[test]
fn a_socket_that_systemd_opened_is_taken() {
    let stage = Stage::new();
    with_gateway(&stage, "listen = \"systemd\"");
    for names in ["gateway", "unknown", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 0</dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_bellwether"), "serve"]);
        command.current_dir(stage.directory.path()).env_clear().env("LISTEN_FDNAMES", names);
        command.env("HOME", stage.directory.path()).stdin(Stdio::from(OwnedFd::from(listener)));
        let serving = Serving::start(command);
        assert_eq!(serving.gateway, address, "{names:?}");
        assert_eq!(status(TcpStream::connect(address).expect("a listener")), "HTTP/1.1 200 OK");
        assert_eq!(serving.end(Signal::TERM).0.code(), Some(0));
    }
    let output = stage.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("systemd passed none"), "{said}");
}

#[test]
fn an_open_network_without_tls_is_warned_of() {
    let stage = Stage::new();
    let open = Serving::start(stage.command(&["serve", "--listen", "0.0.0.0:0"]));
    open.wait_for("keys and tokens cross the network unencrypted at 0.0.0.0:");
    let (_, said) = stage_alone(&stage).end(Signal::TERM);
    assert!(!said.contains("unencrypted"), "{said}");
}

fn stage_alone(stage: &Stage) -> Serving {
    Serving::start(stage.command(&["serve", "--store", "sqlite:alone.db"]))
}

/// A certificate for `localhost` that is its own authority, written as two files.
fn identity(stage: &Stage) -> CertificateDer<'static> {
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    // As tools renew them: written aside, then put into the place of the old.
    stage.secret_file("new.key", &key.serialize_pem());
    stage.file("new.pem", &certificate.pem());
    std::fs::rename(stage.path("new.key"), stage.path("key.pem")).expect("it moves");
    std::fs::rename(stage.path("new.pem"), stage.path("cert.pem")).expect("it moves");
    certificate.der().clone()
}

/// The status line of an answer over TLS, if this certificate is what the gateway shows.
fn over_tls(address: SocketAddr, trusted: &CertificateDer<'static>) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(request().as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().next().map(str::to_owned)
}

const OK: Option<&str> = Some("HTTP/1.1 200 OK");
const TLS: &str =
    "listen = \"127.0.0.1:0\"\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }";

#[test]
fn a_renewed_certificate_is_used_and_a_broken_one_is_told_of() {
    let stage = Stage::new();
    let first = identity(&stage);
    with_gateway(&stage, TLS);
    let serving = stage.serve();
    serving.wait_for("ready gateway=https://127.0.0.1:");
    assert_eq!(over_tls(serving.gateway, &first).as_deref(), OK);

    let second = identity(&stage);
    serving.wait_for("the gateway's certificate was read again");
    assert_eq!(over_tls(serving.gateway, &second).as_deref(), OK);
    assert_eq!(over_tls(serving.gateway, &first), None, "the old one is gone");

    stage.file("cert.pem", "no certificate");
    let told = serving.wait_for("cert.pem: holds no certificate");
    assert!(told.contains("the gateway's certificate stays as it was"), "{told}");
    assert_eq!(over_tls(serving.gateway, &second).as_deref(), OK);
    let (ended, said) = serving.end(Signal::TERM);
    assert_eq!(ended.code(), Some(0));
    assert!(!said.contains("PRIVATE KEY"));
}

#[test]
fn sighup_reads_the_certificate_again() {
    let stage = Stage::new();
    identity(&stage);
    with_gateway(&stage, TLS);
    let serving = stage.serve();
    serving.signal(Signal::HUP);
    serving.wait_for("the gateway's certificate was read again");
    serving.wait_for("the configuration was read again");
}

/// What `check` says of certificates; the rest of the section is in the table of mistakes.
#[test]
fn a_certificate_and_a_key_that_do_not_belong_together_are_refused() {
    let stage = Stage::new();
    identity(&stage);
    let other = KeyPair::generate().expect("a key").serialize_pem();
    let good = std::fs::read_to_string(stage.path("key.pem")).expect("the key");
    with_gateway(&stage, TLS);
    assert!(stage.run(&["check"]).status.success());
    for (key, mode, expected) in [
        (other.as_str(), 0o600, "is not the key of the certificate"),
        ("none", 0o600, "holds no private key"),
        (good.as_str(), 0o644, "can be read by everybody"),
    ] {
        set(&stage.path("key.pem"), key, mode);
        let output = stage.run(&["check"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("gateway.tls.key: ") && said.contains(expected), "{said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
}

fn set(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}
