//! What the listeners are told.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use bellwether_broker::AuthorizationServer;
use bellwether_broker::lifecycle::{Quota, UnixTime};
use bellwether_broker::oauth::Secret;
use http::Method;

use crate::callers::TrustedProxy;
use crate::listener::ConnectionLimits;
use crate::upstream::ResourceServer;

/// What callers are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandOut {
    /// The authorization server's tokens.
    #[default]
    Real,
    /// Tokens that are good at this gateway alone; the real ones never leave the process.
    Local,
}

/// An authorization server with the API behind it, as the gateway sees them.
#[derive(Clone, Debug)]
pub struct Vendor {
    /// Whom to ask for tokens.
    pub authorization_server: Arc<AuthorizationServer>,
    /// Where API requests go.
    pub resource_server: Option<Arc<ResourceServer>>,
    /// Paths of the API; `None` sends every path there that is not the gateway's own.
    pub api_prefix: Option<String>,
    /// Another path of the token endpoint that the vendor's SDKs know.
    pub token_path: Option<String>,
    /// A refused client is always answered with 400, since an SDK hangs on 401.
    pub refusals_are_400: bool,
    /// Secrets of clients go into the body.
    pub secret_in_body: bool,
    /// Access tokens held for a client that a caller brings.
    pub pool: u16,
    /// The API's limit for each access token.
    pub quota: Option<Quota>,
}

/// A caller of configured credentials. It is known by a key, by its peer, or, where both are given, by
/// both together.
#[derive(Debug, Default)]
pub struct CallerSettings {
    /// Its name, and its client id at the token endpoint.
    pub name: String,
    /// What it may show; several while one is changed.
    pub keys: Vec<CallerKey>,
    /// The user it runs as, known over a unix socket.
    pub user: Option<u32>,
    /// DNS names and URIs, one of which its verified certificate has.
    pub certificates: Vec<String>,
    /// The credentials it may use.
    pub credentials: Vec<String>,
    /// The API's paths it may use, in whole segments, `/*` at the end for all below; `None` for all.
    pub paths: Option<Vec<String>>,
    /// The methods it may use on API paths; `None` for all. `GET` includes `HEAD`.
    pub methods: Option<Vec<Method>>,
}

impl CallerSettings {
    /// A caller with one key that does not end, and no limits.
    pub fn with_key(name: &str, key: Secret, credentials: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            keys: vec![CallerKey { key, expires: None }],
            credentials: credentials.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }
}

/// What a caller shows.
#[derive(Debug)]
pub struct CallerKey {
    /// 32 to 256 visible ASCII characters.
    pub key: Secret,
    /// From then on it is wrong.
    pub expires: Option<UnixTime>,
}

/// Settings of the gateway listener.
#[derive(Debug)]
pub struct GatewaySettings {
    /// What callers are given.
    pub hand_out: HandOut,
    /// Further values of `Host` that are accepted.
    pub hosts: Vec<String>,
    /// Peers that may ask for others below `/bellwether/v1`, and speak `ext_authz`.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// What SDKs put before the token path.
    pub login_path: String,
    /// What SDKs put before API paths.
    pub api_path: String,
    /// How long a spent refresh token is answered with what it gave.
    pub refresh_replay: Duration,
    /// The same for public clients.
    pub refresh_replay_public: Duration,
    /// Request bodies up to this many bytes are kept for a replay; larger ones are streamed.
    pub replay_body: usize,
    /// How long a caller may take to send a form, or a body that is kept.
    pub body_timeout: Duration,
    /// How long the resource server may take from the end of a request to the head of its answer.
    pub answer_timeout: Duration,
    /// Whether identical GETs in flight are asked once.
    pub coalesce: bool,
    /// How long an answer is kept that allows it, at most; `None` keeps none.
    pub cache: Option<Duration>,
    /// Bytes of kept answers, at most.
    pub cache_size: usize,
    /// How long nothing may move in the body of an answer, or over an upgraded connection.
    pub silence: Duration,
    /// Threads that serve callers.
    pub workers: NonZeroUsize,
    /// How many connections there may be.
    pub connections: ConnectionLimits,
    /// Callers known by name and key; without any, callers bring their own client.
    pub callers: Vec<CallerSettings>,
    /// The vendor of callers that bring their own client.
    pub open: Option<Vendor>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            hand_out: HandOut::Real,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            login_path: String::new(),
            api_path: String::new(),
            refresh_replay: Duration::from_secs(600),
            refresh_replay_public: Duration::from_secs(60),
            replay_body: 1 << 20,
            body_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(60),
            coalesce: false,
            cache: None,
            cache_size: 16 << 20,
            silence: Duration::from_secs(300),
            workers: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            connections: ConnectionLimits::default(),
            callers: Vec::new(),
            open: None,
        }
    }
}

/// Settings of the admin listener.
#[derive(Debug, Default)]
pub struct AdminSettings {
    /// What changes something needs this key; without one nothing can be changed.
    pub key: Option<Secret>,
    /// Further values of `Host` that are accepted.
    pub hosts: Vec<String>,
}
