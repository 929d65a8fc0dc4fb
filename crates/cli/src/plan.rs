//! What a configuration, or flags in its place, come to: the parts that a command puts together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::{Allowance, Demand, Quota, UnixTime};
use bellwether_broker::provider::{Budget, Provider, Refusals, Rotation};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment as BrokerEnvironment, Http1,
    Obtain, TlsError, read_roots,
};
use bellwether_server::{CallerKey, CallerSettings, HandOut, ResourceServer, Vendor};
use bellwether_store::{
    Clock, Escrow, FileEscrow, HolderId, Key, Keyring, MemoryEscrow, MemoryStore, Store,
};
use bellwether_store_sqlite::SqliteStore;
use rustls::RootCertStore;
use url::Url;

use crate::configuration::{
    self as file, CertificateAuthorities, Configuration, Environment, SecretSource, StoreUrl,
};

/// For a connection; a shorter limit on the whole request holds for it too.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Access tokens that callers' own clients hold, unless told otherwise.
pub(crate) const DEFAULT_POOL: u16 = 1;

/// A configured credential and where its secret came from.
#[derive(Debug)]
pub(crate) struct PlannedCredential {
    pub(crate) settings: CredentialSettings,
    pub(crate) vendor: Arc<Vendor>,
    pub(crate) secret: Option<SecretSource>,
}

/// Every configured credential, with its vendor.
///
/// # Errors
/// When TLS cannot be set up as configured.
pub(crate) fn credentials(configuration: &Configuration) -> Result<Vec<PlannedCredential>, String> {
    let mut planned = Vec::new();
    for server in &configuration.authorization_servers {
        let vendor = Arc::new(vendor(server)?);
        let own = |credential: &&file::Credential| credential.authorization_server == server.name;
        for credential in configuration.credentials.iter().filter(own) {
            planned.push(PlannedCredential {
                settings: settings(credential, &vendor)?,
                vendor: Arc::clone(&vendor),
                secret: credential.client_secret.as_ref().map(|secret| secret.source.clone()),
            });
        }
    }
    Ok(planned)
}

/// The settings of one credential, with the secret as it was read.
pub(crate) fn settings(
    credential: &file::Credential,
    vendor: &Vendor,
) -> Result<CredentialSettings, String> {
    let key = Key::credential(&credential.name, 0).map_err(|error| error.to_string())?;
    Ok(CredentialSettings {
        name: credential.name.clone(),
        key,
        authorization_server: Arc::clone(&vendor.authorization_server),
        client: credential.client(),
        obtain: match credential.grant {
            file::Grant::ClientCredentials => Obtain::ClientCredentials,
            file::Grant::RefreshToken => Obtain::RefreshToken {
                seed: credential.refresh_token.as_ref().map(|token| token.value.clone()),
            },
        },
        scope: credential.scope.clone(),
        parameters: credential.parameters.clone(),
        pool: credential.pool,
        quota: credential.api_budget.map(quota).or(vendor.quota),
        demand: Demand::Always,
        unverified: false,
    })
}

/// The API of a vendor; its certificates are checked by the vendor's own authorities, if it has any.
fn resource_server(
    url: Option<&Url>,
    authorities: Option<&CertificateAuthorities>,
    is_http2: bool,
) -> Result<Option<Arc<ResourceServer>>, String> {
    let Some(url) = url else { return Ok(None) };
    let roots = authorities.map(|authorities| read_roots(&authorities.path)).transpose();
    let roots = roots.map_err(|error| error.to_string())?;
    let server = ResourceServer::new(url.clone(), roots).map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(if is_http2 { server.with_prior_knowledge() } else { server })))
}

fn vendor(server: &file::AuthorizationServer) -> Result<Vendor, String> {
    let transport = match &server.ca {
        Some(authorities) => {
            Http1::with_ca(&authorities.path).map_err(|error| error.to_string())?
        }
        None => transport(&server.token_endpoint)?,
    };
    let limit = server.request_timeout;
    let transport = transport.with_timeouts(CONNECT_LIMIT.min(limit), limit);
    let verify = match (&server.verify, &server.resource_server) {
        (Some(path), Some(base)) => base.join(path).ok(),
        _ => None,
    };
    let provider = server.provider;
    Ok(Vendor {
        authorization_server: Arc::new(AuthorizationServer {
            name: server.name.clone(),
            token_endpoint: server.token_endpoint.clone(),
            rotation: server.rotation,
            rotation_window: server.rotation_window,
            default_lifetime: server.default_lifetime,
            request_limit: server.request_timeout,
            allowance: server.request_budget.map_or(Allowance::DEFAULT, allowance),
            verify,
            transport: Arc::new(transport),
        }),
        resource_server: resource_server(
            server.resource_server.as_ref(),
            server.ca.as_ref(),
            server.resource_server_http2,
        )?,
        api_prefix: provider.and_then(|provider| provider.api_prefix).map(str::to_owned),
        token_path: provider.and_then(|provider| provider.token_path).map(str::to_owned),
        refusals_are_400: provider.is_some_and(|p| p.refusals == Refusals::AlwaysBadRequest),
        secret_in_body: provider.is_some_and(|provider| provider.secret_in_body),
        pool: DEFAULT_POOL,
        quota: provider.and_then(|provider| provider.api_budget).map(quota),
    })
}

/// The machine's root certificates; a machine without any can still reach `http` on loopback.
fn transport(token_endpoint: &Url) -> Result<Http1, String> {
    match Http1::new() {
        Ok(transport) => Ok(transport),
        Err(TlsError::NoRoots) if token_endpoint.scheme() == "http" => {
            Ok(Http1::with_roots(RootCertStore::empty()))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn quota(budget: Budget) -> Quota {
    Quota { requests: budget.requests, per: budget.per }
}

fn allowance(budget: Budget) -> Allowance {
    let per_second = f64::from(budget.requests) / budget.per.as_secs_f64();
    let burst = budget.burst.unwrap_or(budget.requests).max(1);
    Allowance { per_second, burst }
}

/// What `serve` is told by flags in place of a file.
#[derive(Debug)]
pub(crate) struct OpenVendor<'a> {
    pub(crate) provider: Option<&'a str>,
    pub(crate) region: Option<&'a str>,
    pub(crate) token_endpoint: Option<&'a Url>,
    pub(crate) resource_server: Option<&'a Url>,
    pub(crate) rotation: Option<Rotation>,
    pub(crate) rotation_window: Option<Duration>,
    pub(crate) pool: u16,
}

impl OpenVendor<'_> {
    /// The vendor of callers that bring their own client.
    ///
    /// # Errors
    /// What is missing or unknown, and what to say instead.
    pub(crate) fn vendor(&self) -> Result<Vendor, String> {
        let provider = self.provider.map(Provider::named).transpose().map_err(|e| e.to_string())?;
        let endpoints = match provider {
            // With its own token endpoint a vendor's region says nothing more.
            Some(provider) if self.token_endpoint.is_none() || self.region.is_some() => {
                provider.endpoints(self.region).map_err(|error| error.to_string())?
            }
            _ => Default::default(),
        };
        let parse = |text: Option<String>| text.and_then(|text| Url::parse(&text).ok());
        let token_endpoint = self
            .token_endpoint
            .cloned()
            .or_else(|| parse(endpoints.token_endpoint))
            .ok_or("name the token endpoint with --token-endpoint URL")?;
        let resource_server =
            self.resource_server.cloned().or_else(|| parse(endpoints.resource_server));
        let rotation = self.rotation.or(provider.map(|provider| provider.rotation));
        let window = self.rotation_window.or(provider.and_then(|p| p.rotation_window));
        let verify_path = provider.and_then(|provider| provider.verify);
        let transport = transport(&token_endpoint)?;
        Ok(Vendor {
            authorization_server: Arc::new(AuthorizationServer {
                name: self.provider.unwrap_or("authorization-server").to_owned(),
                token_endpoint,
                rotation: rotation.unwrap_or(Rotation::Strict),
                rotation_window: window,
                default_lifetime: Duration::from_secs(3600),
                request_limit: Duration::from_secs(10),
                allowance: Allowance::DEFAULT,
                verify: verify_path
                    .zip(resource_server.as_ref())
                    .and_then(|(path, base)| base.join(path).ok()),
                transport: Arc::new(transport),
            }),
            resource_server: self::resource_server(resource_server.as_ref(), None, false)?,
            api_prefix: provider.and_then(|provider| provider.api_prefix).map(str::to_owned),
            token_path: provider.and_then(|provider| provider.token_path).map(str::to_owned),
            refusals_are_400: provider.is_some_and(|p| p.refusals == Refusals::AlwaysBadRequest),
            secret_in_body: provider.is_some_and(|provider| provider.secret_in_body),
            pool: self.pool,
            quota: provider.and_then(|provider| provider.api_budget).map(quota),
        })
    }
}

/// Callers as the gateway knows them.
pub(crate) fn callers(configuration: &Configuration) -> Vec<CallerSettings> {
    let key = |key: &file::CallerKey| CallerKey {
        key: key.secret.value.clone(),
        expires: key.expires.map(UnixTime::from_secs),
    };
    let caller = |caller: &file::Caller| CallerSettings {
        name: caller.name.clone(),
        keys: caller.keys.iter().map(key).collect(),
        user: caller.user,
        certificates: caller.certificates.clone(),
        credentials: caller.credentials.clone(),
        paths: caller.paths.clone(),
        methods: caller.methods.clone(),
    };
    configuration.callers.iter().map(caller).collect()
}

/// What callers are given.
pub(crate) fn hand_out(configured: file::HandOut) -> HandOut {
    match configured {
        file::HandOut::Real => HandOut::Real,
        file::HandOut::Local => HandOut::Local,
    }
}

/// A store that is open, and what its rows are sealed with.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) store: Arc<dyn Store>,
    /// Beside the store, and as volatile as it.
    pub(crate) escrow: Arc<dyn Escrow>,
    pub(crate) keyring: Keyring,
    /// Where the running broker listens for the same user's commands; none for a store in memory.
    pub(crate) socket: Option<PathBuf>,
}

/// Opens a store. Without a configured key one is made beside it.
///
/// # Errors
/// What is wrong, with the file and what to do.
pub(crate) fn open_store(store: &file::Store, clock: &Arc<dyn Clock>) -> Result<OpenStore, String> {
    let configured = store.key.as_ref().map(|key| Keyring::from_secret(&key.value));
    match &store.url {
        StoreUrl::Memory => Ok(OpenStore {
            store: Arc::new(MemoryStore::new(Arc::clone(clock))),
            escrow: Arc::new(MemoryEscrow::new()),
            keyring: configured.unwrap_or_else(Keyring::ephemeral),
            socket: None,
        }),
        StoreUrl::Sqlite(path) => {
            if let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
                make_private(directory)?;
            }
            let opened = SqliteStore::open(path, Arc::clone(clock));
            let opened = opened.map_err(|error| format!("{}: {error}", path.display()))?;
            if let Some(warning) = opened.was_copied() {
                tracing::warn!("{warning}");
            }
            let keyring = match configured {
                Some(keyring) => keyring,
                None => Keyring::open_or_create(&beside(path, "key"))
                    .map_err(|error| error.to_string())?,
            };
            let escrow = FileEscrow::open(&beside(path, "escrow"));
            let escrow = Arc::new(escrow.map_err(|error| error.to_string())?);
            let socket = Some(beside(path, "sock"));
            Ok(OpenStore { store: Arc::new(opened), escrow, keyring, socket })
        }
    }
}

/// A broker over an open store, for a command.
///
/// # Errors
/// When the kernel gives no random bytes.
pub(crate) fn start_broker(opened: OpenStore, clock: Arc<dyn Clock>) -> Result<Broker, String> {
    let seed = HolderId::random().map_err(|error| error.to_string())?;
    Ok(Broker::start(BrokerEnvironment {
        clock,
        store: opened.store,
        escrow: opened.escrow,
        keyring: opened.keyring,
        seed: seed.as_u128() as u64,
    }))
}

/// `bellwether.db` → `bellwether.db.key`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn make_private(directory: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    if directory.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| format!("{}: {error}", directory.display()))
}

/// The store that a configuration, a flag or the user's own directory names.
///
/// # Errors
/// When the flag cannot be read or no place is known.
pub(crate) fn store(
    flag: Option<&str>,
    configured: Option<&file::Store>,
    environment: Environment<'_>,
) -> Result<file::Store, String> {
    if let Some(flag) = flag {
        let url = StoreUrl::parse(flag, Path::new("")).map_err(|why| format!("--store {why}"))?;
        let key = configured.and_then(|store| store.key.clone());
        return Ok(file::Store { url, key });
    }
    if let Some(store) = configured {
        return Ok(store.clone());
    }
    let path = file::location::default_store(environment)
        .ok_or("no place for the store is known; name one with --store sqlite:PATH")?;
    Ok(file::Store { url: StoreUrl::Sqlite(path), key: None })
}
