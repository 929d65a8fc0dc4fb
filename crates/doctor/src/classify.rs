//! What an observation means: token request or not, and what its answer complains of.
//!
//! Formats fill in what the log says; this reads it the same way for all of them. Ordinary API
//! requests, nearly all lines of a log, are told by one search for `token` in their target.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::memmem::Finder;

use crate::fingerprint::Fingerprint;
use crate::moment::Moment;
use crate::observation::{Complaint, Grant, Kind, Observation};

/// `null:null` as client authentication (RFC 7617).
const NULL_NULL: &[u8] = b"bnVsbDpudWxs";

/// Tells token requests from others, and complaints from each other.
#[derive(Debug)]
pub(crate) struct Classifier {
    token: Finder<'static>,
    bearer: Finder<'static>,
}

impl Classifier {
    pub(crate) fn new() -> Self {
        Self { token: Finder::new(b"token"), bearer: Finder::new(b"earer ") }
    }

    /// Fills in all that follows from what the log said.
    pub(crate) fn classify(&self, seen: &mut Observation) {
        if seen.token.is_none() && !seen.request.is_empty() {
            seen.token = self.bearer_token(&seen.request);
        }
        let is_token_request = if names_a_resource(&seen.target) {
            self.is_token_endpoint(&seen.target) && !reads(&seen.method)
        } else {
            is_login_label(&seen.label)
        };
        if is_token_request {
            self.read_token_request(seen);
        } else if seen.status.is_some_and(|status| status >= 400) {
            seen.complaint = complaint(&seen.message);
        }
    }

    fn bearer_token(&self, request: &[u8]) -> Option<Fingerprint> {
        let start = self.bearer.find(request)? + 6;
        let rest = &request[start..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_graphic() && **byte != b'"');
        let length = length.count();
        (length >= 8).then(|| Fingerprint::of(TOKENS, &rest[..length]))
    }

    fn is_token_endpoint(&self, target: &[u8]) -> bool {
        let path = path(target);
        if self.token.find(path).is_none() || path.starts_with(b"/bellwether/") {
            return false;
        }
        let end = path.strip_suffix(b"/").unwrap_or(path);
        end.ends_with(b"/token") || end.ends_with(b"/access_token") || end == b"token"
    }

    fn read_token_request(&self, seen: &mut Observation) {
        let form = seen.request.as_slice();
        let asked = form_value(form, b"grant_type")
            .or_else(|| query(&seen.target).and_then(|query| form_value(query, b"grant_type")));
        let grant = match asked {
            Some(b"client_credentials") => Grant::ClientCredentials,
            Some(b"refresh_token") => Grant::RefreshToken,
            Some(_) => Grant::Other,
            None if contains_word(&seen.label, b"refresh") => Grant::RefreshToken,
            None => Grant::Unknown,
        };
        let refresh_token = form_value(form, b"refresh_token")
            .or_else(|| query(&seen.target).and_then(|query| form_value(query, b"refresh_token")));
        seen.null_credentials = contains(form, NULL_NULL)
            || contains(form, b"null:null")
            || contains(&seen.message, b"null:null")
            || contains(&seen.message, NULL_NULL)
            || (grant == Grant::RefreshToken && refresh_token == Some(b""));
        seen.spent = refresh_token
            .filter(|token| token.len() >= 8 && !token.contains(&b'*'))
            .map(|token| Fingerprint::of(REFRESH_TOKENS, token));
        seen.kind = Kind::Token(grant);
        let body = seen.message.as_slice();
        if seen.succeeded() {
            seen.expires_in = json_value(body, b"\"expires_in\"").and_then(number);
            seen.issued_refresh_token = json_value(body, b"\"refresh_token\"").is_some();
            if let Some(token) = json_value(body, b"\"access_token\"") {
                seen.issued = Some(Fingerprint::of(TOKENS, token));
                seen.issued_at = issued_at(token);
            }
        } else {
            seen.complaint = complaint(body);
        }
    }
}

/// Keeps access tokens and refresh tokens apart.
pub(crate) const TOKENS: u64 = 1;
const REFRESH_TOKENS: u64 = 2;

fn names_a_resource(target: &[u8]) -> bool {
    !matches!(target, b"" | b"null" | b"-")
}

/// A token request is a POST; a preflight or a look at the page is none.
fn reads(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS")
}

/// The path of a URL or of a request target.
pub(crate) fn path(target: &[u8]) -> &[u8] {
    let after_scheme = match memchr::memmem::find(&target[..target.len().min(12)], b"://") {
        Some(at) => {
            let rest = &target[at + 3..];
            memchr::memchr(b'/', rest).map_or(&b"/"[..], |slash| &rest[slash..])
        }
        None => target,
    };
    let end = memchr::memchr2(b'?', b'#', after_scheme).unwrap_or(after_scheme.len());
    &after_scheme[..end]
}

fn query(target: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'?', target).map(|at| &target[at + 1..])
}

/// By the name somebody gave to a sampler.
fn is_login_label(label: &[u8]) -> bool {
    const NOT: [&[u8]; 5] = [b"revoke", b"logout", b"log out", b"introspect", b"validate"];
    const YES: [&[u8]; 9] = [
        b"token",
        b"login",
        b"log in",
        b"logon",
        b"log on",
        b"oauth",
        b"authenticat",
        b"sign in",
        b"renew",
    ];
    let any = |words: &[&[u8]]| words.iter().any(|word| contains(label, word));
    (any(&YES) || contains_word(label, b"auth") || contains_word(label, b"refresh")) && !any(&NOT)
}

/// Without regard to case. For short texts and error answers, not for every line.
pub(crate) fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

fn contains_word(text: &[u8], word: &[u8]) -> bool {
    let is_letter = |at: usize| text.get(at).is_some_and(u8::is_ascii_alphabetic);
    text.windows(word.len()).enumerate().any(|(at, part)| {
        part.eq_ignore_ascii_case(word)
            && !(at > 0 && is_letter(at - 1))
            && !is_letter(at + word.len())
    })
}

/// What an error body or message complains of, most telling first.
pub(crate) fn complaint(body: &[u8]) -> Complaint {
    const TABLE: [(Complaint, &[&[u8]]); 7] = [
        (
            Complaint::Throttled,
            &[
                b"rate limit",
                b"rate_limit",
                b"ratelimit",
                b"too many",
                b"too.many",
                b"global limit",
                b"login rate",
                b"throttl",
                b"slow_down",
                b"quota",
                b"e0000047",
            ],
        ),
        (
            Complaint::NotYetValid,
            &[b"not yet valid", b"in the future", b"valid time range", b"before the", b"nbf"],
        ),
        (Complaint::InvalidGrant, &[b"invalid_grant", b"bad_refresh_token"]),
        (Complaint::RefreshToken, &[b"refresh token", b"refresh_token", b"refreshtoken"]),
        (
            Complaint::InvalidClient,
            &[
                b"invalid_client",
                b"client not found",
                b"unauthorized_client",
                b"authentication failed",
            ],
        ),
        (Complaint::Expired, &[b"expired"]),
        (
            Complaint::Permissions,
            &[b"insufficient_scope", b"missing.", b"permission", b"not.authorized", b"forbidden"],
        ),
    ];
    let told = |words: &[&[u8]]| words.iter().any(|word| contains(body, word));
    TABLE.iter().find(|(_, words)| told(words)).map_or(Complaint::None, |(complaint, _)| *complaint)
}

/// The value of a field of a form, wherever in `text` the form is.
fn form_value<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let starts_name = |at: usize| at == 0 || !matches!(text[at - 1], b'_' | b'a'..=b'z');
    let found = memchr::memmem::find_iter(text, name)
        .find(|at| starts_name(*at) && text.get(at + name.len()) == Some(&b'='))?;
    let rest = &text[found + name.len() + 1..];
    let ends = |byte: &u8| *byte == b'&' || *byte == b'"' || byte.is_ascii_whitespace();
    Some(&rest[..rest.iter().position(ends).unwrap_or(rest.len())])
}

/// The value after `"name":`, without its quotes; JSON that a log cut off is read as far as it goes.
fn json_value<'a>(text: &'a [u8], quoted_name: &[u8]) -> Option<&'a [u8]> {
    let at = memchr::memmem::find(text, quoted_name)? + quoted_name.len();
    let rest = text[at..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    match rest.strip_prefix(b"\"") {
        Some(string) => Some(&string[..memchr::memchr(b'"', string)?]),
        None => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}') || byte.is_ascii_whitespace();
            Some(&rest[..rest.iter().position(ends).unwrap_or(rest.len())])
        }
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `iat` of a JSON web token (RFC 7519 §4.1.6); nothing of it is verified or kept.
fn issued_at(token: &[u8]) -> Option<Moment> {
    let payload = token.split(|byte| *byte == b'.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let seconds: i64 = json_value(&payload, b"\"iat\"").and_then(number)?;
    Some(Moment(seconds.checked_mul(1000)?))
}

#[cfg(test)]
mod tests {
    use super::{Classifier, complaint, is_login_label};
    use crate::observation::{Complaint, Grant, Kind, Observation};

    #[test]
    fn a_token_request_is_told_by_its_url_or_else_by_its_label() {
        #[rustfmt::skip]
        let cases = [
            // target,                                   method, label,            is one
            ("https://login.example/oauth/token",        "POST", "x",              true),
            ("https://login.example/oauth/token?a=b",    "",     "x",              true),
            ("/oauth2/v1/token",                         "POST", "",               true),
            ("/services/oauth2/token/",                  "POST", "",               true),
            ("/login/oauth/access_token",                "POST", "",               true),
            ("/oauth/token",                             "OPTIONS", "",            false),
            ("/api/v2/tokens/me",                        "",     "log in",         false),
            ("/bellwether/v1/credentials/a/token",       "GET",  "",               false),
            ("https://api.example/api/v2/users",         "",     "token",          false),
            ("",                                         "",     "POST /oauth/token", true),
            ("null",                                     "",     "Log in again",   true),
            ("",                                         "",     "Get Token",      true),
            ("",                                         "",     "auth",           true),
            ("",                                         "",     "author list",    false),
            ("",                                         "",     "poll",           false),
            ("",                                         "",     "revoke token",   false),
        ];
        for (target, method, label, expected) in cases {
            let mut seen = Observation {
                target: target.into(),
                method: method.into(),
                label: label.into(),
                ..Observation::default()
            };
            Classifier::new().classify(&mut seen);
            assert_eq!(seen.is_token_request(), expected, "{target} {method} {label}");
        }
        assert!(!is_login_label(b"logout"));
    }

    #[test]
    fn the_grant_and_what_it_spends_are_read_from_the_form() {
        let classify = |request: &str, message: &str| {
            let mut seen = Observation {
                target: b"/oauth/token".to_vec(),
                request: request.into(),
                message: message.into(),
                status: Some(200),
                ..Observation::default()
            };
            Classifier::new().classify(&mut seen);
            seen
        };
        let plain = classify("grant_type=client_credentials", r#"{"expires_in": 300}"#);
        assert_eq!(plain.kind, Kind::Token(Grant::ClientCredentials));
        assert_eq!((plain.expires_in, plain.null_credentials), (Some(300), false));
        let refresh = classify("refresh_token=abcdefgh1&grant_type=refresh_token", "");
        assert_eq!(refresh.kind, Kind::Token(Grant::RefreshToken));
        assert!(refresh.spent.is_some() && !refresh.null_credentials);
        for null in ["refresh_token=&grant_type=refresh_token", "Authorization: Basic bnVsbDpudWxs"]
        {
            assert!(classify(null, "").null_credentials, "{null}");
        }
    }

    #[test]
    fn complaints_are_told_whatever_the_vendor_calls_them() {
        #[rustfmt::skip]
        let cases = [
            (r#"{"error":"invalid_request","error_description":"rate limit exceeded; wait"}"#, Complaint::Throttled),
            (r#"{"error":"access_denied","error_description":"Global limit has been reached"}"#, Complaint::Throttled),
            ("Too Many Requests", Complaint::Throttled),
            (r#"{"error":"invalid_grant"}"#, Complaint::InvalidGrant),
            (r#"{"code":"bad_request","message":"The refresh token is invalid or expired","status":401}"#, Complaint::RefreshToken),
            (r#"{"error":"invalid_client","description":"client not found"}"#, Complaint::InvalidClient),
            (r#"{"code":"credentials.expired"}"#, Complaint::Expired),
            (r#"{"code":"missing.any.permissions"}"#, Complaint::Permissions),
            ("Unauthorized", Complaint::None),
        ];
        for (body, expected) in cases {
            assert_eq!(complaint(body.as_bytes()), expected, "{body}");
        }
    }
}
