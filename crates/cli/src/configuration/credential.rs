//! `[[credential]]`: one configured way to a token.

use bellwether_broker::provider::Budget;
use bellwether_oauth::{AuthorizationRequest, Client, ClientAuthentication, Scope};

use super::authorization_server::AuthorizationServer;
use super::gateway::one_of;
use super::secret_source::{self, SourcedSecret};
use super::section::{Context, Field, Section};
use super::{Declared, Named, budget, find, name};

/// One configured way to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its name in this configuration.
    pub name: String,
    /// The name of the authorization server that issues its tokens.
    pub authorization_server: String,
    /// How a token is got.
    pub grant: Grant,
    /// The client identifier.
    pub client_id: String,
    /// The client secret; none for a public client.
    pub client_secret: Option<SourcedSecret>,
    /// How the client authenticates.
    pub client_authentication: Method,
    /// What is asked for; empty when nothing is.
    pub scope: Scope,
    /// Further parameters of the token request, `audience` and `resource` perhaps repeated.
    pub parameters: Vec<(String, String)>,
    /// Access tokens held at once, 1 to 1000.
    pub pool: u16,
    /// What one access token may ask of the resource server.
    pub api_budget: Option<Budget>,
    /// The refresh token to begin with; a newer one in the store wins. Without one somebody logs in.
    pub refresh_token: Option<SourcedSecret>,
    /// Further parameters of a login's authorization request, beside [`parameters`](Self::parameters).
    pub authorization_parameters: Vec<(String, String)>,
    /// The port of the redirect URI, `http://127.0.0.1:PORT/callback`; without one any that is free
    /// (RFC 8252 §7.3).
    pub redirect_port: Option<u16>,
}

/// How a token is got (RFC 6749 §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §6.
    RefreshToken,
}

/// How a client authenticates (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// In the header `Authorization`.
    Basic,
    /// In the body.
    Post,
    /// Not at all: a public client.
    None,
}

/// Set by their own keys, or no concern of a configured credential.
const RESERVED: [&str; 13] = [
    "assertion",
    "client_assertion",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "grant_type",
    "password",
    "redirect_uri",
    "refresh_token",
    "scope",
    "username",
];

/// The parameters that a token request may repeat (RFC 8707, RFC 8693).
const REPEATABLE: [&str; 2] = ["audience", "resource"];

impl Named for Credential {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Credential {
    /// The client as its authorization server knows it, with the secret as it was read.
    pub fn client(&self) -> Client {
        let secret = self.client_secret.as_ref().map(|secret| secret.value.clone());
        let authentication = match (self.client_authentication, secret) {
            (Method::Basic, Some(secret)) => ClientAuthentication::Basic(secret),
            (Method::Post, Some(secret)) => ClientAuthentication::Post(secret),
            (Method::None, _) | (_, None) => ClientAuthentication::None,
        };
        Client { id: self.client_id.clone(), authentication }
    }
}

impl Grant {
    /// The name it has in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "client_credentials" => Ok(Self::ClientCredentials),
            "refresh_token" => Ok(Self::RefreshToken),
            _ => Err(one_of(name, &["client_credentials", "refresh_token"])),
        }
    }
}

impl Method {
    /// The name it has in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Post => "post",
            Self::None => "none",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "basic" => Ok(Self::Basic),
            "post" => Ok(Self::Post),
            "none" => Ok(Self::None),
            _ => Err(one_of(name, &["basic", "post", "none"])),
        }
    }
}

/// `None` when something in the section is wrong; then it was reported.
pub(super) fn read(
    context: &mut Context<'_>,
    mut section: Section<'_>,
    declared: &Declared,
    servers: &[AuthorizationServer],
) -> Option<Credential> {
    let name =
        section.required("name", "\"NAME\"").and_then(|field| field.parse(context, name::check));
    let server_name = section
        .required("authorization_server", "\"NAME\", the name of one")
        .and_then(|field| declared.authorization_server(context, &field));
    let provider = server_name.and_then(|name| find(servers, name)?.provider);
    let grant = section
        .required("grant", "\"client_credentials\" or \"refresh_token\"")
        .and_then(|field| field.parse(context, Grant::parse));
    let client_id = section
        .required("client_id", "\"…\"")
        .and_then(|field| field.parse(context, check_client_id));

    let secret_field = section.optional("client_secret");
    let has_secret = secret_field.is_some();
    let client_secret = secret_field.and_then(|field| secret_source::read(context, &field));
    let in_body = provider.is_some_and(|provider| provider.secret_in_body);
    let client_authentication =
        read_authentication(context, &mut section, grant, has_secret, in_body);

    let scope = section.optional("scope").map(|field| read_scope(context, &field));
    let parameters = section.optional("parameters").map(|field| read_parameters(context, &field));
    let pool = section.optional("pool").map(|field| read_pool(context, &field, grant));
    let api_budget = section
        .optional("api_budget")
        .map(|field| field.parse(context, budget::parse))
        .unwrap_or_else(|| provider.and_then(|provider| provider.api_budget));
    let refresh_token = section
        .optional("refresh_token")
        .and_then(|field| read_refresh_token(context, &field, grant));
    let authorization_parameters = section
        .optional("authorization_parameters")
        .map(|field| read_authorization_parameters(context, &field, grant));
    let redirect_port = section
        .optional("redirect_port")
        .and_then(|field| read_redirect_port(context, &field, grant));
    section.finish(context);
    Some(Credential {
        name: name?.to_owned(),
        authorization_server: server_name?.to_owned(),
        grant: grant?,
        client_id: client_id?.to_owned(),
        client_secret,
        client_authentication: client_authentication?,
        scope: scope.unwrap_or_else(|| Some(Scope::default()))?,
        parameters: parameters.unwrap_or_else(|| Some(Vec::new()))?,
        pool: pool.unwrap_or(Some(1))?,
        api_budget,
        refresh_token,
        authorization_parameters: authorization_parameters.unwrap_or_else(|| Some(Vec::new()))?,
        redirect_port,
    })
}

fn check_client_id(text: &str) -> Result<&str, &'static str> {
    if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
        return Err(
            "must not be empty, nor have white space around it or a control character in it",
        );
    }
    Ok(text)
}

/// The method, by default the one that suits the secret and the authorization server.
fn read_authentication(
    context: &mut Context<'_>,
    section: &mut Section<'_>,
    grant: Option<Grant>,
    has_secret: bool,
    in_body: bool,
) -> Option<Method> {
    const WRITE: &str = "write client_secret = { env = \"NAME\" } or { file = \"PATH\" }";
    let field = section.optional("client_authentication");
    let method = match &field {
        Some(field) => field.parse(context, Method::parse)?,
        None if has_secret && in_body => Method::Post,
        None if has_secret => Method::Basic,
        None => Method::None,
    };
    if let (Method::None, Some(field), true) = (method, &field, has_secret) {
        return field.refuse(context, "leaves the client_secret unused; remove one of the two");
    }
    if let (Method::Basic | Method::Post, false) = (method, has_secret) {
        let message =
            format!("is missing for client_authentication {:?}; {WRITE}", method.as_str());
        section.missing("client_secret", message);
        return None;
    }
    if let (Method::None, Some(Grant::ClientCredentials)) = (method, grant) {
        let message =
            format!("is missing: client_credentials is for confidential clients; {WRITE}");
        section.missing("client_secret", message);
        return None;
    }
    Some(method)
}

/// Scope tokens in a list, or in a string with spaces between them.
fn read_scope(context: &mut Context<'_>, field: &Field<'_>) -> Option<Scope> {
    if !field.is_array() {
        return field.parse(context, Scope::parse);
    }
    let items = field.items(context)?;
    let tokens: Option<Vec<&str>> = items.iter().map(|item| item.string(context)).collect();
    match Scope::from_tokens(tokens?) {
        Ok(scope) => Some(scope),
        Err(error) => field.refuse(context, format!("{error}, and each item is one token")),
    }
}

/// Values are not shown: a vendor's extra parameter may be anything.
fn read_parameters(context: &mut Context<'_>, field: &Field<'_>) -> Option<Vec<(String, String)>> {
    let fields = field.section(context)?.into_fields();
    let mut parameters = Vec::new();
    let mut sound = true;
    for (name, field) in fields {
        field.hide(context);
        match read_parameter(context, name, &field) {
            Some(values) => {
                parameters.extend(values.into_iter().map(|value| (name.to_owned(), value)));
            }
            None => sound = false,
        }
    }
    sound.then_some(parameters)
}

fn read_parameter(context: &mut Context<'_>, name: &str, field: &Field<'_>) -> Option<Vec<String>> {
    if RESERVED.contains(&name) {
        return field.refuse(context, "is no further parameter; use the credential's own keys");
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return field.refuse(context, "is no name of a parameter: visible ASCII characters");
    }
    if !field.is_array() {
        return Some(vec![field.string(context)?.to_owned()]);
    }
    if !REPEATABLE.contains(&name) {
        return field
            .refuse(context, "comes once; write one string (audience and resource repeat)");
    }
    let items = field.items(context)?;
    items.iter().map(|item| item.string(context).map(str::to_owned)).collect()
}

fn read_pool(context: &mut Context<'_>, field: &Field<'_>, grant: Option<Grant>) -> Option<u16> {
    let number = field.as_integer().and_then(|number| u16::try_from(number).ok());
    match number {
        Some(2..) if grant == Some(Grant::RefreshToken) => {
            field.refuse(context, "must be 1: a refresh token is one chain of tokens")
        }
        Some(number @ 1..=1000) => Some(number),
        Some(_) | None => field.refuse(context, "must be a whole number from 1 to 1000"),
    }
}

fn read_refresh_token(
    context: &mut Context<'_>,
    field: &Field<'_>,
    grant: Option<Grant>,
) -> Option<SourcedSecret> {
    let token = secret_source::read(context, field)?;
    if grant == Some(Grant::ClientCredentials) {
        return field
            .refuse(context, "belongs to grant = \"refresh_token\"; remove it or the grant");
    }
    Some(token)
}

/// What a login alone has a use for.
const FOR_LOGINS: &str =
    "is for logins, which grant = \"refresh_token\" has; remove it or the grant";

fn read_authorization_parameters(
    context: &mut Context<'_>,
    field: &Field<'_>,
    grant: Option<Grant>,
) -> Option<Vec<(String, String)>> {
    let parameters = read_parameters(context, field)?;
    if grant == Some(Grant::ClientCredentials) {
        return field.refuse(context, FOR_LOGINS);
    }
    match parameters.iter().find(|(name, _)| AuthorizationRequest::is_reserved(name)) {
        Some((name, _)) => field.refuse(context, format!("may not set {name}: a login does that")),
        None => Some(parameters),
    }
}

fn read_redirect_port(
    context: &mut Context<'_>,
    field: &Field<'_>,
    grant: Option<Grant>,
) -> Option<u16> {
    if grant == Some(Grant::ClientCredentials) {
        return field.refuse(context, FOR_LOGINS);
    }
    match field.as_integer().and_then(|number| u16::try_from(number).ok()) {
        Some(port @ 1..) => Some(port),
        Some(0) | None => field.refuse(context, "must be a port, from 1 to 65535"),
    }
}
