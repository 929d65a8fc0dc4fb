//! What holds at every endpoint of our own: no page calls it, and no secret stands in its address.
//!
//! A browser page is never a caller of the token endpoint or of what is below `/bellwether/`: it has
//! no key to keep, and what a page can reach, any page can. API paths are another matter. There a page
//! may show a token that it was given, and whether another site's page may is the API's to say, by
//! CORS; only who is known by the connection alone is refused there too, since a browser lends its
//! certificate to every page.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, Uri};

use crate::refusal::Refusal;

/// Parameters that are secrets wherever they stand (RFC 6749, 7009, 7521, 7636, 8628, 8693).
const SECRETS: [&str; 14] = [
    "access_token",
    "actor_token",
    "assertion",
    "client_assertion",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "id_token",
    "key",
    "password",
    "refresh_token",
    "subject_token",
    "token",
];

/// A browser says whose page sends a request; no page but ours is answered.
///
/// # Errors
/// 403 for a page of another site, and of the same site on another port.
pub(crate) fn refuse_other_sites(headers: &HeaderMap) -> Result<(), Refusal> {
    let texts = |name: &str| {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap_or_default()).collect::<Vec<_>>()
    };
    let hosts = texts("host");
    let own_host = |origin: &&str| {
        let from = origin.split_once("://").map(|(_, from)| from);
        let is_own = |from: &str| hosts.iter().all(|host| from.eq_ignore_ascii_case(host));
        !hosts.is_empty() && from.is_some_and(is_own)
    };
    let own_site = |site: &&str| matches!(*site, "same-origin" | "none");
    if texts("sec-fetch-site").iter().all(own_site) && texts("origin").iter().all(own_host) {
        return Ok(());
    }
    let description = "pages of other sites are not answered here";
    Err(Refusal::new(StatusCode::FORBIDDEN, "cross_site", description))
}

/// Addresses are logged, kept and passed on as `Referer`: what stands there is a secret no more.
///
/// # Errors
/// 400 that repeats nothing of the address.
pub(crate) fn refuse_secrets_in_query(uri: &Uri) -> Result<(), Refusal> {
    let Some(query) = uri.query().filter(|query| !query.is_empty()) else { return Ok(()) };
    let is_secret = |name: &str| SECRETS.iter().any(|known| name.eq_ignore_ascii_case(known));
    if form_urlencoded::parse(query.as_bytes()).any(|(name, _)| is_secret(&name)) {
        return Err(Refusal::invalid_request(
            "a secret stands in the address, where it is logged: send it in the body or a header, \
             and replace it",
        ));
    }
    Ok(())
}

/// Whether the body says it is JSON: no form on a web page can.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_and_what_is_no_page() {
        #[rustfmt::skip]
        let cases: [(&[(&'static str, &str)], bool); 14] = [
            (&[],                                                     true),
            (&[("sec-fetch-site", "none")],                           true),
            (&[("sec-fetch-site", "same-origin")],                    true),
            (&[("origin", "http://localhost:8484")],                  true),
            (&[("origin", "HTTP://LocalHost:8484")],                  true),
            (&[("sec-fetch-site", "same-site")],                      false),
            (&[("sec-fetch-site", "cross-site")],                     false),
            (&[("sec-fetch-site", "Same-Origin")],                    false),
            (&[("origin", "http://localhost:3000")],                  false),
            (&[("origin", "http://evil.test")],                       false),
            (&[("origin", "null")],                                   false),
            (&[("origin", "")],                                       false),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "http://evil.test")], false),
        ];
        for (pairs, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("host", "localhost:8484".parse().unwrap());
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(refuse_other_sites(&headers).is_ok(), expected, "{pairs:?}");
            headers.remove("host");
            let is_no_page = pairs.iter().all(|(name, _)| *name != "origin");
            let refused = refuse_other_sites(&headers);
            assert_eq!(
                refused.is_ok(),
                expected && is_no_page,
                "nobody's, without Host: {pairs:?}"
            );
        }
    }

    #[test]
    fn a_secret_in_an_address_is_found_in_any_spelling() {
        #[rustfmt::skip]
        let cases = [
            ("/x",                        true),
            ("/x?",                       true),
            ("/x?page=2&scope=token",     true),
            ("/x?client_secret=s",        false),
            ("/x?page=2&access_token=s",  false),
            ("/x?client%5Fsecret=s",      false),
            ("/x?Refresh_Token=s",        false),
            ("/x?code_verifier",          false),
        ];
        for (target, expected) in cases {
            let refused = refuse_secrets_in_query(&target.parse().unwrap());
            assert_eq!(refused.is_ok(), expected, "{target}");
        }
    }
}
