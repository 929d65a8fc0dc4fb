//! The authorization request (RFC 6749 §4.1.1) and what comes back to the redirect URI (§4.1.2).
//!
//! Whatever comes there may come from anybody who can make a browser follow a link. Only an answer
//! with our own `state` speaks for the authorization server; everything else is passed over, so
//! that nobody can end a login by guessing its port.

use std::fmt;

use form_urlencoded::{byte_serialize, parse};

use crate::{CodeVerifier, Details, Scope, Secret};

/// The longest code that is taken, in bytes.
const MAX_CODE: usize = 4 * 1024;

/// What the browser is sent to the authorization endpoint with.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// The client identifier.
    pub client_id: &'a str,
    /// Where the answer is to go.
    pub redirect_uri: &'a str,
    /// The scope asked for; empty leaves it to the server.
    pub scope: &'a Scope,
    /// By which the answer is known.
    pub state: &'a Secret,
    /// Whose challenge is sent.
    pub verifier: &'a CodeVerifier,
    /// Further parameters: `audience`, `resource`, `prompt`, vendors' own.
    pub parameters: &'a [(String, String)],
}

impl AuthorizationRequest<'_> {
    /// Whether `name` is set here and so is never taken from
    /// [`parameters`](Self::parameters).
    pub fn is_reserved(name: &str) -> bool {
        const RESERVED: [&str; 10] = [
            "client_id",
            "client_secret",
            "code_challenge",
            "code_challenge_method",
            "redirect_uri",
            "request",
            "response_mode",
            "response_type",
            "scope",
            "state",
        ];
        RESERVED.contains(&name)
    }

    /// The query of the authorization endpoint's URL.
    pub fn query(&self) -> String {
        let challenge = self.verifier.challenge();
        let mut form = vec![
            ("response_type", "code"),
            ("client_id", self.client_id),
            ("redirect_uri", self.redirect_uri),
        ];
        if !self.scope.is_empty() {
            form.push(("scope", self.scope.as_str()));
        }
        form.push(("state", self.state.expose()));
        form.push(("code_challenge", &challenge));
        form.push(("code_challenge_method", CodeVerifier::METHOD));
        let further = self.parameters.iter().filter(|(name, _)| !Self::is_reserved(name));
        form.extend(further.map(|(name, value)| (name.as_str(), value.as_str())));
        let mut query = String::new();
        for (name, value) in form {
            if !query.is_empty() {
                query.push('&');
            }
            query.extend(byte_serialize(name.as_bytes()));
            query.push('=');
            query.extend(byte_serialize(value.as_bytes()));
        }
        query
    }
}

/// By what an answer at the redirect URI is known as ours.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The `state` of the request.
    pub state: &'a Secret,
    /// Who was asked; `None` if nobody configured it.
    pub issuer: Option<&'a str>,
    /// Whether the server's metadata promises `iss` (RFC 9207 §3).
    pub issuer_is_promised: bool,
}

/// What a request to the redirect URI is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    /// The authorization code.
    Code(Secret),
    /// The authorization server's answer, and no code.
    Failed(CallbackError),
    /// Not the answer that is waited for.
    NotOurs,
}

/// Why the authorization server's answer gives no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackError {
    /// It says so (RFC 6749 §4.1.2.1).
    Refused(Details),
    /// A parameter is there twice (RFC 6749 §3.1).
    Repeated,
    /// Neither a code nor an error, or both.
    Unclear,
    /// The code cannot be sent on.
    BadCode,
    /// It comes from another server than the one that was asked (RFC 9207 §2.4).
    OtherIssuer,
    /// It does not say whom it comes from, although the server's metadata promises that.
    NoIssuer,
    /// It says whom it comes from, and nobody configured who that should be.
    UnknownIssuer,
}

impl fmt::Display for CallbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(details) => {
                let code = details.code().unwrap_or("an unknown error");
                let meaning = match code {
                    "access_denied" => ": access was denied",
                    "invalid_scope" => ": correct the scope",
                    "unauthorized_client" => {
                        ": allow the grant authorization_code for this client at the server"
                    }
                    "server_error" | "temporarily_unavailable" => ": try again later",
                    _ => "",
                };
                write!(f, "the authorization server answers {code}{meaning}")?;
                details.description().map_or(Ok(()), |text| write!(f, " (\"{text}\")"))
            }
            Self::Repeated => f.write_str("the authorization server's answer repeats a parameter"),
            Self::Unclear => {
                f.write_str("the authorization server's answer has neither a code nor an error")
            }
            Self::BadCode => f.write_str("the authorization code cannot be used"),
            Self::OtherIssuer => {
                f.write_str("the answer comes from another authorization server (iss)")
            }
            Self::NoIssuer => f.write_str(
                "the answer does not say whom it comes from (iss), although the server's metadata \
                 promises it",
            ),
            Self::UnknownIssuer => f.write_str(
                "the answer says whom it comes from (iss): configure `issuer` of the \
                 authorization server, so that it can be checked",
            ),
        }
    }
}

impl std::error::Error for CallbackError {}

/// Reads the query of a request to the redirect URI. Whoever has not our `state` is not believed in
/// anything.
pub fn read_callback(query: &str, expected: &Expected<'_>) -> Callback {
    let values = |name: &str| -> Vec<Secret> {
        let named = parse(query.as_bytes()).filter(|(known, _)| known == name);
        named.map(|(_, value)| Secret::from(value.into_owned())).collect()
    };
    let states = values("state");
    // Each is compared, and in constant time.
    if states.is_empty() || !states.iter().all(|state| state == expected.state) {
        return Callback::NotOurs;
    }
    let (codes, errors, issuers) = (values("code"), values("error"), values("iss"));
    let descriptions = values("error_description");
    if [&states, &codes, &errors, &issuers, &descriptions].iter().any(|all| all.len() > 1) {
        return Callback::Failed(CallbackError::Repeated);
    }
    if let Err(error) = check_issuer(issuers.first(), expected) {
        return Callback::Failed(error);
    }
    match (codes.first(), errors.first()) {
        (Some(code), None) if is_good(code) => Callback::Code(code.clone()),
        (Some(_), None) => Callback::Failed(CallbackError::BadCode),
        (None, Some(error)) => {
            let description = descriptions.first().map(Secret::expose);
            let secrets = [expected.state];
            let details = Details::new(0, Some(error.expose()), description, &secrets);
            Callback::Failed(CallbackError::Refused(details))
        }
        (None, None) | (Some(_), Some(_)) => Callback::Failed(CallbackError::Unclear),
    }
}

/// Issuers are compared character by character (RFC 9207 §2.4).
fn check_issuer(said: Option<&Secret>, expected: &Expected<'_>) -> Result<(), CallbackError> {
    match (said, expected.issuer) {
        (Some(said), Some(known)) if said.expose() == known => Ok(()),
        (Some(_), Some(_)) => Err(CallbackError::OtherIssuer),
        (Some(_), None) => Err(CallbackError::UnknownIssuer),
        (None, _) if expected.issuer_is_promised => Err(CallbackError::NoIssuer),
        (None, _) => Ok(()),
    }
}

/// RFC 6749 §A.11: visible characters and spaces.
fn is_good(code: &Secret) -> bool {
    let visible = code.expose().bytes().all(|byte| (0x20..0x7f).contains(&byte));
    visible && !code.is_empty() && code.len() <= MAX_CODE
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://login.example.com";

    fn read(query: &str, issuer: Option<&str>, issuer_is_promised: bool) -> Callback {
        let state = Secret::from("the state");
        read_callback(query, &Expected { state: &state, issuer, issuer_is_promised })
    }

    #[test]
    fn the_query_asks_for_a_code_with_a_challenge_and_nothing_speaks_for_us() {
        let parameters = [
            ("audience".to_owned(), "https://api.test/".to_owned()),
            ("redirect_uri".to_owned(), "https://evil.test/".to_owned()),
            ("response_type".to_owned(), "token".to_owned()),
        ];
        let request = AuthorizationRequest {
            client_id: "the client",
            redirect_uri: "http://127.0.0.1:7/callback",
            scope: &Scope::parse("b a").unwrap(),
            state: &"s&t".into(),
            verifier: &CodeVerifier::from_random([0; 32]),
            parameters: &parameters,
        };
        assert_eq!(
            request.query(),
            "response_type=code&client_id=the+client\
             &redirect_uri=http%3A%2F%2F127.0.0.1%3A7%2Fcallback&scope=a+b&state=s%26t\
             &code_challenge=DwBzhbb51LfusnSGBa_hqYSgo7-j8BTQnip4TOnlzRo\
             &code_challenge_method=S256&audience=https%3A%2F%2Fapi.test%2F"
        );
    }

    #[test]
    fn an_answer_speaks_for_the_server_only_with_our_state() {
        #[rustfmt::skip]
        let strangers = [
            "",
            "code=c",
            "code=c&state=",
            "code=c&state=another",
            "code=c&state=the+state2",
            "code=c&state=another&state=the+state",
            "error=access_denied",
            "error=access_denied&state=another",
            "%73tate=another&code=c",
        ];
        for query in strangers {
            assert_eq!(read(query, None, false), Callback::NotOurs, "{query}");
        }
        assert_eq!(read("code=c&state=the+state", None, false), Callback::Code("c".into()));
        assert_eq!(
            read("state=the%20state&x=1&code=c%2Fd", None, false),
            Callback::Code("c/d".into())
        );
    }

    #[test]
    fn a_bad_answer_ends_the_login_and_says_why() {
        let long = format!("code={}", "c".repeat(MAX_CODE + 1));
        #[rustfmt::skip]
        let cases = [
            ("code=c&code=c",                       CallbackError::Repeated),
            ("code=c&code=d",                       CallbackError::Repeated),
            ("code=c&state=the+state",              CallbackError::Repeated),
            ("code=c&iss=a&iss=b",                  CallbackError::Repeated),
            ("error=a&error=b",                     CallbackError::Repeated),
            ("",                                    CallbackError::Unclear),
            ("code=c&error=access_denied",          CallbackError::Unclear),
            ("code=",                               CallbackError::BadCode),
            ("code=a%0Ab",                          CallbackError::BadCode),
            ("code=%C3%A9",                         CallbackError::BadCode),
            (&long,                                 CallbackError::BadCode),
        ];
        for (query, error) in cases {
            let query = format!("state=the+state&{query}");
            assert_eq!(read(&query, None, false), Callback::Failed(error), "{query}");
        }
    }

    #[test]
    fn who_answers_is_checked_wherever_it_can_be() {
        let code = || Callback::Code("c".into());
        let failed = Callback::Failed;
        #[rustfmt::skip]
        let cases = [
            ("",                                       Some(ISSUER), false, code()),
            ("",                                       Some(ISSUER), true,  failed(CallbackError::NoIssuer)),
            ("&iss=https%3A%2F%2Flogin.example.com",   Some(ISSUER), true,  code()),
            ("&iss=https%3A%2F%2Flogin.example.com",   Some(ISSUER), false, code()),
            ("&iss=https%3A%2F%2Flogin.example.com/",  Some(ISSUER), false, failed(CallbackError::OtherIssuer)),
            ("&iss=https%3A%2F%2FLOGIN.example.com",   Some(ISSUER), false, failed(CallbackError::OtherIssuer)),
            ("&iss=https%3A%2F%2Fevil.example.com",    Some(ISSUER), true,  failed(CallbackError::OtherIssuer)),
            ("&iss=",                                  Some(ISSUER), false, failed(CallbackError::OtherIssuer)),
            ("&iss=https%3A%2F%2Flogin.example.com",   None,         false, failed(CallbackError::UnknownIssuer)),
        ];
        for (query, issuer, promised, expected) in cases {
            let query = format!("code=c&state=the+state{query}");
            assert_eq!(read(&query, issuer, promised), expected, "{query} {issuer:?} {promised}");
        }
    }

    #[test]
    fn what_the_server_says_is_cleaned() {
        let query = "state=the+state&error=access_denied&error_description=no%1b%5B31m+the+state";
        let Callback::Failed(error) = read(query, None, false) else { panic!("no code was sent") };
        let text = error.to_string();
        assert!(text.contains("access_denied: access was denied"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("the state"), "{text}");
        let odd = read("state=the+state&error=%3Cscript%3E", None, false);
        let Callback::Failed(error) = odd else { panic!("no code was sent") };
        assert_eq!(error.to_string(), "the authorization server answers an unknown error");
    }
}
