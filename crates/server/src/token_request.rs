//! The token request of a caller (RFC 6749 §3.2): strict about what could be read two ways.

use bellwether_broker::oauth::{Scope, Secret, decode_basic};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Uri};

use crate::answer::Refusal;

/// A form longer than this is refused.
pub(crate) const MAX_FORM: usize = 64 * 1024;
const MAX_PARAMETERS: usize = 64;

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
        let is_form = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| {
                kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        if !is_form {
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
            parameters: form.0,
        })
    }

    /// Parameters as a token's identity has them.
    pub(crate) fn further(&self) -> Vec<(String, String)> {
        self.parameters
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect()
    }
}

/// Client authentication, one way only (RFC 6749 §2.3).
fn authentication(
    headers: &HeaderMap,
    form: &mut Form,
) -> Result<(String, Option<Secret>, bool), Refusal> {
    let in_body = (form.take("client_id"), form.take("client_secret"));
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
        (Some(_), (_, Some(_))) => {
            Err(Refusal::invalid_request("the client authenticates in two ways (RFC 6749 §2.3)"))
        }
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

/// Parameters by name, each once but those that may repeat (RFC 8707 §2, RFC 8693 §2.1).
pub(crate) struct Form(Vec<(String, Secret)>);

impl Form {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refusal> {
        if std::str::from_utf8(body).is_err() {
            return Err(Refusal::invalid_request("the body is not UTF-8"));
        }
        let mut parameters: Vec<(String, Secret)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            let repeats = matches!(&*name, "resource" | "audience");
            if !repeats && parameters.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::invalid_request("a parameter comes twice (RFC 6749 §3.2)"));
            }
            if name.chars().chain(value.chars()).any(char::is_control) {
                return Err(Refusal::invalid_request("a parameter holds control characters"));
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(Refusal::invalid_request("there are more than 64 parameters"));
            }
            parameters.push((name.into_owned(), Secret::new(value)));
        }
        Ok(Self(parameters))
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Secret> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(index).1)
    }
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
