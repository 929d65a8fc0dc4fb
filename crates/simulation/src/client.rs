//! Registered clients, and how they authenticate (RFC 6749 §2.3).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::message::Request;

/// A client as it is registered.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// The client identifier.
    pub id: String,
    /// `None` for a public client, which shows its identifier alone.
    pub secret: Option<String>,
    /// Refresh tokens that it holds from the start, each the first of a family.
    pub refresh_tokens: Vec<String>,
}

impl Client {
    /// A confidential client without refresh tokens.
    pub fn new(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), secret: Some(secret.to_owned()), refresh_tokens: Vec::new() }
    }

    /// A public client.
    pub fn public(id: &str) -> Self {
        Self { id: id.to_owned(), secret: None, refresh_tokens: Vec::new() }
    }

    /// Gives it a refresh token from the start.
    #[must_use]
    pub fn refresh_token(mut self, refresh_token: &str) -> Self {
        self.refresh_tokens.push(refresh_token.to_owned());
        self
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.id)
    }
}

/// A client's number, in the order of registration.
pub(crate) type ClientNumber = usize;

/// Why a client was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthenticationError {
    /// No client has this identifier.
    NotFound,
    /// The secret is wrong or missing.
    Failed,
    /// Two ways at once, or none that can be read.
    Malformed,
}

/// All clients of an organisation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    registered: Vec<Registered>,
    numbers: BTreeMap<Arc<str>, ClientNumber>,
    accept_any: bool,
}

#[derive(Clone)]
struct Registered {
    id: Arc<str>,
    secret: Option<String>,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// What a request shows of its client.
struct Shown<'a> {
    id: &'a str,
    secret: Option<&'a str>,
}

impl Clients {
    pub(crate) fn new(accept_any: bool) -> Self {
        Self { accept_any, ..Self::default() }
    }

    pub(crate) fn register(&mut self, id: &str, secret: Option<String>) -> ClientNumber {
        if let Some(&number) = self.numbers.get(id) {
            self.registered[number].secret = secret;
            return number;
        }
        let (number, id) = (self.registered.len(), Arc::<str>::from(id));
        self.numbers.insert(Arc::clone(&id), number);
        self.registered.push(Registered { id, secret });
        number
    }

    pub(crate) fn find(&self, id: &str) -> Option<ClientNumber> {
        self.numbers.get(id).copied()
    }

    pub(crate) fn count(&self) -> usize {
        self.registered.len()
    }

    pub(crate) fn id(&self, number: ClientNumber) -> &Arc<str> {
        &self.registered[number].id
    }

    /// Whose request this is, by the header or by the form, never by both.
    pub(crate) fn authenticate(
        &mut self,
        request: &Request,
        form: &BTreeMap<String, String>,
    ) -> Result<ClientNumber, AuthenticationError> {
        let in_form = form.get("client_id").map(String::as_str);
        let form_secret = form.get("client_secret").map(String::as_str);
        let Some(header) = request.header_value("authorization") else {
            let id = in_form.ok_or(AuthenticationError::Failed)?;
            return self.admit(&Shown { id, secret: form_secret });
        };
        let pair = basic_pair(header).ok_or(AuthenticationError::Malformed)?;
        let (id, secret) = pair.split_once(':').ok_or(AuthenticationError::Malformed)?;
        // §2.3.1 wants both parts form-encoded; SDKs send them plain. Either will do.
        let decoded = (form_decoded(id), form_decoded(secret));
        if form_secret.is_some() || in_form.is_some_and(|other| other != id && other != decoded.0) {
            return Err(AuthenticationError::Malformed);
        }
        let plain = self.admit(&Shown { id, secret: Some(secret) });
        if plain.is_ok() || (decoded.0 == id && decoded.1 == secret) {
            return plain;
        }
        self.admit(&Shown { id: &decoded.0, secret: Some(&decoded.1) }).or(plain)
    }

    fn admit(&mut self, shown: &Shown<'_>) -> Result<ClientNumber, AuthenticationError> {
        let secret = shown.secret.filter(|secret| !secret.is_empty());
        match self.find(shown.id) {
            Some(number) if self.registered[number].secret.as_deref() == secret => Ok(number),
            Some(_) => Err(AuthenticationError::Failed),
            // From now on this client has the secret that it came with.
            None if self.accept_any => Ok(self.register(shown.id, secret.map(str::to_owned))),
            None => Err(AuthenticationError::NotFound),
        }
    }
}

fn basic_pair(header: &str) -> Option<String> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()
}

fn form_decoded(text: &str) -> String {
    // `&` and `=` have no meaning inside one value.
    let guarded = text.replace('&', "%26").replace('=', "%3D");
    let value = form_urlencoded::parse(guarded.as_bytes()).next();
    value.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_authenticates_one_way_with_the_right_secret() {
        use AuthenticationError::{Failed, Malformed, NotFound};
        let basic = |pair: &str| Some(format!("Basic {}", STANDARD.encode(pair)));
        #[rustfmt::skip]
        let cases = [
            // header,                 form,                                              result
            (basic("app:s+ecret"),     "",                                                Ok(0)),
            (basic("app:s%2Becret"),   "",                                                Ok(0)),
            (basic("app:s+ecret"),     "client_id=app",                                   Ok(0)),
            (basic("app:wrong"),       "",                                                Err(Failed)),
            (basic("app:"),            "",                                                Err(Failed)),
            (basic("null:null"),       "",                                                Err(NotFound)),
            (basic("app:s+ecret"),     "client_id=other",                                 Err(Malformed)),
            (basic("app:s+ecret"),     "client_id=app&client_secret=s%2Becret",           Err(Malformed)),
            (Some("Bearer x".into()),  "client_id=app&client_secret=s%2Becret",           Err(Malformed)),
            (Some("Basic ***".into()), "",                                                Err(Malformed)),
            (None,                     "client_id=app&client_secret=s%2Becret",           Ok(0)),
            (None,                     "client_id=app",                                   Err(Failed)),
            (None,                     "client_id=phone",                                 Ok(1)),
            (None,                     "client_id=phone&client_secret=x",                 Err(Failed)),
            (None,                     "",                                                Err(Failed)),
        ];
        for (header, form, expected) in cases {
            let mut clients = Clients::new(false);
            clients.register("app", Some("s+ecret".to_owned()));
            clients.register("phone", None);
            let mut request = Request::new("POST", "/oauth/token");
            if let Some(header) = &header {
                request = request.header("Authorization", header);
            }
            let fields = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
            let result = clients.authenticate(&request, &fields);
            assert_eq!(result, expected, "header {header:?}, form {form:?}");
        }
    }

    #[test]
    fn where_any_client_is_accepted_its_first_secret_stays() {
        let mut clients = Clients::new(true);
        let form = BTreeMap::new();
        let mut ask =
            |secret| clients.authenticate(&Request::client_credentials("new", secret), &form);
        assert_eq!(ask("one"), Ok(0));
        assert_eq!(ask("two"), Err(AuthenticationError::Failed));
        assert_eq!(ask("one"), Ok(0));
    }
}
