//! Methods, versions, and requests that come in pieces.

use super::{HOST_AND_KEY, SMUGGLED, case, ending, get, once, post};
use crate::case::{Case, Expected, Seen};

pub(super) fn methods() -> Vec<Case> {
    const FAMILY: &str = "method";
    let request = |method: &str| format!("{method} /in HTTP/1.1\r\n{HOST_AND_KEY}\r\n");
    let mut cases = Vec::new();
    for method in [
        "TRACE", "CONNECT", "", " GET", "GET ", "G ET", "GET\t", "G(T", "GET/", "GET:", "GÉT",
        "\"GET\"", "GET,POST", "{GET}",
    ] {
        cases.push(case(FAMILY, format!("{method:?}"), request(method), Expected::Refused));
    }
    let long = "M".repeat(32);
    for method in [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "PROPFIND",
        "PURGE",
        "M-SEARCH",
        "TRACK",
        "DEBUG",
        "QUERY",
        "get",
        "Get",
        "tRACE",
        "X",
        "!#$%&'*+-.^_`|~",
        "PRI",
        &long,
    ] {
        let either = Expected::Either(Seen::new(method, "/in", ""));
        cases.push(case(FAMILY, method, request(method), either));
    }
    let longer = request(&"M".repeat(33));
    cases.push(case(FAMILY, "a letter too long", longer, Expected::Refused));
    cases
}

pub(super) fn versions() -> Vec<Case> {
    const FAMILY: &str = "version";
    let request = |version: &str| format!("GET /in {version}\r\n{HOST_AND_KEY}\r\n");
    let mut cases = Vec::new();
    for version in [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3",
        "HTTP/1.10",
        "HTTP/1.01",
        "HTTP/01.1",
        "HTTP/1,1",
        "HTTP/11",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/1.1x",
        "HTTP/1.1 ",
        " HTTP/1.1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "http/1.1",
        "Http/1.1",
        "HTTPS/1.1",
        "HTTP",
        "",
        "HTTP/1.1\t",
        "HTTP/-1.1",
        "HTTP/1.1\0",
        "ICY/1.1",
        "HTTP/１.1",
    ] {
        cases.push(case(FAMILY, format!("{version:?}"), request(version), Expected::Refused));
    }
    let seen = || once(Seen::get("/in"));
    cases.push(case(FAMILY, "HTTP/1.0", request("HTTP/1.0"), seen()));
    let kept = get("Connection: keep-alive\r\n").replace("HTTP/1.1", "HTTP/1.0");
    cases.push(case(FAMILY, "HTTP/1.0, kept", kept, seen()));
    let hostless = "GET /in HTTP/1.0\r\nAuthorization: Bearer {KEY}\r\n\r\n";
    cases.push(case(FAMILY, "HTTP/1.0 without Host", hostless, Expected::Refused));
    let body = post("Content-Length: 5\r\n", "hello").replace("HTTP/1.1", "HTTP/1.0");
    cases.push(case(FAMILY, "HTTP/1.0 with a body", body, once(Seen::new("POST", "/in", "hello"))));
    let behind = request("HTTP/1.0") + SMUGGLED;
    cases.push(case(FAMILY, "HTTP/1.0, and a request behind it", behind, seen()));
    for (name, bytes) in [
        ("HTTP/0.9", "GET /in\r\n".to_owned()),
        ("the preface of HTTP/2, half of it", "PRI * HTTP/2.0\r\n\r\n".to_owned()),
        ("the preface of HTTP/2, spoilt", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned()),
        (
            "the preface behind a request",
            format!(
                "{}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                "GET /bellwether/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
            ),
        ),
    ] {
        cases.push(ending(FAMILY, format!("{name}, alone"), bytes, Expected::Refused));
    }
    cases
}

/// What arrives byte by byte is read as what arrives at once.
pub(super) fn pieces() -> Vec<Case> {
    const FAMILY: &str = "in pieces";
    let mut cases = Vec::new();
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (name, bytes, expected) in [
        ("a GET", get(""), once(Seen::get("/in"))),
        (
            "a length",
            post("Content-Length: 5\r\n", "hello"),
            once(Seen::new("POST", "/in", "hello")),
        ),
        (
            "chunks",
            post(chunked, "5\r\nhello\r\n0\r\n\r\n"),
            once(Seen::new("POST", "/in", "hello")),
        ),
        (
            "trailers",
            post(chunked, "5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
            once(Seen::new("POST", "/in", "hello")),
        ),
        (
            "length and coding",
            post(&format!("Content-Length: 5\r\n{chunked}"), &format!("0\r\n\r\n{SMUGGLED}")),
            Expected::Either(Seen::new("POST", "/in", "")),
        ),
        ("a bare CR", get("X: y\rZ: w\r\n"), Expected::Refused),
        ("a fold", get("X: y\r\n z\r\n"), Expected::Refused),
        ("a size with a sign", post(chunked, "+5\r\nhello\r\n0\r\n\r\n"), Expected::Refused),
        (
            "two requests",
            get("") + SMUGGLED,
            Expected::Forwarded(vec![Seen::get("/in"), Seen::get("/smuggled")]),
        ),
        (
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
            Expected::Refused,
        ),
    ] {
        for piece in [1, 7] {
            let name = format!("{name}, {piece} bytes each");
            cases.push(Case { piece, ..case(FAMILY, name, bytes.clone(), expected.clone()) });
        }
    }
    cases
}
