//! Answers (RFC 9112 §4, §6.3, §7.1): two framings, none, bytes behind the end, heads without one.

use crate::answers::{AUTHORIZATION, AnswerCase, Outcome};
use crate::origin::Then;

/// What the next caller must never get.
const NEXT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// Every case.
pub(crate) fn all() -> Vec<AnswerCase> {
    [framing(), behind(), interim(), heads(), status_lines(), chunks(), passed()].concat()
}

fn case(
    family: &'static str,
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
    expected: Outcome,
) -> AnswerCase {
    let (name, bytes) = (name.into(), bytes.into());
    AnswerCase { family, name, method: "GET", bytes, then: Then::GoOn, expected }
}

/// The same, and the connection ends there.
fn closing(
    family: &'static str,
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
    expected: Outcome,
) -> AnswerCase {
    AnswerCase { then: Then::Close, ..case(family, name, bytes, expected) }
}

fn ok(lines: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}")
}

fn hello() -> Outcome {
    Outcome::Passed(200, b"hello".to_vec())
}

fn maybe_hello() -> Outcome {
    Outcome::Either(200, b"hello".to_vec())
}

fn framing() -> Vec<AnswerCase> {
    const FAMILY: &str = "framing";
    let te = "Transfer-Encoding: chunked\r\n";
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let mut cases = vec![
        case(
            FAMILY,
            "length, then coding",
            ok(&format!("Content-Length: 3\r\n{te}"), chunks),
            maybe_hello(),
        ),
        case(
            FAMILY,
            "coding, then length",
            ok(&format!("{te}Content-Length: 3\r\n"), chunks),
            maybe_hello(),
        ),
        case(
            FAMILY,
            "coding, and a length beyond it",
            ok(&format!("{te}Content-Length: 500\r\n"), chunks),
            maybe_hello(),
        ),
        case(
            FAMILY,
            "5 twice",
            ok("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            maybe_hello(),
        ),
        case(
            FAMILY,
            "5 and 6",
            ok("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
            Outcome::Refused,
        ),
        case(
            FAMILY,
            "6 and 5",
            ok("Content-Length: 6\r\nContent-Length: 5\r\n", "hello"),
            Outcome::Refused,
        ),
        case(FAMILY, "5, 5", ok("Content-Length: 5, 5\r\n", "hello"), maybe_hello()),
        case(FAMILY, "5, 6", ok("Content-Length: 5, 6\r\n", "hello"), Outcome::Refused),
        closing(
            FAMILY,
            "short of its length",
            ok("Content-Length: 50\r\n", "hello"),
            Outcome::Torn,
        ),
        closing(FAMILY, "no length, to the end", ok("", "hello"), hello()),
        closing(FAMILY, "HTTP/1.0, to the end", "HTTP/1.0 200 OK\r\n\r\nhello", hello()),
        closing(
            FAMILY,
            "HTTP/1.0 with a length",
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            hello(),
        ),
        case(
            FAMILY,
            "HTTP/1.0, kept",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
            hello(),
        ),
        closing(
            FAMILY,
            "HTTP/1.0 with a coding",
            format!("HTTP/1.0 200 OK\r\n{te}\r\n{chunks}"),
            Outcome::Either(200, chunks.into()),
        ),
        closing(
            FAMILY,
            "it says close, and closes",
            ok("Connection: close\r\nContent-Length: 5\r\n", "hello"),
            hello(),
        ),
        case(
            FAMILY,
            "it says close, and stays",
            ok("Connection: close\r\nContent-Length: 5\r\n", "hello"),
            hello(),
        ),
        closing(
            FAMILY,
            "it says keep-alive, and closes",
            ok("Connection: keep-alive\r\nContent-Length: 5\r\n", "hello"),
            hello(),
        ),
        case(
            FAMILY,
            "Connection names the length",
            ok("Connection: content-length\r\nContent-Length: 5\r\n", "hello"),
            hello(),
        ),
        case(
            FAMILY,
            "Connection names the coding",
            ok(&format!("Connection: transfer-encoding\r\n{te}"), chunks),
            hello(),
        ),
    ];
    for length in ["+5", "-5", "0x5", "5 5", "five", "", "99999999999999999999999", "5.0", "5\u{b}"]
    {
        let bytes = ok(&format!("Content-Length: {length}\r\n"), "hello");
        cases.push(closing(FAMILY, format!("length {length:?}"), bytes, Outcome::Refused));
    }
    for coding in [
        "identity",
        "xchunked",
        "chunked, identity",
        "\"chunked\"",
        "chunked;q=1",
        "\u{b}chunked",
        "",
    ] {
        let bytes = ok(&format!("Transfer-Encoding: {coding}\r\n"), chunks);
        // What nobody can read goes on to the end of the connection (RFC 9112 §6.3).
        let expected = Outcome::Either(200, chunks.into());
        cases.push(closing(FAMILY, format!("coding {coding:?}"), bytes, expected));
    }
    for coding in ["gzip, chunked", "chunked, chunked", ",chunked", "Chunked"] {
        let bytes = ok(&format!("Transfer-Encoding: {coding}\r\n"), chunks);
        cases.push(closing(FAMILY, format!("coding {coding:?}"), bytes, maybe_hello()));
    }
    cases
}

/// Bytes behind the end of an answer are nobody's.
fn behind() -> Vec<AnswerCase> {
    const FAMILY: &str = "behind the end";
    let chunks = "Transfer-Encoding: chunked\r\n";
    let mut cases = Vec::new();
    for (name, bytes, expected) in [
        ("a length", ok("Content-Length: 5\r\n", "hello"), hello()),
        ("chunks", ok(chunks, "5\r\nhello\r\n0\r\n\r\n"), hello()),
        ("a length of 0", ok("Content-Length: 0\r\n", ""), Outcome::Passed(200, Vec::new())),
        ("204", "HTTP/1.1 204 No Content\r\n\r\n".to_owned(), Outcome::Passed(204, Vec::new())),
        (
            "304",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n".to_owned(),
            Outcome::Passed(304, Vec::new()),
        ),
        (
            "404",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            Outcome::Passed(404, b"hello".to_vec()),
        ),
    ] {
        for (what, more) in [
            ("an answer", NEXT.to_owned()),
            ("three answers", NEXT.repeat(3)),
            ("half an answer", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoi".to_owned()),
            ("bytes", "poison".to_owned()),
            ("a line end", "\r\n".to_owned()),
            ("a line end and an answer", format!("\r\n{NEXT}")),
            ("an interim answer", "HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        ] {
            let bytes = format!("{bytes}{more}");
            cases.push(case(FAMILY, format!("{name}, then {what}"), bytes, expected.clone()));
        }
    }
    for (name, bytes) in [
        ("HEAD with a body", ok("Content-Length: 6\r\n", "poison")),
        ("HEAD with chunks", ok(chunks, "6\r\npoison\r\n0\r\n\r\n")),
        ("HEAD, then an answer", ok("Content-Length: 6\r\n", NEXT)),
    ] {
        let passed = case(FAMILY, name, bytes, Outcome::Passed(200, Vec::new()));
        cases.push(AnswerCase { method: "HEAD", ..passed });
    }
    cases
}

fn interim() -> Vec<AnswerCase> {
    const FAMILY: &str = "interim";
    let last = ok("Content-Length: 5\r\n", "hello");
    let before = |interim: &str| format!("{interim}{last}");
    let hundred = "HTTP/1.1 100 Continue\r\n\r\n";
    vec![
        case(FAMILY, "100 that nobody asked for", before(hundred), hello()),
        case(FAMILY, "102 and 103", before("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), hello()),
        case(FAMILY, "199", before("HTTP/1.1 199 Odd\r\n\r\n"), hello()),
        case(FAMILY, "1,000 times 100", before(&hundred.repeat(1000)), maybe_hello()),
        case(FAMILY, "100 with a length", before("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n"), maybe_hello()),
        case(FAMILY, "101 that nobody asked for", format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n{NEXT}"), Outcome::Refused),
        case(FAMILY, "101 without a protocol", format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{NEXT}"), Outcome::Refused),
        closing(FAMILY, "100 and no more", hundred, Outcome::Refused),
        AnswerCase {
            then: Then::Endless(hundred.repeat(100).into_bytes()),
            ..case(FAMILY, "100 without end", "", Outcome::Refused)
        },
        AnswerCase {
            then: Then::Endless(b"HTTP/1.1 103 Early Hints\r\nLink: </xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx>\r\n\r\n".repeat(100)),
            ..case(FAMILY, "103 without end", "", Outcome::Refused)
        },
    ]
}

fn heads() -> Vec<AnswerCase> {
    const FAMILY: &str = "heads";
    let with = |line: &str| ok(&format!("{line}Content-Length: 5\r\n"), "hello");
    let mut cases = vec![
        case(FAMILY, "LF alone", with("").replace("\r\n", "\n"), maybe_hello()),
        case(FAMILY, "CR alone", with("").replace("\r\n", "\r"), Outcome::Refused),
        case(FAMILY, "a fold", with("X: a\r\n b\r\n"), maybe_hello()),
        case(FAMILY, "a fold that is a header", with("X: a\r\n Set-Cookie: b\r\n"), maybe_hello()),
        case(FAMILY, "a NUL in a value", with("X: a\0b\r\n"), Outcome::Refused),
        case(FAMILY, "a CR in a value", with("X: a\rSet-Cookie: b\r\n"), Outcome::Refused),
        case(FAMILY, "a control byte in a value", with("X: a\u{1}b\r\n"), Outcome::Refused),
        case(FAMILY, "no colon", with("X\r\n"), Outcome::Refused),
        case(FAMILY, "no name", with(": x\r\n"), Outcome::Refused),
        case(FAMILY, "a space before the colon", with("X : a\r\n"), maybe_hello()),
        case(FAMILY, "a space in a name", with("X Y: a\r\n"), Outcome::Refused),
        case(
            FAMILY,
            "a space before the length's colon",
            ok("Content-Length : 5\r\n", "hello"),
            Outcome::Refused,
        ),
        case(
            FAMILY,
            "bytes that are no text",
            [&b"HTTP/1.1 200 OK\r\nX: a\xff\xfe\r\nContent-Length: 5\r\n\r\nhello"[..]].concat(),
            maybe_hello(),
        ),
        case(FAMILY, "90 headers", with(&"X: y\r\n".repeat(90)), hello()),
        case(FAMILY, "10,000 headers", with(&"X: y\r\n".repeat(10_000)), Outcome::Refused),
        case(
            FAMILY,
            "a value of 1 MiB",
            with(&format!("X: {}\r\n", "y".repeat(1 << 20))),
            Outcome::Refused,
        ),
        closing(FAMILY, "half a head", "HTTP/1.1 200 OK\r\nContent-Le", Outcome::Refused),
        closing(FAMILY, "nothing", "", Outcome::Refused),
        closing(FAMILY, "bytes", "\0\0\0\0\0\0\0\0", Outcome::Refused),
        closing(FAMILY, "a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Outcome::Refused),
        closing(FAMILY, "TLS", "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{16}", Outcome::Refused),
        closing(FAMILY, "a frame of HTTP/2", "\0\0\0\u{4}\0\0\0\0\0", Outcome::Refused),
    ];
    for (name, more) in [
        ("a head without end", "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"),
        ("a value without end", "yyyyyyyy"),
    ] {
        let then = Then::Endless(more.repeat(500).into_bytes());
        let begins = case(FAMILY, name, "HTTP/1.1 200 OK\r\nX: ", Outcome::Refused);
        cases.push(AnswerCase { then, ..begins });
    }
    cases
}

fn status_lines() -> Vec<AnswerCase> {
    const FAMILY: &str = "status line";
    let with = |line: &str| format!("{line}\r\nContent-Length: 5\r\n\r\nhello");
    let mut cases = Vec::new();
    for line in [
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 -20 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1",
        "HTTP/2 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/1.2 200 OK",
        "ICY 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\0OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 000 OK",
        " HTTP/1.1 200 OK",
    ] {
        cases.push(closing(FAMILY, format!("{line:?}"), with(line), Outcome::Refused));
    }
    for line in ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 200  OK", "HTTP/1.1  200 OK"] {
        cases.push(case(FAMILY, format!("{line:?}"), with(line), maybe_hello()));
    }
    for status in [203, 299, 400, 418, 500, 503, 599, 600, 999] {
        let line = format!("HTTP/1.1 {status} X");
        let expected = Outcome::Either(status, b"hello".to_vec());
        cases.push(case(FAMILY, line.clone(), with(&line), expected));
    }
    cases
}

fn chunks() -> Vec<AnswerCase> {
    const FAMILY: &str = "chunks";
    let with = |body: &str| ok("Transfer-Encoding: chunked\r\n", body);
    let mut cases = Vec::new();
    for size in ["+5", "-5", "0x5", "5_", "g", "", "fffffffffffffffff", "5 5", "5,"] {
        let bytes = with(&format!("{size}\r\nhello\r\n0\r\n\r\n"));
        cases.push(closing(FAMILY, format!("size {size:?}"), bytes, Outcome::Torn));
    }
    for size in ["05", "5 ", "5;a", "5;a=\"b\"", "00000000000000005"] {
        let bytes = with(&format!("{size}\r\nhello\r\n0\r\n\r\n"));
        cases.push(closing(FAMILY, format!("size {size:?}"), bytes, maybe_hello()));
    }
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n",
        "5\r\nhel",
        "ffffffff\r\nhello",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
    ] {
        cases.push(closing(FAMILY, format!("{body:?}"), with(body), Outcome::Torn));
    }
    for trailer in [
        "X: y",
        "Set-Cookie: a=b",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Bellwether-Error: x",
    ] {
        let bytes = with(&format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"));
        cases.push(case(FAMILY, format!("trailer {trailer:?}"), bytes, hello()));
    }
    let many = with(&format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(5000)));
    cases.push(case(FAMILY, "5,000 trailers", many, Outcome::Torn));
    let extended = with(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(1 << 20)));
    cases.push(case(FAMILY, "an extension of 1 MiB", extended, Outcome::Torn));
    cases
}

/// What is the API's to say is passed on as it is.
fn passed() -> Vec<AnswerCase> {
    const FAMILY: &str = "passed on";
    let sized = |lines: &str| ok(&format!("{lines}Content-Length: 5\r\n"), "hello");
    let mut cases = vec![
        case(FAMILY, "a coding that is none", sized("Content-Encoding: gzip\r\n"), hello()),
        case(
            FAMILY,
            "a bomb's first bytes",
            sized("Content-Encoding: gzip, gzip, br\r\n"),
            hello(),
        ),
        case(
            FAMILY,
            "two types",
            sized("Content-Type: text/html\r\nContent-Type: application/json\r\n"),
            hello(),
        ),
        case(
            FAMILY,
            "an upgrade in a 200",
            sized("Connection: upgrade\r\nUpgrade: websocket\r\n"),
            hello(),
        ),
        case(FAMILY, "a proxy's challenge", sized("Proxy-Authenticate: Basic\r\n"), hello()),
        case(
            FAMILY,
            "the token in a header",
            sized(&format!("X-Echo: {AUTHORIZATION}\r\n")),
            hello(),
        ),
        closing(
            FAMILY,
            "the token in the body",
            format!("HTTP/1.1 200 OK\r\n\r\n{AUTHORIZATION}"),
            Outcome::Passed(200, AUTHORIZATION.into()),
        ),
    ];
    for status in [300, 301, 302, 303, 305, 307, 308] {
        let bytes = format!(
            "HTTP/1.1 {status} X\r\nLocation: http://evil.test/\r\nContent-Length: 5\r\n\r\nhello"
        );
        let expected = Outcome::Passed(status, b"hello".to_vec());
        cases.push(case(FAMILY, format!("{status}, not followed"), bytes, expected));
    }
    cases
}
