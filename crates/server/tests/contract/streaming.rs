//! Bodies stream both ways: nothing waits for their end.

use std::time::Duration;

use bellwether_simulation::{Effect, Endpoint, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Ask, Connection, Origin, Stage};

#[tokio::test]
async fn a_response_that_trickles_arrives_before_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (go_on, mut told) = tokio::sync::mpsc::channel::<()>(1);
    let api = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the gateway");
        let mut head = vec![0; 4096];
        assert!(stream.read(&mut head).await.expect("a request") > 0);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(head).await.expect("it reads");
        told.recv().await.expect("a sign");
        stream.write_all(b"6\r\nsecond\r\n").await.expect("it reads");
        told.recv().await.expect("a sign");
        stream.write_all(b"0\r\n\r\n").await.expect("it reads");
    });
    let stage = Stage::open(|setting| setting.resource_server = url.parse().ok()).await;
    let token = stage.token().await;
    let mut connection = Connection::to(stage.gateway).await;
    connection.write(&Ask::get("/api/events").bearer(&token).bytes()).await;
    assert_eq!(connection.head().await.status, 200);
    assert_eq!(connection.chunk().await.as_deref(), Some(b"first".as_slice()));
    go_on.send(()).await.expect("it listens");
    assert_eq!(connection.chunk().await.as_deref(), Some(b"second".as_slice()));
    go_on.send(()).await.expect("it listens");
    assert_eq!(connection.chunk().await, None);
    api.await.expect("no panic");
}

#[tokio::test]
async fn an_upload_arrives_before_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (arrived, mut seen) = tokio::sync::mpsc::channel::<()>(1);
    let api = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the gateway");
        let mut received = Vec::new();
        let mut until = async |text: &[u8]| {
            while !received.windows(text.len()).any(|window| window == text) {
                assert!(stream.read_buf(&mut received).await.expect("more") > 0);
            }
        };
        until(b"first-half").await;
        arrived.send(()).await.expect("it waits");
        until(b"second-half").await;
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.expect("it reads");
    });
    let stage = Stage::open(|setting| setting.resource_server = url.parse().ok()).await;
    let token = stage.token().await;
    let post = Ask::new("POST", "/api/x").bearer(&token).header("Transfer-Encoding", "chunked");
    let mut connection = Connection::to(stage.gateway).await;
    connection.write(&post.bytes()).await;
    connection.write(b"a\r\nfirst-half\r\n").await;
    let half = tokio::time::timeout(Duration::from_secs(10), seen.recv()).await;
    half.expect("it did not wait for the end").expect("a sign");
    connection.write(b"b\r\nsecond-half\r\n0\r\n\r\n").await;
    assert_eq!(connection.reply(false).await.status, 201);
    api.await.expect("no panic");
}

#[tokio::test]
async fn a_large_upload_passes_whole() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    let token = stage.token().await;
    let body: Vec<u8> = (0_u32..8 << 20).map(|i| (i % 251) as u8).collect();
    for chunked in [true, false] {
        let mut post = Ask::new("PUT", "/api/x").bearer(&token);
        post = if chunked {
            post.header("Transfer-Encoding", "chunked")
        } else {
            post.header("Content-Length", &body.len().to_string())
        };
        let mut connection = Connection::to(stage.gateway).await;
        connection.write(&post.bytes()).await;
        for piece in body.chunks(100_000) {
            if chunked {
                connection.write(format!("{:x}\r\n", piece.len()).as_bytes()).await;
            }
            connection.write(piece).await;
            if chunked {
                connection.write(b"\r\n").await;
            }
        }
        if chunked {
            connection.write(b"0\r\n\r\n").await;
        }
        assert_eq!(connection.reply(false).await.status, 200);
        assert!(api.last().body == body, "chunked: {chunked}");
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    let mut connection = Connection::to(stage.gateway).await;
    for number in 0..20 {
        let path = format!("/api/v2/users/{number}");
        let reply = connection.ask(&Ask::get(&path).bearer(&token)).await;
        assert_eq!(reply.value()["path"], path);
        assert_eq!(connection.ask(&Ask::login()).await.token(), token);
    }
}

/// An upload may take its time; only silence is late.
#[tokio::test]
async fn a_slow_upload_is_not_an_api_that_is_late() {
    let api = Origin::content().await;
    let patience = Duration::from_millis(400);
    let stage = Stage::open(|setting| {
        setting.resource_server = Some(api.url("/"));
        setting.gateway.answer_timeout = patience;
    })
    .await;
    let token = stage.token().await;
    let post = Ask::new("POST", "/api/x").bearer(&token).header("Transfer-Encoding", "chunked");
    let mut connection = Connection::to(stage.gateway).await;
    connection.write(&post.bytes()).await;
    let mut pace = tokio::time::interval(patience / 3);
    for _ in 0..6 {
        pace.tick().await;
        connection.write(b"5\r\npiece\r\n").await;
    }
    connection.write(b"0\r\n\r\n").await;
    assert_eq!(connection.reply(false).await.status, 200);
    assert_eq!(api.last().body, b"piece".repeat(6));
}

#[tokio::test]
async fn an_api_that_says_nothing_is_502_in_time() {
    let stage = Stage::open(|setting| {
        setting.gateway.answer_timeout = Duration::from_millis(300);
    })
    .await;
    let token = stage.token().await;
    stage.fault(Fault::lasting(Endpoint::Api, Effect::Stall { processed: false }));
    let reply = stage.ask(Ask::get("/api/x").bearer(&token)).await;
    assert_eq!(reply.refusal(), (502, "temporarily_unavailable".to_owned(), true));
    // The same where the caller stops half-way.
    let post = Ask::new("POST", "/api/x").bearer(&token).header("Transfer-Encoding", "chunked");
    let mut connection = Connection::to(stage.gateway).await;
    connection.write(&post.bytes()).await;
    connection.write(b"5\r\npiece\r\n").await;
    assert_eq!(connection.reply(false).await.status, 502);
}

#[tokio::test]
async fn a_caller_that_does_not_come_to_an_end_is_not_waited_for() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| {
        setting.resource_server = Some(api.url("/"));
        setting.gateway.body_timeout = Duration::from_millis(300);
    })
    .await;
    let token = stage.token().await;
    for ask in [Ask::login(), Ask::new("POST", "/api/x").bearer(&token)] {
        let half = ask.without("content-length").header("Content-Length", "100");
        let mut connection = Connection::to(stage.gateway).await;
        connection.write(&half.bytes()).await;
        let reply = connection.reply(false).await;
        assert_eq!(reply.refusal(), (408, "request_timeout".to_owned(), true));
    }
    assert!(api.recorded().is_empty());
    assert_eq!(stage.token_requests(), 1);
}
