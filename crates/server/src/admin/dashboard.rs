//! `/`: the credentials, their state and why, live.
//!
//! Three files without anything inline, so that the page can forbid everything else; what the
//! page shows goes in as text.

use http::{HeaderValue, StatusCode};

use crate::answer::{Answer, text};
use crate::refusal::Refusal;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'";

/// One of the page's files.
pub(crate) fn file(path: &str) -> Answer {
    let (kind, body) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("dashboard/dashboard.html")),
        "/dashboard.css" => ("text/css; charset=utf-8", include_str!("dashboard/dashboard.css")),
        "/dashboard.js" => {
            ("text/javascript; charset=utf-8", include_str!("dashboard/dashboard.js"))
        }
        _ => return Refusal::not_found().into(),
    };
    let mut answer = text(StatusCode::OK, kind, body);
    let headers = answer.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
