//! More than a request and an answer: upgrades, trailers, early answers, connections that close.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::origin::{Recorded, answer, read};
use crate::support::{Ask, Connection, Stage};

/// An API whose connections are played by a function.
struct Played {
    url: String,
    listening: JoinHandle<()>,
}

impl Played {
    async fn start<F>(play: impl Fn(BufReader<TcpStream>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(play(BufReader::new(stream)));
            }
        });
        Self { url, listening }
    }

    async fn stage(&self) -> Stage {
        let url = self.url.parse().expect("a URL");
        Stage::open(|setting| setting.resource_server = Some(url)).await
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

fn wants_websocket(request: &Recorded) -> bool {
    request.all("upgrade") == ["websocket"] && request.all("connection") == ["upgrade"]
}

/// Refuses the first handshake, and sends back in capitals what comes after the next.
async fn shout(mut stream: BufReader<TcpStream>, handshakes: Arc<AtomicUsize>) {
    while let Some(request) = read(&mut stream).await {
        assert!(wants_websocket(&request), "{request:?}");
        assert_eq!(request.all("authorization").len(), 1);
        assert_eq!(request.all("sec-websocket-key"), ["x"]);
        if handshakes.fetch_add(1, Ordering::SeqCst) == 0 {
            let refusal = answer("401 Unauthorized", "", "");
            stream.get_mut().write_all(&refusal).await.expect("it reads");
            continue;
        }
        stream.get_mut().write_all(SWITCHING).await.expect("it reads");
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            let upper = bytes[..count].to_ascii_uppercase();
            stream.get_mut().write_all(&upper).await.expect("it reads");
        }
        return;
    }
}

#[tokio::test]
async fn a_connection_goes_on_as_a_websocket_and_a_refused_handshake_is_cured() {
    let handshakes = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&handshakes);
    let api = Played::start(move |stream| shout(stream, Arc::clone(&counted))).await;
    let stage = api.stage().await;
    let token = stage.token().await;
    let mut connection = Connection::to(stage.gateway).await;
    let ask = Ask::get("/api/socket")
        .bearer(&token)
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Key", "x");
    connection.write(&ask.bytes()).await;
    let head = connection.head().await;
    assert_eq!((head.status, head.header("upgrade")), (101, Some("websocket")));
    assert_eq!(handshakes.load(Ordering::SeqCst), 2);
    for text in ["hello", "again"] {
        connection.write(text.as_bytes()).await;
        assert_eq!(connection.exactly(text.len()).await, text.to_uppercase().as_bytes());
    }
}

#[tokio::test]
async fn nobody_is_upgraded_who_did_not_ask() {
    let api = Played::start(|mut stream| async move {
        while read(&mut stream).await.is_some() {
            let poison = [SWITCHING, &answer("200 OK", "X-Poison: 1\r\n", "poison")].concat();
            stream.get_mut().write_all(&poison).await.expect("it reads");
        }
    })
    .await;
    let stage = api.stage().await;
    let token = stage.token().await;
    let mut connection = Connection::to(stage.gateway).await;
    for _ in 0..3 {
        let reply = connection.ask(&Ask::get("/api/x").bearer(&token)).await;
        assert_eq!(reply.refusal(), (502, "temporarily_unavailable".to_owned(), true));
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let api = Played::start(|mut stream| async move {
        let mut received = Vec::new();
        while !received.ends_with(b"X-Sum: 7\r\n\r\n") && !received.ends_with(b"x-sum: 7\r\n\r\n") {
            let count = stream.read_buf(&mut received).await.expect("the request");
            assert!(count > 0, "the request's trailer: {}", String::from_utf8_lossy(&received));
        }
        let answer = b"HTTP/1.1 200 OK\r\nTrailer: X-Total\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3\r\nabc\r\n0\r\nX-Total: 3\r\n\r\n";
        stream.get_mut().write_all(answer).await.expect("it reads");
    })
    .await;
    let stage = api.stage().await;
    let token = stage.token().await;
    let mut connection = Connection::to(stage.gateway).await;
    let ask = Ask::new("POST", "/api/x")
        .bearer(&token)
        .header("TE", "trailers")
        .header("Connection", "TE")
        .header("Trailer", "X-Sum")
        .header("Transfer-Encoding", "chunked");
    connection.write(&ask.bytes()).await;
    connection.write(b"2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n").await;
    let head = connection.head().await;
    assert_eq!((head.status, head.header("trailer")), (200, Some("X-Total")));
    let end = b"3\r\nabc\r\n0\r\nx-total: 3\r\n\r\n";
    let arrived = connection.exactly(end.len()).await;
    assert_eq!(arrived.to_ascii_lowercase(), end);
}

#[tokio::test]
async fn an_answer_may_come_before_the_end_of_the_request() {
    let api = Played::start(|mut stream| async move {
        let mut head = vec![0; 4096];
        assert!(stream.read(&mut head).await.expect("a head") > 0);
        let answer = answer("413 Content Too Large", "Connection: close\r\n", "too large");
        stream.get_mut().write_all(&answer).await.expect("it reads");
        // Whoever closes with bytes unread resets what is on its way back.
        while stream.read(&mut head).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    let stage = api.stage().await;
    let token = stage.token().await;
    let mut connection = Connection::to(stage.gateway).await;
    let ask = Ask::new("POST", "/api/x").bearer(&token);
    connection.write(&ask.header("Content-Length", "100000000").bytes()).await;
    connection.write(&[b'x'; 1000]).await;
    let reply = connection.reply(false).await;
    assert_eq!((reply.status, reply.text().as_str()), (413, "too large"));
    // The rest of the body is never taken for another request.
    assert_eq!(stage.ask(Ask::get("/api/x").bearer(&token)).await.status, 413);
}

#[tokio::test]
async fn a_caller_is_told_to_go_on_with_its_body() {
    let api = Played::start(|mut stream| async move {
        while let Some(request) = read(&mut stream).await {
            let length = request.body.len();
            stream.get_mut().write_all(&answer("200 OK", "", &length.to_string())).await.unwrap();
        }
    })
    .await;
    let stage = api.stage().await;
    let token = stage.token().await;
    for length in [5, 3 << 20] {
        let mut connection = Connection::to(stage.gateway).await;
        let ask = Ask::new("PUT", "/api/x").bearer(&token).header("Expect", "100-continue");
        connection.write(&ask.header("Content-Length", &length.to_string()).bytes()).await;
        assert_eq!(connection.line().await, "HTTP/1.1 100 Continue", "{length} bytes");
        assert_eq!(connection.line().await, "");
        connection.write(&vec![b'x'; length]).await;
        assert_eq!(connection.reply(false).await.text(), length.to_string());
    }
}

/// Answers the first request of each connection, and closes on the second without a word.
async fn close_on_the_second(mut stream: BufReader<TcpStream>, seen: Arc<AtomicUsize>) {
    for number in 0..2 {
        if read(&mut stream).await.is_none() {
            return;
        }
        seen.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            stream.get_mut().write_all(&answer("200 OK", "", "ok")).await.expect("it reads");
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_closes_costs_an_idempotent_request_nothing() {
    let seen = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&seen);
    let api = Played::start(move |stream| close_on_the_second(stream, Arc::clone(&counted))).await;
    let stage = api.stage().await;
    let token = stage.token().await;
    let mut connection = Connection::to(stage.gateway).await;
    let get = Ask::get("/api/x").bearer(&token);
    assert_eq!(connection.ask(&get).await.status, 200);
    assert_eq!(connection.ask(&get).await.status, 200, "sent once more over a fresh one");
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    // Nobody knows what became of it: it is not sent again (RFC 9110 §9.2.2).
    let post = Ask::new("POST", "/api/x").bearer(&token).json("{}");
    let reply = connection.ask(&post).await;
    assert_eq!(reply.refusal(), (502, "temporarily_unavailable".to_owned(), true));
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}
