//! What concerns one connection alone and goes no further (RFC 9110 §7.6.1).

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, TE, UPGRADE};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;

const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Whether a header is between two hops. By their texts, names are told apart by length first.
fn is_between_hops(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Fields that may not come behind a body: they frame it, route it or say who asks (RFC 9110 §6.5.1).
fn is_never_behind(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "bellwether-credential"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "cookie"
            | "expect"
            | "host"
            | "trailer"
    )
}

/// Removes from a request's trailers what would have been removed from its head.
pub(crate) fn clean_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            remove(&mut trailers, |name| is_between_hops(name) || is_never_behind(name));
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// What the headers between two hops asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The protocol to go on with.
    pub(crate) upgrade: Option<HeaderValue>,
    /// Trailers are understood (RFC 9110 §6.5.1).
    pub(crate) trailers: bool,
}

/// Removes them, and what `Connection` names.
pub(crate) fn strip(headers: &mut HeaderMap) -> Asked {
    let mut asked = Asked::default();
    if !headers.keys().any(is_between_hops) {
        return asked;
    }
    let trailers = |one: &str| one.eq_ignore_ascii_case("trailers");
    asked.trailers = tokens(headers, &TE).any(trailers);
    // Mostly it says what a connection does by itself.
    let says_more = |one: &str| {
        !["keep-alive", "close", ""].iter().any(|usual| one.eq_ignore_ascii_case(usual))
    };
    if tokens(headers, &CONNECTION).any(says_more) {
        let named: Vec<String> = tokens(headers, &CONNECTION).map(str::to_owned).collect();
        if named.iter().any(|name| name.eq_ignore_ascii_case("upgrade")) {
            let mut protocols = headers.get_all(UPGRADE).iter();
            asked.upgrade = protocols.next().filter(|_| protocols.next().is_none()).cloned();
        }
        for name in &named {
            headers.remove(name.as_str());
        }
    }
    remove(headers, is_between_hops);
    asked
}

/// Removes the headers with such names; mostly there are few or none, and looking each up costs more.
pub(crate) fn remove(headers: &mut HeaderMap, is_meant: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| is_meant(name)).cloned() {
        headers.remove(name);
    }
}

/// The members of a list, over all lines of it.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

impl Asked {
    /// Asks the same of the next hop.
    pub(crate) fn ask_again(&self, headers: &mut HeaderMap) {
        let mut connection = Vec::new();
        if let Some(upgrade) = &self.upgrade {
            headers.insert(UPGRADE, upgrade.clone());
            connection.push("upgrade");
        }
        if self.trailers {
            headers.insert(TE, TRAILERS);
            connection.push("te");
        }
        if let Ok(value) = HeaderValue::from_str(&connection.join(", "))
            && !connection.is_empty()
        {
            headers.insert(CONNECTION, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a str)];

    fn headers(lines: Lines<'_>) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(parse) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn what_is_between_hops_goes_no_further() {
        #[rustfmt::skip]
        let cases: [(Lines<'_>, &[&str]); 7] = [
            (&[("accept", "*/*"), ("x-a", "1")],                              &["accept", "x-a"]),
            (&[("connection", "x-a"), ("x-a", "1"), ("x-b", "2")],            &["x-b"]),
            (&[("connection", "X-A , keep-alive"), ("keep-alive", "5"), ("x-a", "1")], &[]),
            (&[("connection", "x-a"), ("connection", "x-b"), ("x-a", "1"), ("x-b", "2")], &[]),
            (&[("te", "gzip"), ("transfer-encoding", "chunked"), ("upgrade", "h2c")], &[]),
            (&[("proxy-connection", "close"), ("proxy-authorization", "Basic x")], &[]),
            (&[("connection", "authorization, host"), ("host", "a"), ("trailer", "x")], &["trailer"]),
        ];
        for (lines, expected) in cases {
            let mut headers = headers(lines);
            strip(&mut headers);
            let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left, expected, "{lines:?}");
        }
    }

    #[test]
    fn an_upgrade_counts_where_connection_names_it() {
        #[rustfmt::skip]
        let cases: [(Lines<'_>, Option<&str>); 5] = [
            (&[("connection", "Upgrade"), ("upgrade", "websocket")],                           Some("websocket")),
            (&[("connection", "keep-alive, upgrade"), ("upgrade", "websocket")],               Some("websocket")),
            (&[("upgrade", "websocket")],                                                      None),
            (&[("connection", "upgrade")],                                                     None),
            (&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "other")],     None),
        ];
        for (lines, expected) in cases {
            let mut headers = headers(lines);
            let asked = strip(&mut headers);
            assert_eq!(asked.upgrade.as_ref().map(|value| value.to_str().unwrap()), expected);
            asked.ask_again(&mut headers);
            assert_eq!(headers.contains_key(CONNECTION), expected.is_some(), "{lines:?}");
        }
    }

    #[test]
    fn trailers_are_asked_for_again() {
        let mut headers = headers(&[("te", "deflate, trailers"), ("connection", "te")]);
        let asked = strip(&mut headers);
        assert!(asked.trailers);
        asked.ask_again(&mut headers);
        assert_eq!(
            (headers[TE].clone(), headers[CONNECTION].clone()),
            (TRAILERS, "te".parse().unwrap())
        );
    }
}
