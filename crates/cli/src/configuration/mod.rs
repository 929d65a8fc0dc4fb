//! The configuration: `bellwether.toml`, read whole or refused whole.
//!
//! A file per section. Each reads its keys one by one and goes on after a mistake, so that all
//! mistakes are told at once, each with its place and what to do. What stands between sections
//! (names, references, a volatile store under a rotating credential) is checked here, last. What
//! comes out is complete: secrets are read, presets filled in, paths resolved.

mod address;
mod admin;
mod authorization_server;
pub mod budget;
mod caller;
mod credential;
pub mod duration;
mod error;
mod file;
mod findings;
mod gateway;
mod listen_at;
pub mod location;
pub mod name;
pub mod poll;
pub mod scenario;
mod secret_source;
mod section;
pub mod size;
mod store;
mod tls;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use address::{parse_endpoint, parse_listen};
pub use admin::Admin;
pub use authorization_server::{AuthorizationServer, CertificateAuthorities};
pub use caller::{Caller, CallerKey};
pub use credential::{Credential, Grant, Method};
pub use error::{ConfigurationError, Position, Problem};
pub use gateway::{Gateway, HandOut};
pub use listen_at::ListenAt;
pub use poll::{AgentList, OutputPlace, Poll};
pub use secret_source::{SecretError, SecretSource, SourcedSecret};
pub use section::Environment;
pub use store::{Store, StoreUrl};
pub use tls::Tls;

use findings::Findings;
use section::{Context, Field, Section, nearest};

/// Everything that `bellwether.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The file it was read from.
    pub file: PathBuf,
    /// The listener for callers.
    pub gateway: Gateway,
    /// The listener for operators.
    pub admin: Admin,
    /// Where tokens are kept.
    pub store: Store,
    /// Who issues tokens; at least one.
    pub authorization_servers: Vec<AuthorizationServer>,
    /// The configured ways to a token; at least one.
    pub credentials: Vec<Credential>,
    /// Who may have which tokens.
    pub callers: Vec<Caller>,
    /// What `bellwether poll` polls.
    pub polls: Vec<Poll>,
}

/// Has a name that is unique among its kind.
trait Named {
    fn name(&self) -> &str;
}

fn find<'n, T: Named>(all: &'n [T], name: &str) -> Option<&'n T> {
    all.iter().find(|one| one.name() == name)
}

impl Configuration {
    /// Reads and checks a file, and all secrets that it names. Relative paths in it begin in its
    /// directory; `environment` looks a variable up.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(path: &Path, environment: Environment<'_>) -> Result<Self, ConfigurationError> {
        let text = file::read(path, file::Protection::Settings)
            .map_err(|message| ConfigurationError::whole_file(path, &message))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut context = Context { findings: Findings::new(&text), directory, environment };
        let configuration = read(&mut context, &text, path);
        match configuration {
            Some(configuration) if context.findings.is_empty() => Ok(configuration),
            Some(_) | None => Err(ConfigurationError::new(path, context.findings.into_problems())),
        }
    }

    /// The authorization server of a credential.
    pub fn authorization_server(&self, name: &str) -> Option<&AuthorizationServer> {
        find(&self.authorization_servers, name)
    }

    /// The credential of this name.
    pub fn credential(&self, name: &str) -> Option<&Credential> {
        find(&self.credentials, name)
    }

    /// The poll of this name.
    pub fn poll(&self, name: &str) -> Option<&Poll> {
        find(&self.polls, name)
    }

    /// The caller of this name.
    pub fn caller(&self, name: &str) -> Option<&Caller> {
        find(&self.callers, name)
    }
}

fn read(context: &mut Context<'_>, text: &str, path: &Path) -> Option<Configuration> {
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            context.findings.hide_doubtful_line(span.start);
            context.findings.add(span, "", format!("is no TOML: {}", error.message()));
            return None;
        }
    };
    let mut root = Section::root(&document);
    let gateway = one_section(context, root.optional("gateway"));
    let admin = one_section(context, root.optional("admin"));
    let store_field = root.optional("store");
    let store_given = store_field.is_some();
    let store = one_section(context, store_field);
    let servers = sections(context, required(&mut root, "authorization_server"));
    let credentials = sections(context, required(&mut root, "credential"));
    let callers = sections(context, root.optional("caller"));
    let polls = sections(context, root.optional("poll"));
    root.finish(context);

    let (gateway, gateway_listen) =
        gateway.map_or_else(Default::default, |section| gateway::read(context, section));
    let (admin, admin_places) =
        admin.map_or_else(Default::default, |section| admin::read(context, section));
    let (store, store_url) =
        if store_given && store.is_none() { (None, None) } else { store::read(context, store) };
    let declared = Declared {
        authorization_servers: declare(context, &servers),
        credentials: declare(context, &credentials),
    };
    declare(context, &callers);
    declare(context, &polls);
    let servers: Vec<_> = servers
        .into_iter()
        .filter_map(|section| authorization_server::read(context, section))
        .collect();
    let (mut credentials_read, mut seeds) = (Vec::new(), Vec::new());
    for section in credentials {
        let seed = section.peek("refresh_token");
        if let Some(credential) = credential::read(context, section, &declared, &servers) {
            credentials_read.push(credential);
            seeds.push(seed);
        }
    }
    let credentials = credentials_read;
    let callers: Vec<_> = callers
        .into_iter()
        .filter_map(|section| caller::read(context, section, &declared))
        .collect();

    let polls =
        polls.into_iter().filter_map(|section| poll::read(context, section, &declared)).collect();

    if gateway.listen.iter().any(|place| place.collides(&admin.listen)) {
        let place = admin_places.listen.clone().or(gateway_listen).unwrap_or(0..0);
        let message = format!("{} is the gateway's too; choose another", admin.listen);
        context.findings.add(place, "admin.listen", message);
    }
    check_keys(context, &admin, &admin_places, &callers);
    check_peers(context, &callers);
    check_volatile(context, store.as_ref(), store_url.as_ref(), &credentials);
    check_grants(context, &servers, &credentials, &seeds);
    Some(Configuration {
        file: path.to_owned(),
        gateway,
        admin,
        store: store?,
        authorization_servers: servers,
        credentials,
        callers: callers.into_iter().map(|(caller, _)| caller).collect(),
        polls,
    })
}

fn one_section<'d>(context: &mut Context<'_>, field: Option<Field<'d>>) -> Option<Section<'d>> {
    field?.section(context)
}

fn sections<'d>(context: &mut Context<'_>, field: Option<Field<'d>>) -> Vec<Section<'d>> {
    field.map(|field| field.sections(context)).unwrap_or_default()
}

/// A configuration without these does nothing, so somebody forgot them.
fn required<'d>(root: &mut Section<'d>, key: &'static str) -> Option<Field<'d>> {
    let field = root.optional(key);
    if field.is_none() {
        root.missing(key, format!("is missing; add one under [[{key}]]"));
    }
    field
}

/// The names that sections give themselves, whatever else is wrong with them, so that one mistake
/// is not reported as two.
struct Declared {
    authorization_servers: Vec<String>,
    credentials: Vec<String>,
}

impl Declared {
    fn authorization_server<'d>(
        &self,
        context: &mut Context<'_>,
        field: &Field<'d>,
    ) -> Option<&'d str> {
        refer(context, field, &self.authorization_servers, "authorization_server")
    }

    fn credential<'d>(&self, context: &mut Context<'_>, field: &Field<'d>) -> Option<&'d str> {
        refer(context, field, &self.credentials, "credential")
    }
}

/// The name of something that is there.
fn refer<'d>(
    context: &mut Context<'_>,
    field: &Field<'d>,
    names: &[String],
    kind: &str,
) -> Option<&'d str> {
    let name = field.string(context)?;
    if names.iter().any(|known| known == name) {
        return Some(name);
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let advice = match (nearest(name, &known), known.is_empty()) {
        (Some(known), _) => format!("did you mean {known:?}?"),
        (None, true) => format!("add it under [[{kind}]]"),
        (None, false) => format!("there are {}", known.join(", ")),
    };
    field.refuse(context, format!("no {kind} is called {name:?}; {advice}"))
}

/// The names of all sections of one kind; a name that is taken is reported.
fn declare(context: &mut Context<'_>, sections: &[Section<'_>]) -> Vec<String> {
    let mut names: Vec<(String, usize)> = Vec::new();
    for section in sections {
        let Some(field) = section.peek("name") else {
            continue;
        };
        let Some(name) = field.as_str() else { continue };
        match names.iter().find(|(known, _)| known == name) {
            Some((_, first)) => {
                let message = format!("{name:?} is taken in line {first}; choose another name");
                field.refuse::<()>(context, message);
            }
            None => {
                let line = context.findings.line_number(field.span().start);
                names.push((name.to_owned(), line));
            }
        }
    }
    names.into_iter().map(|(name, _)| name).collect()
}

/// A key tells who somebody is, so nobody shares one.
fn check_keys(
    context: &mut Context<'_>,
    admin: &Admin,
    places: &admin::Places,
    callers: &[(Caller, caller::Places<'_>)],
) {
    let keys: Vec<_> = callers
        .iter()
        .flat_map(|(caller, places)| {
            let keys = caller.keys.iter().zip(&places.keys);
            keys.map(move |(key, field)| (caller, &key.secret.value, field))
        })
        .collect();
    for (index, (caller, key, field)) in keys.iter().enumerate() {
        if let Some((other, ..)) = keys[..index].iter().find(|(_, other, _)| other == key) {
            let message = if other.name == caller.name {
                "is there twice; remove one".to_owned()
            } else {
                format!("is the key of caller {:?} too; make one for each", other.name)
            };
            field.refuse::<()>(context, message);
        }
        let operators = admin.key.as_ref().filter(|operators| operators.value == **key);
        if let (Some(_), Some(place)) = (operators, &places.key) {
            let message = format!("is the key of caller {:?} too; make another", caller.name);
            context.findings.add(place.clone(), "admin.key", message);
        }
    }
}

/// A peer that is known without a key is one caller.
fn check_peers(context: &mut Context<'_>, callers: &[(Caller, caller::Places<'_>)]) {
    let keyless: Vec<_> = callers.iter().filter(|(caller, _)| caller.keys.is_empty()).collect();
    for (index, (caller, places)) in keyless.iter().enumerate() {
        for (other, _) in &keyless[..index] {
            let message =
                format!("is where caller {:?} comes from too; give one of them a key", other.name);
            if let (Some(field), true) = (&places.user, caller.user == other.user) {
                field.refuse::<()>(context, message.clone());
            }
            let shared = |name: &String| other.certificates.contains(name);
            if let (Some(field), true) =
                (&places.certificate, caller.certificates.iter().any(shared))
            {
                field.refuse::<()>(context, message);
            }
        }
    }
}

/// A rotated refresh token that is kept in memory alone is lost with the process.
fn check_volatile(
    context: &mut Context<'_>,
    store: Option<&Store>,
    url: Option<&Field<'_>>,
    credentials: &[Credential],
) {
    let volatile = store.is_some_and(|store| store.url == StoreUrl::Memory);
    let rotating = credentials.iter().find(|one| one.grant == Grant::RefreshToken);
    if let (true, Some(field), Some(credential)) = (volatile, url, rotating) {
        let message = format!(
            "memory: would lose the refresh token of credential {:?} at the next restart; write \
             \"sqlite:bellwether.db\"",
            credential.name
        );
        field.refuse::<()>(context, message);
    }
}

/// One grant, one credential: two that spend the same refresh token end each other's.
fn check_grants(
    context: &mut Context<'_>,
    servers: &[AuthorizationServer],
    credentials: &[Credential],
    seeds: &[Option<Field<'_>>],
) {
    let endpoint = |one: &Credential| {
        find(servers, &one.authorization_server).map(|server| &server.token_endpoint)
    };
    let is_same_grant = |one: &Credential, other: &Credential| {
        let (Some(seed), Some(others)) = (&one.refresh_token, &other.refresh_token) else {
            return false;
        };
        one.client_id == other.client_id
            && endpoint(one) == endpoint(other)
            && (seed.value == others.value || seed.source == others.source)
    };
    for (index, (credential, seed)) in credentials.iter().zip(seeds).enumerate() {
        let mut before = credentials[..index].iter();
        let other = before.find(|other| is_same_grant(credential, other));
        if let (Some(other), Some(seed)) = (other, seed) {
            let message = format!(
                "is what credential {:?} spends too, and {:?} would end what it holds: give the \
                 callers of both that one, or obtain a refresh token for each with `bellwether \
                 login`",
                other.name, credential.name
            );
            seed.refuse::<()>(context, message);
        }
    }
}
