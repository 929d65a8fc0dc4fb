//! The token request (RFC 6749 §3.2, §4.1.3, §4.4.2, §6; RFC 8628 §3.4).

use std::fmt;

use form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use crate::basic::encode_basic;
use crate::{Client, ClientAuthentication, CodeVerifier, Scope, Secret};

/// The media type of every token request.
pub const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// The authorization grant behind a token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// `client_credentials` (RFC 6749 §4.4): the client asks for itself and may ask again.
    ClientCredentials,
    /// `refresh_token` (RFC 6749 §6): to be sent once, for the server may count the second use as
    /// theft.
    RefreshToken(Secret),
    /// `authorization_code` (RFC 6749 §4.1) with PKCE (RFC 7636): good once.
    AuthorizationCode {
        /// What came to the redirect URI.
        code: Secret,
        /// The redirect URI of the authorization request, exactly.
        redirect_uri: String,
        /// Whose challenge was in the authorization request.
        verifier: CodeVerifier,
    },
    /// The device code (RFC 8628): asked about until the user has decided.
    DeviceCode(Secret),
}

impl Grant {
    /// The value of `grant_type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken(_) => "refresh_token",
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::DeviceCode(_) => "urn:ietf:params:oauth:grant-type:device_code",
        }
    }
}

/// What is asked of the token endpoint, whoever asks.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// What entitles the client to a token.
    pub grant: Grant,
    /// The scope asked for; empty asks for none and leaves it to the server.
    pub scope: Scope,
    /// Further parameters in the order they are sent: `audience`, `resource`, vendors' own. Each is
    /// part of what makes the token this one and no other.
    pub parameters: Vec<(String, String)>,
}

/// A token request ready for the wire, to be sent as [`CONTENT_TYPE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRequest {
    /// The whole value of the `Authorization` header, where the client authenticates there.
    pub authorization: Option<Secret>,
    /// The body.
    pub body: Secret,
}

impl TokenRequest {
    /// A request with this grant, no scope and no further parameters.
    pub fn new(grant: Grant) -> Self {
        Self { grant, scope: Scope::default(), parameters: Vec::new() }
    }

    /// Whether `name` is set by the grant, the scope or the client, and so is never taken from
    /// [`parameters`](Self::parameters): a parameter sent twice is an error (RFC 6749 §3.2).
    pub fn is_reserved(name: &str) -> bool {
        const RESERVED: [&str; 9] = [
            "client_id",
            "client_secret",
            "code",
            "code_verifier",
            "device_code",
            "grant_type",
            "redirect_uri",
            "refresh_token",
            "scope",
        ];
        RESERVED.contains(&name)
    }

    /// The parameters of the body in order, without client authentication. Reserved names among
    /// [`parameters`](Self::parameters) are left out.
    pub fn form(&self) -> Vec<(&str, &str)> {
        let mut form = vec![("grant_type", self.grant.name())];
        match &self.grant {
            Grant::ClientCredentials => {}
            Grant::RefreshToken(refresh_token) => {
                form.push(("refresh_token", refresh_token.expose()));
            }
            Grant::AuthorizationCode { code, redirect_uri, verifier } => {
                form.push(("code", code.expose()));
                form.push(("redirect_uri", redirect_uri));
                form.push(("code_verifier", verifier.expose()));
            }
            Grant::DeviceCode(device_code) => form.push(("device_code", device_code.expose())),
        }
        if !self.scope.is_empty() {
            form.push(("scope", self.scope.as_str()));
        }
        let further = self.parameters.iter().filter(|(name, _)| !Self::is_reserved(name));
        form.extend(further.map(|(name, value)| (name.as_str(), value.as_str())));
        form
    }

    /// The request as `client` sends it. The client authenticates one way (RFC 6749 §2.3): with
    /// `Basic` nothing of it is in the body.
    pub fn encode(&self, client: &Client) -> EncodedRequest {
        encode_for(client, self.form())
    }
}

/// A form with the client's authentication, in the one place where it belongs.
pub(crate) fn encode_for<'a>(
    client: &'a Client,
    mut form: Vec<(&'a str, &'a str)>,
) -> EncodedRequest {
    let authorization = match &client.authentication {
        ClientAuthentication::Basic(secret) => Some(encode_basic(&client.id, secret)),
        ClientAuthentication::Post(secret) => {
            form.push(("client_id", &client.id));
            form.push(("client_secret", secret.expose()));
            None
        }
        ClientAuthentication::None => {
            form.push(("client_id", &client.id));
            None
        }
    };
    EncodedRequest { authorization, body: encode_form(&form) }
}

fn encode_form(form: &[(&str, &str)]) -> Secret {
    // Three bytes for one at most, so the buffer never grows and leaves a copy behind.
    let room = form.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut body = Zeroizing::new(String::with_capacity(room));
    for (name, value) in form {
        if !body.is_empty() {
            body.push('&');
        }
        body.extend(byte_serialize(name.as_bytes()));
        body.push('=');
        body.extend(byte_serialize(value.as_bytes()));
    }
    Secret::from(body.as_str())
}

/// Names the further parameters without their values: a vendor's own may be secret.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.parameters.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("TokenRequest")
            .field("grant", &self.grant)
            .field("scope", &self.scope)
            .field("parameters", &names)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(authentication: ClientAuthentication) -> Client {
        Client { id: "the client".to_owned(), authentication }
    }

    fn request() -> TokenRequest {
        TokenRequest {
            grant: Grant::RefreshToken("r&t=1".into()),
            scope: Scope::parse("b a").unwrap(),
            parameters: vec![
                ("resource".to_owned(), "https://one.test/".to_owned()),
                ("resource".to_owned(), "https://two.test/".to_owned()),
            ],
        }
    }

    #[test]
    fn each_client_authentication_has_one_place() {
        const FORM: &str = "grant_type=refresh_token&refresh_token=r%26t%3D1&scope=a+b\
             &resource=https%3A%2F%2Fone.test%2F&resource=https%3A%2F%2Ftwo.test%2F";
        let cases = [
            (
                ClientAuthentication::Basic("s:1".into()),
                Some("Basic dGhlK2NsaWVudDpzJTNBMQ=="),
                FORM.to_owned(),
            ),
            (
                ClientAuthentication::Post("s:1".into()),
                None,
                format!("{FORM}&client_id=the+client&client_secret=s%3A1"),
            ),
            (ClientAuthentication::None, None, format!("{FORM}&client_id=the+client")),
        ];
        for (authentication, authorization, body) in cases {
            let encoded = request().encode(&client(authentication.clone()));
            assert_eq!(encoded.authorization.as_ref().map(Secret::expose), authorization);
            assert_eq!(encoded.body.expose(), body, "{authentication:?}");
        }
    }

    #[test]
    fn a_code_goes_with_its_redirect_uri_and_its_verifier() {
        let grant = Grant::AuthorizationCode {
            code: "c/1".into(),
            redirect_uri: "http://127.0.0.1:7/callback".to_owned(),
            verifier: CodeVerifier::from_random([0; 32]),
        };
        let encoded = TokenRequest::new(grant).encode(&client(ClientAuthentication::None));
        assert_eq!(
            encoded.body.expose(),
            "grant_type=authorization_code&code=c%2F1\
             &redirect_uri=http%3A%2F%2F127.0.0.1%3A7%2Fcallback\
             &code_verifier=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&client_id=the+client"
        );
    }

    #[test]
    fn the_least_request() {
        let request = TokenRequest::new(Grant::ClientCredentials);
        let encoded = request.encode(&client(ClientAuthentication::Basic("s".into())));
        assert_eq!(encoded.body.expose(), "grant_type=client_credentials");
    }

    #[test]
    fn further_parameters_cannot_speak_for_the_client() {
        let mut request = TokenRequest::new(Grant::ClientCredentials);
        for name in
            ["grant_type", "scope", "client_id", "client_secret", "refresh_token", "audience"]
        {
            request.parameters.push((name.to_owned(), "x".to_owned()));
        }
        assert_eq!(request.form(), [("grant_type", "client_credentials"), ("audience", "x")]);
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut request = request();
        request.parameters.push(("assertion".to_owned(), "CANARY".to_owned()));
        request.grant = Grant::RefreshToken("CANARY".into());
        let client = client(ClientAuthentication::Post("CANARY".into()));
        let shown = format!("{request:?} {client:?} {:?}", request.encode(&client));
        assert!(!shown.contains("CANARY"), "{shown}");
        assert!(shown.contains("assertion"), "{shown}");
    }
}
