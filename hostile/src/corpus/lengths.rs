//! Content-Length (RFC 9110 §8.6): digits, once.

use super::{SMUGGLED, case, ending, get, once, post, shown};
use crate::case::{Case, Expected, Seen};

const FAMILY: &str = "length";

/// Values that are no length.
const ODD: [&str; 26] = [
    "+5",
    "-5",
    "-0",
    "0x5",
    "0X5",
    "5.0",
    "5e0",
    "5 5",
    "5,5",
    "5, 5",
    "5,6",
    ",5",
    "5,",
    "99999999999999999999999",
    "18446744073709551616",
    "18446744073709551615",
    "",
    "five",
    "５",
    "5\u{b}",
    "5;",
    "5\0",
    "\"5\"",
    "0b101",
    "5_0",
    "5\u{7f}",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let seen = |body: &str| Seen::new("POST", "/in", body);
    for value in ODD {
        let bytes = post(&format!("Content-Length: {value}\r\n"), "hello");
        cases.push(case(FAMILY, shown(value), bytes, Expected::Refused));
        let bytes = get(&format!("Content-Length: {value}\r\n")) + SMUGGLED;
        cases.push(case(FAMILY, format!("{} of a GET", shown(value)), bytes, Expected::Refused));
    }
    for value in ["5", "05", "00000000000000000000000005", "5 ", "\t5", "  5\t"] {
        let bytes = post(&format!("Content-Length:{value}\r\n"), "hello");
        cases.push(case(FAMILY, shown(value), bytes, Expected::Either(seen("hello"))));
    }
    for (one, other) in [
        ("5", "6"),
        ("6", "5"),
        ("5", "0"),
        ("0", "5"),
        ("5", ""),
        ("5", "+5"),
        ("+5", "5"),
        ("5", "5x"),
    ] {
        let lines = format!("Content-Length: {one}\r\nContent-Length: {other}\r\n");
        let name = format!("{one:?} and {other:?}");
        cases.push(case(FAMILY, name, post(&lines, "hello"), Expected::Refused));
        let lines = format!("Content-Length: {one}\r\nX: y\r\ncontent-length: {other}\r\n");
        let name = format!("{one:?} and {other:?} apart");
        cases.push(case(FAMILY, name, post(&lines, "hello"), Expected::Refused));
    }
    // The same twice may be taken for once (RFC 9112 §6.3).
    let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
    cases.push(case(FAMILY, "5 twice", post(twice, "hello"), Expected::Either(seen("hello"))));
    let aliased = post("Content-Length: 5\r\nContent_Length: 0\r\n", "hello");
    cases.push(case(FAMILY, "and a look-alike", aliased, Expected::Refused));
    let spaced = post("Content-Length : 5\r\n", "hello");
    cases.push(case(FAMILY, "space before the colon", spaced, Expected::Refused));
    let folded = post("Content-Length:\r\n 5\r\n", "hello");
    cases.push(case(FAMILY, "on a folded line", folded, Expected::Refused));
    let length = SMUGGLED.len() - "{KEY}".len();
    // The key takes 40 bytes wherever it is put in.
    let length = length + crate::bed::KEY_LENGTH;
    let inside = post(&format!("Content-Length: {length}\r\n"), SMUGGLED);
    cases.push(case(FAMILY, "a request inside the body", inside, once(seen(SMUGGLED))));
    let after = post("Content-Length: 0\r\n", SMUGGLED);
    let both = Expected::Forwarded(vec![seen(""), Seen::get("/smuggled")]);
    cases.push(case(FAMILY, "a request of its own behind it", after, both));
    let unsaid = post("", SMUGGLED);
    let both = Expected::Forwarded(vec![seen(""), Seen::get("/smuggled")]);
    cases.push(case(FAMILY, "none, and a request behind it", unsaid, both));
    let with_body = get("Content-Length: 5\r\n") + "hello";
    cases.push(case(FAMILY, "of a GET", with_body, once(Seen::new("GET", "/in", "hello"))));
    let head = get("Content-Length: 5\r\n").replace("GET", "HEAD") + "hello";
    cases.push(case(FAMILY, "of a HEAD", head, once(Seen::new("HEAD", "/in", "hello"))));
    for value in ["6", "5000", "2000000", "9007199254740993", "9223372036854775807"] {
        let short = post(&format!("Content-Length: {value}\r\n"), "hello");
        cases.push(ending(FAMILY, format!("{value} of 5 bytes"), short, Expected::Incomplete));
    }
    cases
}
