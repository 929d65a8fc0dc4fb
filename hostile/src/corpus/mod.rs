//! Requests that a careless gateway passes on, misreads or splits in two.

pub(crate) mod answers;
mod bodies;
mod coding;
mod heads;
mod hops;
mod lengths;
mod lines;
mod targets;

use crate::case::{Case, End, Expected, Seen};

/// What must never be taken for a request of its own.
pub(crate) const SMUGGLED: &str =
    "GET /smuggled HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n";

/// What nearly every request begins with.
const HOST_AND_KEY: &str = "Host: localhost\r\nAuthorization: Bearer {KEY}\r\n";

/// Every case.
pub fn all() -> Vec<Case> {
    [
        coding::cases(),
        lengths::cases(),
        bodies::chunks(),
        bodies::trailers(),
        bodies::undrained(),
        heads::bytes(),
        heads::shapes(),
        heads::sizes(),
        hops::connection(),
        hops::credentials(),
        hops::upgrade_and_expect(),
        targets::hosts(),
        targets::forms(),
        targets::paths(),
        lines::methods(),
        lines::versions(),
        lines::pieces(),
    ]
    .concat()
}

/// A case that is followed by a probe.
fn case(
    family: &'static str,
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
    expected: Expected,
) -> Case {
    let (name, bytes) = (name.into(), bytes.into());
    Case { family, name, bytes, piece: 0, end: End::Probe, expected }
}

/// A case that ends there.
fn ending(
    family: &'static str,
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
    expected: Expected,
) -> Case {
    Case { end: End::HalfClose, ..case(family, name, bytes, expected) }
}

/// A `GET` with further header lines.
fn get(lines: &str) -> String {
    format!("GET /in HTTP/1.1\r\n{HOST_AND_KEY}{lines}\r\n")
}

/// A `POST` with further header lines and what follows them.
fn post(lines: &str, body: &str) -> String {
    format!("POST /in HTTP/1.1\r\n{HOST_AND_KEY}{lines}\r\n{body}")
}

fn once(seen: Seen) -> Expected {
    Expected::Forwarded(vec![seen])
}

/// Text with control characters made visible.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn there_are_at_least_400_cases_and_each_has_a_name() {
        let cases = super::all();
        let names: BTreeSet<_> = cases.iter().map(|case| (case.family, &case.name)).collect();
        assert!(cases.len() >= 400, "{}", cases.len());
        assert_eq!(names.len(), cases.len(), "two cases have one name");
    }
}
