//! An answer that comes after the usual limit is still the only place where a rotated refresh token
//! is.

mod support;

use std::sync::Arc;

use bellwether_broker::oauth::Secret;
use bellwether_broker::store::{Key, Keyring, MemoryEscrow, MemoryStore, SystemClock};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Http1, Obtain, Outgoing,
    Transport,
};
use rustls::RootCertStore;
use support::{millis, secs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use url::Url;

/// Answers the caller who spends something once the other, with the same limit, has given up.
async fn serve(listener: TcpListener, arrived: oneshot::Sender<()>) {
    let (mut first, _) = listener.accept().await.expect("a caller");
    arrived.send(()).expect("the test goes on");
    let (mut second, _) = listener.accept().await.expect("another caller");
    while second.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
    let body = r#"{"access_token":"late","refresh_token":"next","expires_in":300}"#;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    first.write_all((head + body).as_bytes()).await.expect("the first caller waits");
    // So that nobody's connection is closed before its answer is read.
    while first.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_refresh_token_was_spent_for_is_waited_for_while_nobody_else_may_ask() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/token", listener.local_addr().expect("an address"));
    let url: Url = url.parse().expect("a URL");
    let (arrived, first_is_there) = oneshot::channel();
    let served = tokio::spawn(serve(listener, arrived));
    let limit = millis(100);
    let transport = Http1::with_roots(RootCertStore::empty()).with_timeouts(limit, limit);
    let transport: Arc<dyn Transport> = Arc::new(transport);
    let server = AuthorizationServer {
        token_endpoint: url.clone(),
        request_limit: secs(10),
        ..support::server(Arc::clone(&transport))
    };
    let clock = Arc::new(SystemClock::new());
    let broker = Broker::start(Environment {
        store: Arc::new(MemoryStore::new(Arc::new(*clock))),
        escrow: Arc::new(MemoryEscrow::new()),
        clock,
        keyring: Keyring::from_bytes(&[7; Keyring::KEY_LEN]),
        seed: 1,
    });
    let refreshing = CredentialSettings {
        key: Key::credential("refreshing", 0).expect("a good name"),
        obtain: Obtain::RefreshToken { seed: Some(Secret::from("first")) },
        ..support::settings(server)
    };
    let handle = broker.add(refreshing).await.handle;
    let waiting = tokio::spawn(async move { handle.token().await });
    first_is_there.await.expect("it asks");
    // Whoever spends nothing gives up after the limit, and so tells the server to go on.
    let other = Outgoing { url, authorization: None, form: Some(Secret::from("a=b")) };
    transport.send(other).await.expect_err("no answer in time");
    let token = waiting.await.expect("no panic").expect("the late answer");
    assert_eq!(token.access_token().expose(), "late");
    served.abort();
}
