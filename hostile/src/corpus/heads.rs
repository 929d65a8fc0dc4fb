//! Heads byte by byte (RFC 9110 §5, RFC 9112 §5), odd shapes, and sizes.

use super::{HOST_AND_KEY, SMUGGLED, case, ending, get, once};
use crate::case::{Case, Expected, Seen};

/// Each byte that stands where it must not.
pub(super) fn bytes() -> Vec<Case> {
    const FAMILY: &str = "bytes";
    let mut cases = Vec::new();
    let put = |before: &str, byte: u8, after: &str| -> Vec<u8> {
        [before.as_bytes(), &[byte], after.as_bytes()].concat()
    };
    let controls = (0..32).chain([127]);
    for byte in controls.clone() {
        let head = format!("GET /in HTTP/1.1\r\n{HOST_AND_KEY}");
        let bytes = put(&format!("{head}X-V: a"), byte, "b\r\n\r\n");
        let expected = if byte == b'\t' {
            once(Seen::get("/in").has("x-v", "a\tb"))
        } else {
            Expected::Refused
        };
        cases.push(case(FAMILY, format!("{byte:#04x} in a value"), bytes, expected));
        let bytes = put(&format!("{head}X"), byte, "V: a\r\n\r\n");
        cases.push(case(FAMILY, format!("{byte:#04x} in a name"), bytes, Expected::Refused));
        let bytes = put("GET /i", byte, &format!("n HTTP/1.1\r\n{HOST_AND_KEY}\r\n"));
        cases.push(case(FAMILY, format!("{byte:#04x} in the target"), bytes, Expected::Refused));
        let bytes = put("GE", byte, &format!("T /in HTTP/1.1\r\n{HOST_AND_KEY}\r\n"));
        cases.push(case(FAMILY, format!("{byte:#04x} in the method"), bytes, Expected::Refused));
        let bytes = put(
            "GET /in HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}",
            byte,
            "x\r\n\r\n",
        );
        cases.push(case(FAMILY, format!("{byte:#04x} behind the key"), bytes, Expected::Refused));
    }
    for byte in b" \"(),/;<=>?@[\\]{}".iter().copied().chain([0x80, 0xa0, 0xc3, 0xff]) {
        let head = format!("GET /in HTTP/1.1\r\n{HOST_AND_KEY}X");
        let bytes = put(&head, byte, "V: a\r\n\r\n");
        cases.push(case(FAMILY, format!("{byte:#04x} in a name"), bytes, Expected::Refused));
    }
    for byte in [0x80, 0xa0, 0xc3, 0xff] {
        let head = format!("GET /in HTTP/1.1\r\n{HOST_AND_KEY}X-V: a");
        let bytes = put(&head, byte, "b\r\n\r\n");
        let either = Expected::Either(Seen::get("/in"));
        cases.push(case(FAMILY, format!("{byte:#04x} in a value"), bytes, either));
    }
    cases
}

/// Line ends, folds, colons and empty lines.
pub(super) fn shapes() -> Vec<Case> {
    const FAMILY: &str = "shapes";
    let either = || Expected::Either(Seen::get("/in"));
    let refused = || Expected::Refused;
    let plain = get("");
    let cases = vec![
        ("LF alone ends every line", plain.replace("\r\n", "\n"), either()),
        ("LF alone ends the request line", plain.replacen("\r\n", "\n", 1), either()),
        ("LF alone ends the head", get("X: y\r\n").replace("\r\n\r\n", "\r\n\n"), either()),
        ("CR alone ends every line", plain.replace("\r\n", "\r"), refused()),
        ("CR CR LF", plain.replace("\r\n", "\r\r\n"), refused()),
        ("LF CR", plain.replace("\r\n", "\n\r"), refused()),
        ("an empty line before", format!("\r\n{plain}"), either()),
        ("empty lines before", format!("\r\n\r\n\r\n{plain}"), either()),
        ("LF before", format!("\n{plain}"), either()),
        ("a space before", format!(" {plain}"), refused()),
        ("a tab before", format!("\t{plain}"), refused()),
        ("a NUL before", format!("\0{plain}"), refused()),
        ("a byte order mark before", format!("\u{feff}{plain}"), refused()),
        ("no colon", get("X\r\n"), refused()),
        ("no name", get(": y\r\n"), refused()),
        ("a space for a name", get(" : y\r\n"), refused()),
        ("a space before the colon", get("X : y\r\n"), refused()),
        ("a tab before the colon", get("X\t: y\r\n"), refused()),
        ("a space before a name", get(" X: y\r\n"), refused()),
        ("a fold by a space", get("X: y\r\n z\r\n"), refused()),
        ("a fold by a tab", get("X: y\r\n\tz\r\n"), refused()),
        ("a fold by LF", get("X: y\n z\r\n"), refused()),
        ("a fold of nothing", get("X: y\r\n \r\n"), refused()),
        ("a fold that is a header", get("X: y\r\n Authorization: z\r\n"), refused()),
        (
            "a fold before any header",
            format!("GET /in HTTP/1.1\r\n X: y\r\n{HOST_AND_KEY}\r\n"),
            refused(),
        ),
        (
            "a fold of the request line",
            format!("GET /in\r\n HTTP/1.1\r\n{HOST_AND_KEY}\r\n"),
            refused(),
        ),
        ("a request in a value", get("X: GET /smuggled HTTP/1.1\r\n"), once(Seen::get("/in"))),
        (
            "a value with an encoded line end",
            get("X: a%0d%0aAuthorization: b\r\n"),
            once(Seen::get("/in").has("x", "a%0d%0aAuthorization: b")),
        ),
        ("an empty value", get("X:\r\n"), once(Seen::get("/in").has("x", ""))),
        ("a colon in a value", get("X: :y\r\n"), once(Seen::get("/in").has("x", ":y"))),
        (
            "two requests",
            plain.clone() + SMUGGLED,
            Expected::Forwarded(vec![Seen::get("/in"), Seen::get("/smuggled")]),
        ),
        (
            "a second one that is broken",
            plain.clone() + "GET /smuggled\r\n\r\n",
            Expected::Forwarded(vec![Seen::get("/in")]),
        ),
        (
            "bytes that are no request",
            plain.clone() + "\0\0\0\0",
            Expected::Forwarded(vec![Seen::get("/in")]),
        ),
        ("TLS", "\u{16}\u{3}\u{1}\0\u{5}hello".to_owned(), refused()),
        ("an answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(), refused()),
        ("the PROXY protocol", format!("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n{plain}"), refused()),
    ];
    let mut cases: Vec<Case> = cases
        .into_iter()
        .map(|(name, bytes, expected)| case(FAMILY, name, bytes, expected))
        .collect();
    for (name, bytes) in [
        ("half a request line", "GET /in HT"),
        ("a head without an end", "GET /in HTTP/1.1\r\nHost: localhost\r\n"),
        (
            "half of the last line end",
            "GET /in HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r",
        ),
        ("nothing", ""),
        ("a line end", "\r\n"),
    ] {
        cases.push(ending(FAMILY, name, bytes, Expected::Incomplete));
    }
    cases
}

pub(super) fn sizes() -> Vec<Case> {
    const FAMILY: &str = "sizes";
    let refused = || Expected::Refused;
    let seen = || Seen::get("/in");
    let many = |count: usize| (0..count).map(|n| format!("X{n}: y\r\n")).collect::<String>();
    let long = |length: usize| format!("X: {}\r\n", "y".repeat(length));
    let target =
        |length: usize| format!("GET /{} HTTP/1.1\r\n{HOST_AND_KEY}\r\n", "a".repeat(length));
    vec![
        case(FAMILY, "90 headers", get(&many(90)), once(seen())),
        case(FAMILY, "101 headers", get(&many(101)), refused()),
        case(FAMILY, "10,000 headers", get(&many(10_000)), refused()),
        case(FAMILY, "1,000 times the same header", get(&"X: y\r\n".repeat(1000)), refused()),
        case(FAMILY, "a value of 8 KiB", get(&long(8 * 1024)), once(seen())),
        case(FAMILY, "a value of 32 KiB", get(&long(32 * 1024)), refused()),
        case(FAMILY, "a value of 4 MiB", get(&long(4 << 20)), refused()),
        case(
            FAMILY,
            "a name of 70,000 bytes",
            get(&format!("{}: y\r\n", "X".repeat(70_000))),
            refused(),
        ),
        case(
            FAMILY,
            "a target of 4 KiB",
            target(4096),
            Expected::Either(Seen::get(&format!("/{}", "a".repeat(4096)))),
        ),
        case(FAMILY, "a target of 70,000 bytes", target(70_000), refused()),
        case(FAMILY, "a target of 1 MiB", target(1 << 20), refused()),
        case(
            FAMILY,
            "a method of 128 KiB",
            get("").replace("GET", &"G".repeat(128 * 1024)),
            refused(),
        ),
        ending(FAMILY, "1 MiB of line ends", "\r\n".repeat(1 << 19), Expected::Incomplete),
        ending(FAMILY, "a request line that does not end", "G".repeat(1 << 20), refused()),
    ]
}
