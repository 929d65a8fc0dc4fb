//! What is between two hops alone (RFC 9110 §7.6.1), whose credentials arrive, and what is not
//! negotiated with a gateway.

use super::{HOST_AND_KEY, SMUGGLED, case, get, once, post};
use crate::case::{Case, Expected, Seen};

pub(super) fn connection() -> Vec<Case> {
    const FAMILY: &str = "Connection";
    let mut cases = Vec::new();
    for option in [
        "authorization",
        "Authorization",
        "AUTHORIZATION",
        "host",
        "content-length",
        "transfer-encoding",
        "bellwether-credential",
        "cookie",
        "expect",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "close",
        "x-own",
        "",
        ",",
        ",,,authorization,,",
        "close, authorization, host",
        "keep-alive, x-own, authorization",
        "authorization;q=1",
        "\"authorization\"",
        "author ization",
        "*",
        "connection",
        "proxy-authorization",
        "user-agent",
        "content-type",
        "date",
    ] {
        let lines =
            format!("Connection: {option}\r\nX-Own: 1\r\nX-Kept: 2\r\nContent-Length: 5\r\n");
        let mut seen = Seen::new("POST", "/in", "hello").has("x-kept", "2").lacks("connection");
        seen = if option.contains("x-own") { seen.lacks("x-own") } else { seen.has("x-own", "1") };
        cases.push(case(FAMILY, format!("{option:?}"), post(&lines, "hello"), once(seen.clone())));
        let lines = format!("Proxy-Connection: {option}\r\nX-Kept: 2\r\nContent-Length: 5\r\n");
        let seen = Seen::new("POST", "/in", "hello").has("x-kept", "2").lacks("proxy-connection");
        let name = format!("{option:?} of a Proxy-Connection");
        cases.push(case(FAMILY, name, post(&lines, "hello"), once(seen)));
    }
    let twice = get("Connection: x-own\r\nConnection: authorization\r\nX-Own: 1\r\n");
    cases.push(case(FAMILY, "on two lines", twice, once(Seen::get("/in").lacks("x-own"))));
    let many = get(&format!("Connection: {}\r\n", "a,".repeat(2000)));
    cases.push(case(FAMILY, "2,000 options", many, once(Seen::get("/in").lacks("connection"))));
    cases
}

pub(super) fn credentials() -> Vec<Case> {
    const FAMILY: &str = "credentials";
    let seen = || Seen::get("/in");
    let bare = |lines: &str| format!("GET /in HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    let refused = || Expected::Refused;
    let mut cases: Vec<Case> = [
        ("the key twice", get("Authorization: Bearer {KEY}\r\n"), refused()),
        ("the key, and another", get("Authorization: Bearer other\r\n"), refused()),
        (
            "another, and the key",
            bare("Authorization: Bearer other\r\nAuthorization: Bearer {KEY}\r\n"),
            refused(),
        ),
        ("two in a list", bare("Authorization: Bearer {KEY}, Bearer other\r\n"), refused()),
        (
            "the key in a list with itself",
            bare("Authorization: Bearer {KEY}, Bearer {KEY}\r\n"),
            refused(),
        ),
        ("another scheme", bare("Authorization: Basic {KEY}\r\n"), refused()),
        ("no scheme", bare("Authorization: {KEY}\r\n"), refused()),
        ("a scheme alone", bare("Authorization: Bearer\r\n"), refused()),
        ("nothing", bare("Authorization:\r\n"), refused()),
        ("none", bare(""), refused()),
        ("a tab between", bare("Authorization: Bearer\t{KEY}\r\n"), refused()),
        ("folded", bare("Authorization: Bearer\r\n {KEY}\r\n"), refused()),
        ("split by LF", bare("Authorization: Bearer\n{KEY}\r\n"), refused()),
        ("with a space before the colon", bare("Authorization : Bearer {KEY}\r\n"), refused()),
        ("under a look-alike name", bare("Authorizatıon: Bearer {KEY}\r\n"), refused()),
        (
            "in the query",
            "GET /in?access_token={KEY} HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            refused(),
        ),
        ("as the proxy's", bare("Proxy-Authorization: Bearer {KEY}\r\n"), refused()),
        ("in a cookie", bare("Cookie: authorization=Bearer%20{KEY}\r\n"), refused()),
        ("half of it", bare("Authorization: Bearer {KEY}x\r\n"), refused()),
        ("in small letters", bare("authorization: bearer {KEY}\r\n"), once(seen())),
        ("with spaces around", bare("Authorization:   Bearer   {KEY}   \r\n"), once(seen())),
        (
            "beside the proxy's",
            get("Proxy-Authorization: Basic eDp5\r\n"),
            once(seen().lacks("proxy-authorization")),
        ),
        ("beside a cookie", get("Cookie: a=b\r\nCookie: c=d\r\n"), once(seen().lacks("cookie"))),
        ("beside its name with an underscore", get("Proxy_Authorization: x\r\n"), refused()),
        (
            "beside what others call it",
            get("X-Authorization: x\r\nX-Forwarded-Authorization: y\r\n"),
            once(seen().has("x-authorization", "x")),
        ),
        (
            "two credentials named",
            get("Bellwether-Credential: a\r\nBellwether-Credential: b\r\n"),
            refused(),
        ),
        ("an unknown credential named", get("Bellwether-Credential: nobody\r\n"), refused()),
        ("a credential named by a path", get("Bellwether-Credential: ../x\r\n"), refused()),
    ]
    .into_iter()
    .map(|(name, bytes, expected)| case(FAMILY, name, bytes, expected))
    .collect();
    // No meaning here: the API may give them one, for that is the caller's business with it.
    for (name, value) in [
        ("X-Original-URL", "/smuggled"),
        ("X-Rewrite-URL", "/smuggled"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Method-Override", "TRACE"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Host", "evil.test"),
        ("Forwarded", "host=evil.test;for=1.2.3.4"),
        ("X-Real-IP", "127.0.0.1"),
        ("True-Client-IP", "127.0.0.1"),
        ("Via", "1.1 evil"),
        ("Max-Forwards", "0"),
        ("Destination", "http://evil.test/"),
        ("Referer", "http://evil.test/"),
        ("Range", "bytes=0-,0-,0-"),
        ("Accept-Encoding", "gzip"),
        ("Content-Encoding", "gzip"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        (":authority", "evil.test"),
        (":path", "/smuggled"),
    ] {
        let bytes = get(&format!("{name}: {value}\r\n"));
        let expected = if name.starts_with(':') {
            refused()
        } else {
            Expected::Either(seen().has(name, value))
        };
        cases.push(case("headers without a meaning here", name, bytes, expected));
    }
    cases
}

pub(super) fn upgrade_and_expect() -> Vec<Case> {
    let mut cases = Vec::new();
    let handshake = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    for (name, lines) in [
        ("h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n".to_owned()),
        ("h2c without settings", "Connection: Upgrade\r\nUpgrade: h2c\r\n".to_owned()),
        ("websocket", format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{handshake}")),
        ("websocket without a key", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".to_owned()),
        ("websocket of another version", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 99\r\n".to_owned()),
        ("TLS", "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n".to_owned()),
        ("without Connection", "Upgrade: websocket\r\n".to_owned()),
        ("a list", "Connection: upgrade\r\nUpgrade: a, b, websocket\r\n".to_owned()),
        ("nothing", "Connection: upgrade\r\nUpgrade:\r\n".to_owned()),
    ] {
        // What follows must be read as HTTP until the API has switched.
        let seen = Seen::get("/in").lacks("http2-settings");
        cases.push(case("Upgrade", name, get(&lines), Expected::Either(seen)));
        let lines = format!("{lines}Content-Length: 5\r\n");
        let seen = Expected::Either(Seen::new("POST", "/in", "hello"));
        cases.push(case("Upgrade", format!("{name}, with a body"), post(&lines, "hello"), seen));
    }
    let behind =
        get("Connection: Upgrade\r\nUpgrade: h2c\r\n") + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let expected = Expected::Either(Seen::get("/in"));
    cases.push(case("Upgrade", "h2c that did not wait", behind, expected));
    let behind = get("Connection: Upgrade\r\nUpgrade: websocket\r\n") + SMUGGLED;
    let both = Expected::Forwarded(vec![Seen::get("/in"), Seen::get("/smuggled")]);
    cases.push(case("Upgrade", "requests behind a websocket that never was", behind, both));
    for (value, times) in [
        ("100-continue", 1),
        ("100-Continue", 1),
        ("100-continue", 2),
        ("200-ok", 1),
        ("", 1),
        ("100-continue, x", 1),
        ("y 100-continue", 1),
        ("100", 1),
    ] {
        let lines = format!("Expect: {value}\r\n").repeat(times);
        let name = format!("{value:?}, {times} times");
        let seen = Seen::get("/in").lacks("expect");
        cases.push(case(
            "Expect",
            format!("{name}, without a body"),
            get(&lines),
            Expected::Either(seen),
        ));
        let lines = format!("{lines}Content-Length: 5\r\n");
        let seen = Seen::new("POST", "/in", "hello").lacks("expect");
        cases.push(case("Expect", name, post(&lines, "hello"), Expected::Either(seen)));
    }
    let old = format!(
        "POST /in HTTP/1.0\r\n{HOST_AND_KEY}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
    );
    let seen = Seen::new("POST", "/in", "hello").lacks("expect");
    cases.push(case("Expect", "of HTTP/1.0", old, Expected::Either(seen)));
    cases
}
