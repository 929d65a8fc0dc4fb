//! Chunked bodies (RFC 9112 §7.1), their trailers, and bodies that nobody wanted to read.

use super::{HOST_AND_KEY, SMUGGLED, case, ending, once, post, shown};
use crate::case::{Case, Expected, Seen};

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn hello() -> Seen {
    Seen::new("POST", "/in", "hello")
}

pub(super) fn chunks() -> Vec<Case> {
    const FAMILY: &str = "chunks";
    let mut cases = Vec::new();
    let whole = |size: &str| chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n"));
    for size in [
        "+5",
        "-5",
        "0x5",
        "0X5",
        "x5",
        "5_",
        "5h",
        " 5",
        "\t5",
        "5.0",
        "5,5",
        "5 5",
        "５",
        "5\0",
        "5\u{b}",
        "\"5\"",
        "",
        "g",
        "fffffffffffffffff",
        "10000000000000005",
        ";a",
        "=5",
        "5\u{a0}",
    ] {
        cases.push(case(FAMILY, format!("size {}", shown(size)), whole(size), Expected::Refused));
    }
    for size in ["5", "05", "0000000000000005", "0000000000000000000000005", "5 ", "5\t", "5  \t"] {
        let either = Expected::Either(hello());
        cases.push(case(FAMILY, format!("size {}", shown(size)), whole(size), either));
    }
    for extension in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a=\"x\\\"y\"",
        " ;a",
        ";a;b;c",
        ";",
        ";;",
        ";=",
        ";a=\"",
        ";\u{1}",
        ";\0",
        ";a\u{ff}",
        ";a=5\t",
    ] {
        let size = format!("5{extension}");
        let either = Expected::Either(hello());
        cases.push(case(FAMILY, format!("extension {}", shown(extension)), whole(&size), either));
    }
    for (name, size) in [
        ("a bare LF in an extension", "5;a\nb".to_owned()),
        ("an extension that ends in LF", "5;a\nhello\r\n0\r\n\r\n".to_owned()),
        ("a bare CR in an extension", "5;a\rb".to_owned()),
        ("an extension of 32 KiB", format!("5;{}", "a".repeat(32 * 1024))),
    ] {
        cases.push(case(FAMILY, name, whole(&size), Expected::Refused));
    }
    let many = format!("{}0\r\n\r\n", "1;abcdefgh\r\na\r\n".repeat(3000));
    cases.push(case(FAMILY, "3,000 chunks with extensions", chunked(&many), Expected::Refused));
    let plain = format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(3000));
    let seen = Seen::new("POST", "/in", &"a".repeat(3000));
    cases.push(case(FAMILY, "3,000 chunks of a byte", chunked(&plain), once(seen)));
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n-0\r\n\r\n",
        "5\r\nhello\r\n0x0\r\n\r\n",
        "5\r\n\0hello\r\n0\r\n\r\n",
    ] {
        cases.push(case(FAMILY, shown(body), chunked(body), Expected::Refused));
    }
    // Read as trailers up to the next empty line: what follows is lost, and never a request.
    let swallowed = chunked(&format!("5\r\nhello\r\n0\r\n\n{SMUGGLED}"));
    let either = Expected::Either(hello());
    cases.push(ending(FAMILY, "a last line end of LF, and a request", swallowed, either));
    for last in ["0", "00", "0000000000000000000000", "0;a", "0 ", "0;a=b"] {
        let body = format!("5\r\nhello\r\n{last}\r\n\r\n");
        let either = Expected::Either(hello());
        cases.push(case(FAMILY, format!("last {}", shown(last)), chunked(&body), either));
    }
    for (name, body) in [
        ("a size without an end", "5"),
        ("half a chunk", "5\r\nhel"),
        ("no last chunk", "5\r\nhello\r\n"),
        ("a last chunk without its end", "5\r\nhello\r\n0\r\n"),
        ("half of the last line end", "5\r\nhello\r\n0\r\n\r"),
        ("a chunk of nearly all there is", "fffffffffffffff0\r\nhello"),
        ("a chunk that is negative to some", "8000000000000000\r\nhello"),
        ("trailers without an end", "0\r\nX: y\r\n"),
    ] {
        cases.push(ending(FAMILY, name, chunked(body), Expected::Incomplete));
    }
    let inside = chunked(&format!(
        "{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
        SMUGGLED.len() - 5 + crate::bed::KEY_LENGTH
    ));
    cases.push(case(
        FAMILY,
        "a request inside a chunk",
        inside,
        once(Seen::new("POST", "/in", SMUGGLED)),
    ));
    let behind = chunked(&format!("0\r\n\r\n{SMUGGLED}"));
    let both = vec![Seen::new("POST", "/in", ""), Seen::get("/smuggled")];
    cases.push(case(FAMILY, "a request of its own behind it", behind, Expected::Forwarded(both)));
    cases
}

pub(super) fn trailers() -> Vec<Case> {
    const FAMILY: &str = "trailers";
    let mut cases = Vec::new();
    for name in [
        "Authorization",
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Cookie",
        "Connection",
        "Proxy-Authorization",
        "Bellwether-Credential",
        "Trailer",
        "TE",
        "Content-Type",
        "X-Own",
    ] {
        let body = format!("5\r\nhello\r\n0\r\n{name}: 1\r\n\r\n");
        let seen = hello();
        cases.push(case(FAMILY, name, chunked(&body), once(seen.clone())));
        let told = format!(
            "Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: {name}\r\nConnection: TE\r\n"
        );
        cases.push(case(FAMILY, format!("{name}, told before"), post(&told, &body), once(seen)));
    }
    for (line, expected) in [
        ("no colon", Expected::Refused),
        (": no name", Expected::Refused),
        ("X Y: 1", Expected::Refused),
        ("X : 1", Expected::Refused),
        ("X: a\0b", Expected::Refused),
        ("X: a\u{1}b", Expected::Refused),
        ("X: a\rb", Expected::Refused),
        ("X: a\r\n b", Expected::Refused),
        ("X: a\nAuthorization: b", Expected::Either(hello())),
        ("é: 1", Expected::Refused),
    ] {
        let body = format!("5\r\nhello\r\n0\r\n{line}\r\n\r\n");
        cases.push(case(FAMILY, shown(line), chunked(&body), expected));
    }
    for (name, lines) in [
        ("2,000 of them", "X: y\r\n".repeat(2000)),
        ("one of 128 KiB", format!("X: {}\r\n", "y".repeat(128 * 1024))),
    ] {
        let body = format!("5\r\nhello\r\n0\r\n{lines}\r\n");
        cases.push(case(FAMILY, name, chunked(&body), Expected::Refused));
    }
    let body = format!("0\r\n{SMUGGLED}");
    cases.push(case(FAMILY, "a request in place of trailers", chunked(&body), Expected::Refused));
    cases
}

/// Refused by its head: what follows is still a body (a lesson of Pingora's).
pub(super) fn undrained() -> Vec<Case> {
    const FAMILY: &str = "a body that nobody reads";
    let mut cases = Vec::new();
    let length = SMUGGLED.len() - 5 + crate::bed::KEY_LENGTH;
    let stranger = "Host: localhost\r\nAuthorization: Bearer nobody\r\n";
    for (name, line, headers) in [
        ("an unknown key", "POST /in HTTP/1.1", stranger),
        ("no key", "POST /in HTTP/1.1", "Host: localhost\r\n"),
        (
            "a foreign host",
            "POST /in HTTP/1.1",
            "Host: evil.test\r\nAuthorization: Bearer {KEY}\r\n",
        ),
        ("an ambiguous path", "POST /a/../b HTTP/1.1", HOST_AND_KEY),
        ("TRACE", "TRACE /in HTTP/1.1", HOST_AND_KEY),
        ("a method that the endpoint has not", "PUT /oauth/token HTTP/1.1", HOST_AND_KEY),
        ("a path of ours that is not there", "POST /bellwether/v9 HTTP/1.1", HOST_AND_KEY),
        ("no form", "POST /oauth/token HTTP/1.1", HOST_AND_KEY),
        (
            "a credential that is not there",
            "POST /bellwether/v1/credentials/x/rejected HTTP/1.1",
            HOST_AND_KEY,
        ),
        (
            "two credentials named",
            "POST /in HTTP/1.1",
            "Host: localhost\r\nAuthorization: Bearer {KEY}\r\nBellwether-Credential: a\r\nBellwether-Credential: b\r\n",
        ),
    ] {
        let sized = format!("{line}\r\n{headers}Content-Length: {length}\r\n\r\n{SMUGGLED}");
        cases.push(case(FAMILY, name, sized, Expected::Refused));
        let chunks = format!(
            "{line}\r\n{headers}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
        );
        cases.push(case(FAMILY, format!("{name}, chunked"), chunks, Expected::Refused));
        let waits = format!(
            "{line}\r\n{headers}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
        );
        cases.push(case(FAMILY, format!("{name}, and not asked for"), waits, Expected::Refused));
    }
    let large = 300 * 1024;
    let filler = SMUGGLED.replace("{KEY}", "nobody");
    let filler = filler.repeat(large / filler.len());
    let sized =
        format!("POST /in HTTP/1.1\r\n{stranger}Content-Length: {}\r\n\r\n{filler}", filler.len());
    cases.push(case(FAMILY, "300 KiB of requests", sized, Expected::Refused));
    cases
}
