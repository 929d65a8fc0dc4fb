//! What costs a server of HTTP/2 work and asks for nothing ends the connection, and others are
//! answered all the while.

use crate::support::http2::{PREFACE, flood, frame};
use crate::support::{Ask, Stage};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET / http localhost`, packed (RFC 7541).
fn get() -> Vec<u8> {
    [b"\x82\x86\x84\x41\x09".as_slice(), b"localhost"].concat()
}

fn opened() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A stream that a caller opens; theirs are odd.
fn stream(turn: u32) -> u32 {
    2 * turn + 1
}

type Turn = Box<dyn Fn(u32) -> Vec<u8>>;

#[tokio::test]
async fn each_flood_ends_its_connection_and_no_other() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    let request = |turn| frame(HEADERS, END_STREAM | END_HEADERS, stream(turn), &get());
    let endless = [opened(), frame(HEADERS, END_STREAM, 1, &get())].concat();
    #[rustfmt::skip]
    let floods: [(&str, Vec<u8>, Turn); 8] = [
        ("resets",        opened(), Box::new(move |turn| [request(turn), frame(RST_STREAM, 0, stream(turn), &[0, 0, 0, 8])].concat())),
        ("pings",         opened(), Box::new(|_| frame(PING, 0, 0, &[7; 8]))),
        ("settings",      opened(), Box::new(|_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]))),
        ("priorities",    opened(), Box::new(|turn| frame(PRIORITY, 0, stream(turn), &[0, 0, 0, 0, 1]))),
        ("unknown kinds", opened(), Box::new(|_| frame(0x42, 0, 0, &[]))),
        ("continuations", endless,  Box::new(|_| frame(CONTINUATION, 0, 1, &[b"\x40\x05x-abc\x7f\x00".as_slice(), &[b'a'; 127]].concat()))),
        ("empty data",    [opened(), frame(HEADERS, END_HEADERS, 1, &get())].concat(), Box::new(|_| frame(DATA, 0, 1, &[]))),
        ("streams that were never opened", opened(), Box::new(|turn| frame(DATA, 0, stream(turn), b"x"))),
    ];
    for (title, first, turn) in floods {
        let took = flood(stage.gateway, &first, 100_000, turn).await;
        assert!(took < 20_000, "{title}: {took} frames");
        assert_eq!(stage.ask(Ask::rest("polling/token")).await.status, 200, "after {title}");
    }
    let metrics = stage.ask_admin(Ask::get("/metrics")).await.text();
    let line = r#"bellwether_connections_refused_total{listener="gateway",reason="flood"}"#;
    let counted = metrics.lines().find_map(|found| found.strip_prefix(line));
    let counted: u32 = counted.and_then(|count| count.trim().parse().ok()).expect("a count");
    // The engine itself hangs up on the others.
    assert!(counted >= 4, "{counted}");
}

/// A head that unpacks to megabytes is refused, and costs no megabytes: it is read, not kept.
#[tokio::test]
async fn a_packed_bomb_is_refused() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    // 4,000 bytes into the table once, then 12,000 times the same by one byte each.
    let mut head = get();
    head.extend_from_slice(b"\x40\x01x\x7f\xa1\x1e");
    head.extend_from_slice(&[b'a'; 4000]);
    head.extend_from_slice(&[0xbe; 12_000]);
    let bomb = move |turn| frame(HEADERS, END_STREAM | END_HEADERS, stream(turn), &head);
    let before = resident();
    let first = opened();
    let sender = async {
        let stream = tokio::net::TcpStream::connect(stage.gateway).await.expect("a listener");
        let (mut from, mut to) = stream.into_split();
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            let _ = from.read_to_end(&mut all).await;
            all
        });
        to.write_all(&first).await.expect("it reads");
        for turn in 0..50 {
            if to.write_all(&bomb(turn)).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
        reading.await.expect("no panic")
    };
    let answered = tokio::time::timeout(std::time::Duration::from_secs(20), sender).await;
    assert!(!answered.expect("no hang").is_empty());
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    assert_eq!(stage.ask(Ask::rest("polling/token")).await.status, 200);
}

/// Bytes of memory in use by this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("it is there");
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}
