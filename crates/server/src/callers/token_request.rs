//! The token request of a caller (RFC 6749 §3.2): strict about what could be read two ways.

use std::borrow::Cow;

use bellwether_broker::oauth::{Scope, Secret, decode_basic};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Uri};
use percent_encoding::percent_decode;

use crate::refusal::Refusal;

/// A form longer than this is refused.
pub(crate) const MAX_FORM: usize = 64 * 1024;
const MAX_PARAMETERS: usize = 64;
const CLIENT_ASSERTION: &str = "client_assertion";

/// What a caller asks, read once and in one way.
#[derive(Debug)]
pub(crate) struct CallersRequest {
    pub(crate) client_id: String,
    pub(crate) secret: Option<Secret>,
    pub(crate) in_body: bool,
    pub(crate) grant_type: String,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) scope: Scope,
    /// Everything else, in order.
    pub(crate) parameters: Vec<(String, Secret)>,
}

impl CallersRequest {
    /// Reads target, headers and form.
    pub(crate) fn read(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        if uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(Refusal::invalid_request(
                "parameters belong into the body: addresses are logged",
            ));
        }
        if !is_form(headers) {
            return Err(Refusal::invalid_request(
                "the body must be application/x-www-form-urlencoded (RFC 6749 §4.4.2)",
            ));
        }
        let mut form = Form::read(body)?;
        let grant_type = form
            .take("grant_type")
            .ok_or_else(|| Refusal::invalid_request("grant_type is missing (RFC 6749 §4)"))?;
        let (client_id, secret, in_body) = authentication(headers, &mut form)?;
        let scope = match form.take("scope") {
            Some(scope) => Scope::parse(scope.expose()).map_err(|error| {
                Refusal::new(http::StatusCode::BAD_REQUEST, "invalid_scope", &error.to_string())
            })?,
            None => Scope::default(),
        };
        Ok(Self {
            client_id,
            secret,
            in_body,
            grant_type: grant_type.expose().to_owned(),
            refresh_token: form.take("refresh_token"),
            scope,
            parameters: form.rest(),
        })
    }

    /// Whether the client authenticates by an assertion of its own (RFC 7521 §4.2): good for one
    /// request, so nothing that comes of it is shared.
    pub(crate) fn has_assertion(&self) -> bool {
        self.parameters.iter().any(|(name, _)| name == CLIENT_ASSERTION)
    }

    /// Parameters as a token's identity has them.
    pub(crate) fn further(&self) -> Vec<(String, String)> {
        self.parameters
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect()
    }
}

/// Whether the one content type there is says that the body is a form.
fn is_form(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let kind = value.to_str().ok().and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// Client authentication, one way only (RFC 6749 §2.3).
fn authentication(
    headers: &HeaderMap,
    form: &mut Form<'_>,
) -> Result<(String, Option<Secret>, bool), Refusal> {
    let in_body = (form.take("client_id"), form.take("client_secret"));
    let two_ways =
        || Refusal::invalid_request("the client authenticates in two ways (RFC 6749 §2.3)");
    if form.has(CLIENT_ASSERTION) {
        return match in_body {
            (id, None) if !headers.contains_key(AUTHORIZATION) => {
                // The assertion names the client; client_id is optional (RFC 7521 §4.2).
                let id = id.map(|id| id.expose().to_owned()).unwrap_or_default();
                Ok((id, None, true))
            }
            _ => Err(two_ways()),
        };
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let header = match (values.next(), values.next()) {
        (header, None) => header,
        (_, Some(_)) => {
            return Err(Refusal::invalid_request("there is more than one Authorization"));
        }
    };
    match (header, in_body) {
        (Some(header), (id_in_body, None)) => {
            let header = header.to_str().unwrap_or_default();
            let (id, secret) = decode_basic(header)
                .map_err(|error| Refusal::invalid_request(&error.to_string()))?;
            if id_in_body.is_some_and(|other| other.expose() != id) {
                return Err(Refusal::invalid_request("two different clients are named"));
            }
            Ok((id, Some(secret), false))
        }
        (Some(_), (_, Some(_))) => Err(two_ways()),
        (None, (Some(id), secret)) => Ok((id.expose().to_owned(), secret, true)),
        (None, (None, _)) => {
            let mut refusal = Refusal::new(
                http::StatusCode::UNAUTHORIZED,
                "invalid_client",
                "no client authentication: send Basic, or client_id and client_secret",
            );
            refusal.challenge = Some("Basic realm=\"bellwether\"");
            Err(refusal)
        }
    }
}

/// Parameters by name, each once but those that may repeat (RFC 8707 §2, RFC 8693 §2.1). One without
/// a value counts as left out (RFC 6749 §3.2).
struct Form<'a>(Vec<(Cow<'a, str>, Secret)>);

impl<'a> Form<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Refusal> {
        if !is_well_encoded(body) {
            return Err(Refusal::invalid_request("the body is not UTF-8, form-encoded"));
        }
        let mut parameters: Vec<(Cow<'a, str>, Secret)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            let repeats = matches!(&*name, "resource" | "audience");
            if !repeats && parameters.iter().any(|(known, _)| *known == *name) {
                return Err(Refusal::invalid_request("a parameter comes twice (RFC 6749 §3.2)"));
            }
            if has_control(&name) || has_control(&value) {
                return Err(Refusal::invalid_request("a parameter holds control characters"));
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(Refusal::invalid_request("there are more than 64 parameters"));
            }
            parameters.push((name, Secret::new(value)));
        }
        parameters.retain(|(_, value)| !value.is_empty());
        Ok(Self(parameters))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn rest(self) -> Vec<(String, Secret)> {
        self.0.into_iter().map(|(name, value)| (name.into_owned(), value)).collect()
    }

    fn take(&mut self, name: &str) -> Option<Secret> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(index).1)
    }
}

/// Whether every escape is one, and what they stand for is UTF-8: a lenient reader would make two
/// different secrets the same.
fn is_well_encoded(body: &[u8]) -> bool {
    if !body.contains(&b'%') {
        return std::str::from_utf8(body).is_ok();
    }
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let escapes = body.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    let complete = |at: usize| is_hex(body.get(at + 1)) && is_hex(body.get(at + 2));
    escapes.map(|(at, _)| at).all(complete) && percent_decode(body).decode_utf8().is_ok()
}

fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        return text.bytes().any(|byte| byte.is_ascii_control());
    }
    text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authorization: Option<&str>, target: &str, body: &str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=utf-8".parse().unwrap(),
        );
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        CallersRequest::read(&target.parse().unwrap(), &headers, body.as_bytes())
            .map(|request| {
                let secret = request.secret.as_ref().map_or("-", Secret::expose);
                let names: Vec<&str> =
                    request.parameters.iter().map(|(name, _)| name.as_str()).collect();
                format!("{} {secret} {} {}", request.client_id, request.grant_type, names.join(","))
            })
            .map_err(|refusal| format!("{} {}", refusal.status.as_u16(), refusal.error))
    }

    #[test]
    fn a_request_is_read_in_one_way_or_not_at_all() {
        let basic = Some("Basic aWQ6c2VjcmV0");
        #[rustfmt::skip]
        let cases = [
            (basic, "/", "grant_type=client_credentials", Ok("id secret client_credentials ")),
            (None,  "/", "grant_type=client_credentials&client_id=id&client_secret=s", Ok("id s client_credentials ")),
            (None,  "/", "client_id=id&refresh_token=r&grant_type=refresh_token", Ok("id - refresh_token ")),
            (basic, "/", "grant_type=x&client_id=id", Ok("id secret x ")),
            (basic, "/", "grant_type=x&resource=a&resource=b&audience=c", Ok("id secret x resource,resource,audience")),
            (basic, "/", "grant_type=x&client_id=other", Err("400 invalid_request")),
            (basic, "/", "grant_type=x&client_id=id&client_secret=secret", Err("400 invalid_request")),
            (basic, "/", "grant_type=x&grant_type=y", Err("400 invalid_request")),
            (basic, "/", "grant_type=x&scope=a&scope=b", Err("400 invalid_request")),
            (basic, "/", "grant_type=x&scope=%22", Err("400 invalid_scope")),
            (basic, "/", "scope=a", Err("400 invalid_request")),
            (basic, "/?client_secret=s", "grant_type=x", Err("400 invalid_request")),
            (basic, "/", "grant_type=x&a=%0d%0a", Err("400 invalid_request")),
            (Some("Bearer x"), "/", "grant_type=x", Err("400 invalid_request")),
            (Some("Basic !!!"), "/", "grant_type=x", Err("400 invalid_request")),
            (None,  "/", "grant_type=client_credentials", Err("401 invalid_client")),
        ];
        for (authorization, target, body, expected) in cases {
            let read = read(authorization, target, body);
            assert_eq!(read.as_deref().map_err(String::as_str), expected, "{body}");
        }
    }
}
