//! Content-Length beside Transfer-Encoding, and transfer codings that are not `chunked` (RFC 9112 §6).

use super::{SMUGGLED, case, ending, post, shown};
use crate::case::{Case, Expected, Seen};

/// Values that say `chunked` and nothing else.
const PLAIN: [&str; 6] = ["chunked", "Chunked", "CHUNKED", "  chunked", "chunked  ", "\tchunked"];

/// Values that somebody reads as chunked, and somebody else does not.
const ODD: [&str; 26] = [
    "xchunked",
    "chunkedx",
    "chunked, identity",
    "identity, chunked",
    "gzip, chunked",
    "chunked, gzip",
    "chunked, chunked",
    "chunked,",
    ",chunked",
    ", ,chunked",
    "identity",
    "deflate",
    "trailers",
    "",
    "\"chunked\"",
    "'chunked'",
    "chunked;q=1",
    "chunked ; a=b",
    "chun ked",
    "\u{b}chunked",
    "chunked\u{c}",
    "chunked\0",
    "chunked\u{7f}",
    "\u{a0}chunked",
    "ｃhunked",
    "x, \tchunked",
];

/// Fields that are no Transfer-Encoding, and look like one.
#[rustfmt::skip]
const NAMES: [(&str, bool); 14] = [
    // line,                                refused
    ("Transfer-Encoding : chunked",         true),
    ("Transfer-Encoding\t: chunked",        true),
    ("Transfer-Encoding\u{b}: chunked",     true),
    ("Transfer-Encoding\0: chunked",        true),
    ("Transfer-Encoding\u{a0}: chunked",    true),
    ("Transfer Encoding: chunked",          true),
    ("\0Transfer-Encoding: chunked",        true),
    (" Transfer-Encoding: chunked",         true),
    ("X: y\rTransfer-Encoding: chunked",    true),
    ("X: y\r\n\tTransfer-Encoding: chunked", true),
    ("Transfer-Encoding:\r\n chunked",      true),
    ("Transfer-Encoding:\n chunked",        true),
    ("Transfer_Encoding: chunked",          true),
    ("Transfer-Encoding;: chunked",         true),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    let length = chunked.len() - crate::case::KEY.len() + crate::bed::KEY_LENGTH;
    for coding in PLAIN {
        let te = format!("Transfer-Encoding:{coding}\r\n");
        for (order, lines) in [
            ("after a length", format!("Content-Length: {length}\r\n{te}")),
            ("before a length", format!("{te}Content-Length: {length}\r\n")),
            ("between lengths", format!("Content-Length: 5\r\n{te}Content-Length: {length}\r\n")),
            ("before a length of 0", format!("{te}Content-Length: 0\r\n")),
        ] {
            // RFC 9112 §6.1: the coding alone counts, and the connection ends, or it is refused.
            let either = Expected::Either(Seen::new("POST", "/in", "").lacks("transfer-encoding"));
            let name = format!("{} {order}", shown(coding));
            cases.push(case("length and coding", name, post(&lines, &chunked), either));
        }
        let fine = post(&te, "3\r\nabc\r\n0\r\n\r\n");
        let arrives = Expected::Forwarded(vec![Seen::new("POST", "/in", "abc")]);
        cases.push(case("coding", format!("{} alone", shown(coding)), fine, arrives));
    }
    for coding in ODD {
        let te = format!("Transfer-Encoding:{coding}\r\n");
        for (order, lines) in [
            ("alone", te.clone()),
            ("after a length", format!("Content-Length: {length}\r\n{te}")),
            ("before a length", format!("{te}Content-Length: {length}\r\n")),
        ] {
            let name = format!("{} {order}", shown(coding));
            cases.push(case("odd coding", name, post(&lines, &chunked), Expected::Refused));
        }
    }
    for (line, is_refused) in NAMES {
        let te = format!("{line}\r\n");
        for (order, lines) in [
            ("after a length", format!("Content-Length: {length}\r\n{te}")),
            ("before a length", format!("{te}Content-Length: {length}\r\n")),
        ] {
            let expected = if is_refused {
                Expected::Refused
            } else {
                Expected::Either(Seen::new("POST", "/in", &chunked))
            };
            let name = format!("{} {order}", shown(line));
            cases.push(case("name of the coding", name, post(&lines, &chunked), expected));
        }
    }
    let two = "Transfer-Encoding: chunked\r\nTransfer-Encoding: ";
    for second in ["chunked", "identity", "gzip", "x", ""] {
        let lines = format!("{two}{second}\r\n");
        let name = format!("chunked, and {second:?} on a line of its own");
        cases.push(case("odd coding", name, post(&lines, &chunked), Expected::Refused));
        let lines = format!("Transfer-Encoding: {second}\r\nTransfer-Encoding: chunked\r\n");
        let name = format!("{second:?}, and chunked on a line of its own");
        cases.push(case("odd coding", name, post(&lines, &chunked), Expected::Refused));
    }
    let old = format!(
        "POST /in HTTP/1.0\r\n{}Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n{chunked}",
        super::HOST_AND_KEY
    );
    cases.push(case("odd coding", "HTTP/1.0", old.clone(), Expected::Refused));
    let both = old.replace("Connection:", "Content-Length: 5\r\nConnection:");
    cases.push(case("length and coding", "HTTP/1.0", both, Expected::Refused));
    // A bare LF may end a line (RFC 9112 §2.2); then the coding is one.
    let lf = post("Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked\r\n", &chunked);
    let either = Expected::Either(Seen::new("POST", "/in", "").lacks("transfer-encoding"));
    cases.push(case("length and coding", "behind a bare LF", lf, either));
    let open = post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n");
    cases.push(ending("coding", "without a last chunk", open, Expected::Incomplete));
    cases
}
