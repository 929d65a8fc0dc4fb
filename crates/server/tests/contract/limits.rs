//! How many connections there may be, and what becomes of the others.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Ask, Connection, Stage};

/// Reads until the peer hangs up, and says whether it did so without a word.
async fn is_closed_at_once(stage: &Stage) -> bool {
    let mut stream = TcpStream::connect(stage.gateway).await.expect("it is accepted");
    let _ = stream.write_all(&Ask::get("/").bytes()).await;
    let read = timeout(Duration::from_secs(20), stream.read(&mut [0; 1])).await.expect("no hang");
    !matches!(read, Ok(1..))
}

async fn metric(stage: &Stage, line: &str) -> u64 {
    let text = stage.ask_admin(Ask::get("/metrics")).await.text();
    let found = text.lines().find_map(|found| found.strip_prefix(line));
    let value = found.and_then(|value| value.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {line} in {text}"))
}

#[tokio::test]
async fn over_the_limit_a_connection_is_closed_at_once_and_counted() {
    let stage = Stage::configured(|setting| setting.gateway.connections.most = 2).await;
    stage.until_held("polling").await;
    let mut first = Connection::to(stage.gateway).await;
    assert_eq!(first.ask(&Ask::rest("polling/token")).await.status, 200);
    // Half a head holds a place as well as a whole one.
    let mut second = Connection::to(stage.gateway).await;
    second.write(b"GET / HTTP/1.1\r\nHo").await;
    let open = r#"bellwether_connections_open{listener="gateway"}"#;
    while metric(&stage, open).await < 2 {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        assert!(is_closed_at_once(&stage).await);
    }
    let refused =
        r#"bellwether_connections_refused_total{listener="gateway",reason="max_connections"}"#;
    assert_eq!(metric(&stage, refused).await, 3);
    assert_eq!(first.ask(&Ask::rest("polling/token")).await.status, 200, "who is in stays in");
    drop(second);
    while metric(&stage, open).await > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.ask(Ask::rest("polling/token")).await.status, 200, "there is room again");
}

#[tokio::test]
async fn one_address_may_have_so_many() {
    let stage =
        Stage::configured(|setting| setting.gateway.connections.most_per_peer = Some(1)).await;
    stage.until_held("polling").await;
    let mut first = Connection::to(stage.gateway).await;
    assert_eq!(first.ask(&Ask::rest("polling/token")).await.status, 200);
    assert!(is_closed_at_once(&stage).await);
    let other = tokio::net::TcpSocket::new_v4().expect("a socket");
    other.bind(([127, 0, 0, 9], 0).into()).expect("another address of this machine");
    let mut other = other.connect(stage.gateway).await.expect("it is accepted");
    other.write_all(&Ask::rest("polling/token").bytes()).await.expect("it reads");
    let mut answer = [0; 12];
    other.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}
