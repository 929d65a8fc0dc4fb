//! What arrives at the API: exactly one `Authorization`, ours, whatever the caller wrote.

use crate::support::{Ask, Connection, Origin, Stage};

async fn open() -> (Stage, Origin, String) {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    // Handed out, then renewed: what goes in is not what the caller shows.
    let shown = stage.token().await;
    stage.clock.skip(std::time::Duration::from_secs(7200));
    stage.token().await;
    (stage, api, shown)
}

#[tokio::test]
async fn the_callers_tricks_never_survive() {
    let (stage, api, shown) = open().await;
    let current = stage.token().await;
    assert_ne!(current, shown);
    #[rustfmt::skip]
    let tricks: [&[(&str, &str)]; 17] = [
        &[],
        &[("Connection", "authorization")],
        &[("Connection", "Authorization, keep-alive")],
        &[("connection", "close"), ("Connection", "AUTHORIZATION")],
        &[("Connection", "host")],
        &[("Connection", "content-length")],
        &[("Connection", "transfer-encoding")],
        &[("Connection", "bellwether-credential")],
        &[("Connection", ",,authorization,,")],
        &[("Proxy-Connection", "authorization")],
        &[("Proxy-Authorization", "Basic eDp5")],
        &[("Keep-Alive", "timeout=5")],
        &[("Trailer", "Authorization")],
        &[("Upgrade", "websocket"), ("Connection", "Upgrade")],
        &[("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__"), ("Connection", "Upgrade, HTTP2-Settings")],
        &[("Expect", "100-continue")],
        &[("Cookie", "session=of-the-caller")],
    ];
    for trick in tricks {
        let mut ask = Ask::new("POST", "/api/x").bearer(&shown).json("{}").header("X-Own", "1");
        for (name, value) in trick {
            ask = ask.header(name, value);
        }
        let reply = stage.ask(ask).await;
        assert_eq!(reply.status, 200, "{trick:?}: {reply:?}");
        let sent = api.last();
        assert_eq!(sent.all("authorization"), [format!("Bearer {current}")], "{trick:?}");
        assert_eq!(sent.all("host"), [api.address.to_string()], "{trick:?}");
        assert_eq!(sent.all("x-own"), ["1"], "{trick:?}");
        assert_eq!(sent.body, b"{}", "{trick:?}");
        for gone in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "te",
            "trailer",
            "upgrade",
            "http2-settings",
            "expect",
            "bellwether-credential",
            "cookie",
        ] {
            let kept = sent.all(gone);
            assert!(kept.is_empty(), "{trick:?}: {gone} arrived: {kept:?}");
        }
        assert!(!sent.headers.iter().any(|(_, value)| value.contains(&shown)), "{trick:?}");
    }
}

#[tokio::test]
async fn whoever_understands_trailers_may_say_so() {
    let (stage, api, shown) = open().await;
    let ask = Ask::new("GET", "/api/x").bearer(&shown);
    stage.ask(ask.header("TE", "deflate, trailers").header("Connection", "TE")).await;
    let sent = api.last();
    assert_eq!((sent.all("te"), sent.all("connection")), (vec!["trailers"], vec!["te"]));
}

#[tokio::test]
async fn connection_names_what_goes_and_nothing_that_matters() {
    let (stage, api, shown) = open().await;
    let ask = Ask::new("POST", "/api/x")
        .bearer(&shown)
        .json("{}")
        .header("X-Mine", "1")
        .header("X-Other", "2")
        .header("Connection", "x-mine, content-type, accept");
    stage.ask(ask.header("Accept", "text/plain")).await;
    let sent = api.last();
    assert!(sent.all("x-mine").is_empty(), "RFC 9110 §7.6.1");
    assert_eq!(sent.all("x-other"), ["2"]);
}

#[tokio::test]
async fn what_concerns_one_connection_alone_does_not_come_back() {
    let headers = "Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\
                   Proxy-Authenticate: Basic\r\nProxy-Connection: x\r\nX-End: 2\r\n";
    let api = Origin::start(move |_| crate::support::origin::answer("200 OK", headers, "{}")).await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    let token = stage.token().await;
    let reply = stage.ask(Ask::get("/api/x").bearer(&token)).await;
    assert_eq!((reply.status, reply.header("x-end")), (200, Some("2")));
    for gone in ["keep-alive", "x-hop", "proxy-authenticate", "proxy-connection"] {
        assert_eq!(reply.header(gone), None, "{gone}");
    }
}

/// Requests whose end two readers could see in two places. Either they are refused, or what
/// arrives is one request with the one token.
#[tokio::test]
async fn framing_that_could_be_read_two_ways_smuggles_nothing() {
    let (stage, api, shown) = open().await;
    let current = stage.token().await;
    let smuggled = "GET /api/smuggled HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer evil\r\n\r\n";
    let length = smuggled.len();
    let head =
        format!("POST /api/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {shown}\r\n");
    let both = format!("0\r\n\r\n{smuggled}");
    let both_length = both.len();
    let corpus = [
        format!("{head}Content-Length: {both_length}\r\nTransfer-Encoding: chunked\r\n\r\n{both}"),
        format!("{head}Transfer-Encoding: chunked\r\nContent-Length: {both_length}\r\n\r\n{both}"),
        format!("{head}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("{head}Content-Length: 0, {length}\r\n\r\n{smuggled}"),
        format!("{head}Content-Length: +{length}\r\n\r\n{smuggled}"),
        format!("{head}Content-Length: -1\r\n\r\n{smuggled}"),
        format!("{head}Content-Length: 0x10\r\n\r\n{smuggled}"),
        format!("{head}Content-Length : 0\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: xchunked\r\n\r\n{both}"),
        format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n{both}"),
        format!("{head}Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding : chunked\r\n\r\n{both}"),
        format!("{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{both}"),
        format!("{head}X: y\r\n Transfer-Encoding: chunked\r\n\r\n{both}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{smuggled}\r\n0\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{smuggled}"),
        format!("{head}Content-Length: 0\r\nX: a\0b\r\n\r\n{smuggled}"),
        format!(
            "POST /api/x HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {shown}\r\nTransfer-Encoding: chunked\r\n\r\n{both}"
        ),
        format!(
            "POST /api/x HTTP/9.9\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {shown}\r\n\r\n{smuggled}"
        ),
        format!(
            "POST  /api/x  HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {shown}\r\n\r\n{smuggled}"
        ),
    ];
    for raw in corpus {
        let before = api.recorded().len();
        let mut connection = Connection::to(stage.gateway).await;
        connection.write(raw.as_bytes()).await;
        connection.finish().await;
        for request in &api.recorded()[before..] {
            assert_eq!(request.all("authorization"), [format!("Bearer {current}")], "{raw}");
            assert_ne!(request.target(), "/api/smuggled", "{raw}");
            let framings =
                request.all("content-length").len() + request.all("transfer-encoding").len();
            assert!(framings <= 1, "{raw}");
        }
    }
}

/// What is no HTTP at all is no trouble either.
#[tokio::test]
async fn noise_is_refused_and_the_next_caller_served() {
    let (stage, api, shown) = open().await;
    let long = "x".repeat(200_000);
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let noise: Vec<Vec<u8>> = vec![
        b"\r\n\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /api/x\r\n\r\n".to_vec(),
        b"GET /api/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"GET /api/x HTTP/1.1\r\nHost: local\xffhost\r\n\r\n".to_vec(),
        b"GET /api/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
            .to_vec(),
        b"GET /api/x HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n".to_vec(),
        format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(),
        format!("GET /api/x HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n").into_bytes(),
        format!("GET /api/x HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").into_bytes(),
        (0..=255).cycle().take(5000).collect(),
        b"gopher://localhost:8484/_POST%20/oauth/token".to_vec(),
    ];
    for listener in [stage.gateway, stage.admin] {
        for bytes in &noise {
            let mut connection = Connection::to(listener).await;
            // It may be refused before it is written to its end.
            connection.try_write(bytes).await;
            connection.finish().await;
        }
    }
    assert!(api.recorded().is_empty());
    assert_eq!(stage.ask(Ask::get("/api/x").bearer(&shown)).await.status, 200);
    assert_eq!(stage.ask_admin(Ask::get("/healthz")).await.status, 200);
}
