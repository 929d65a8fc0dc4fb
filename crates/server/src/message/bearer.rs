//! What a request shows (RFC 6750 §2.1).

use bellwether_broker::oauth::Secret;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The one bearer token of a request; `None` where there is none, or more than one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Secret::from(token))
}
