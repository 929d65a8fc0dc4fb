//! What is refused although it can be read: somebody further on might read it another way.
//!
//! HTTP is parsed once, and every request is written anew, so nothing here is needed for the gateway
//! itself. It keeps from the API, and from whatever stands before it, what servers disagree about.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};

use crate::refusal::Refusal;

/// The longest method in the registry of RFC 9110 §16.1 has 17 letters.
const LONGEST_METHOD: usize = 32;

/// Names that servers with variables for headers (RFC 3875 §4.1.18) cannot tell from ours.
fn looks_like_ours(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content_length"
            | "transfer_encoding"
            | "proxy_authorization"
            | "bellwether_credential"
            | "http2_settings"
    )
}

/// Refuses a request whose head could be read in more than one way.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    coding(request.headers())?;
    method(request.method())?;
    let target = request.uri();
    if !target.path().is_ascii() || !target.query().is_none_or(str::is_ascii) {
        return Err(Refusal::invalid_request("the target is no ASCII: encode it (RFC 3986 §2.1)"));
    }
    if has_parameter_on_dots(target.path()) {
        return Err(Refusal::invalid_request("the path could be read in more than one way"));
    }
    Ok(())
}

/// The one coding of a body is `chunked`, once (RFC 9112 §6.1).
fn coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if !is_plain {
        let why = "Transfer-Encoding is chunked, or absent";
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "invalid_request", why));
    }
    if headers.keys().any(looks_like_ours) {
        return Err(Refusal::invalid_request(
            "a header looks like another: write it with a hyphen",
        ));
    }
    Ok(())
}

fn method(method: &Method) -> Result<(), Refusal> {
    if method.as_str().len() <= LONGEST_METHOD {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "invalid_request", "nobody knows this method"))
}

/// Some servers take `..;x` for `..`.
fn has_parameter_on_dots(path: &str) -> bool {
    if !path.contains(['.', '%']) {
        return false;
    }
    let lower = path.to_ascii_lowercase().replace("%2e", ".").replace("%3b", ";");
    lower
        .split('/')
        .any(|segment| segment.split_once(';').is_some_and(|(name, _)| matches!(name, "." | "..")))
}

/// What an answer says of its length, made one (RFC 9112 §6.3): a length beside a coding is none, and
/// the same length several times is said once.
///
/// # Errors
/// When it says two different things.
pub(crate) fn settle_length(headers: &mut HeaderMap) -> Result<(), &'static str> {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
        return Ok(());
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(first), more) = (lengths.next(), lengths.next()) else { return Ok(()) };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if more.is_none() && first.to_str().is_ok_and(is_number) {
        return Ok(());
    }
    let said = headers.get_all(CONTENT_LENGTH).iter().map(|value| value.to_str().unwrap_or("?"));
    let said: Vec<&str> = said.flat_map(|value| value.split(',')).map(str::trim).collect();
    let is_one = said.iter().all(|length| *length == said[0] && is_number(length));
    if !is_one {
        return Err("the API says two lengths of one answer");
    }
    let one = http::HeaderValue::from_str(said[0]).map_err(|_| "no length")?;
    headers.insert(CONTENT_LENGTH, one);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = &'static [(&'static str, &'static str)];

    fn headers(lines: Lines) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_others_could_read_another_way_is_refused() {
        #[rustfmt::skip]
        let cases: [(&str, &str, Lines, Option<u16>); 16] = [
            ("GET",  "/",             &[],                                           None),
            ("POST", "/",             &[("transfer-encoding", "chunked")],           None),
            ("POST", "/",             &[("transfer-encoding", "Chunked")],           None),
            ("POST", "/",             &[("transfer-encoding", "gzip, chunked")],     Some(501)),
            ("POST", "/",             &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], Some(501)),
            ("POST", "/",             &[("content_length", "5")],                    Some(400)),
            ("GET",  "/",             &[("x_own", "5")],                             None),
            ("BASELINE-CONTROL", "/", &[],                                           None),
            ("MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM", "/", &[],                          Some(501)),
            ("GET",  "/a;b/c.d;e",    &[],                                           None),
            ("GET",  "/a/..;/b",      &[],                                           Some(400)),
            ("GET",  "/a/.;x=y/b",    &[],                                           Some(400)),
            ("GET",  "/a/%2E.%3b/b",  &[],                                           Some(400)),
            ("GET",  "/a/..b;c",      &[],                                           None),
            ("GET",  "/é",            &[],                                           Some(400)),
            ("GET",  "/x?é",          &[],                                           Some(400)),
        ];
        for (method, target, lines, expected) in cases {
            let Ok(mut request) = Request::builder().method(method).uri(target).body(()) else {
                assert!(expected.is_some(), "{method} {target}");
                continue;
            };
            *request.headers_mut() = headers(lines);
            let refused = check(&request).err().map(|refusal| refusal.status.as_u16());
            assert_eq!(refused, expected, "{method} {target} {lines:?}");
        }
    }

    #[test]
    fn an_answer_has_one_length() {
        #[rustfmt::skip]
        let cases: [(Lines, Result<&[&str], ()>); 7] = [
            (&[],                                                          Ok(&[])),
            (&[("content-length", "5")],                                   Ok(&["5"])),
            (&[("content-length", "5"), ("transfer-encoding", "chunked")], Ok(&[])),
            (&[("content-length", "5"), ("content-length", "5")],          Ok(&["5"])),
            (&[("content-length", "5, 5")],                                Ok(&["5"])),
            (&[("content-length", "5, 6")],                                Err(())),
            (&[("content-length", "5"), ("content-length", "x")],          Err(())),
        ];
        for (lines, expected) in cases {
            let mut headers = headers(lines);
            let settled = settle_length(&mut headers).map_err(|_| ());
            let left: Vec<&str> = headers
                .get_all(CONTENT_LENGTH)
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect();
            assert_eq!(settled.map(|()| &left[..]), expected, "{lines:?}");
        }
    }
}
