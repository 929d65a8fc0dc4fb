//! What the broker is told of an authorization server and of a credential.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bellwether_lifecycle::{Allowance, Demand, Policy, Quota, Replay};
use bellwether_oauth::{Client, Grant, Scope, Secret, TokenRequest};
use bellwether_store::{Digest, Key, Keyring};
use url::Url;

use crate::provider::Rotation;
use crate::transport::Transport;

/// An authorization server and how it behaves.
#[derive(Debug)]
pub struct AuthorizationServer {
    /// Its name in the configuration.
    pub name: String,
    /// Where token requests go (RFC 6749 §3.2).
    pub token_endpoint: Url,
    /// What a second use of a refresh token does.
    pub rotation: Rotation,
    /// How long a server that tolerates a second use does so.
    pub rotation_window: Option<Duration>,
    /// When a token of unknown lifetime is renewed.
    pub default_lifetime: Duration,
    /// The longest that a token request may take; its transport gives up no later. A lease lasts
    /// twice as long, and so long a holder that may only be paused is waited for.
    pub request_limit: Duration,
    /// How many token requests each client may make.
    pub allowance: Allowance,
    /// A path of the resource server that tells whether a token still lives.
    pub verify: Option<Url>,
    /// How it is reached.
    pub transport: Arc<dyn Transport>,
}

/// How a credential obtains its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obtain {
    /// `client_credentials` (RFC 6749 §4.4).
    ClientCredentials,
    /// `refresh_token` (RFC 6749 §6).
    RefreshToken {
        /// Used while the store holds none.
        seed: Option<Secret>,
    },
}

/// One configured way to a token, as it is given to a broker.
#[derive(Clone, Debug)]
pub struct CredentialSettings {
    /// Its name.
    pub name: String,
    /// Where its rows are in the store, without the member.
    pub key: Key,
    /// Whom to ask.
    pub authorization_server: Arc<AuthorizationServer>,
    /// Who asks.
    pub client: Client,
    /// By which grant.
    pub obtain: Obtain,
    /// The scope asked for.
    pub scope: Scope,
    /// Further parameters of the token request, each part of the token's identity.
    pub parameters: Vec<(String, String)>,
    /// Access tokens held at once.
    pub pool: u16,
    /// The API's limit for each of them.
    pub quota: Option<Quota>,
    /// Who is renewed for.
    pub demand: Demand,
    /// Whether the authorization server has yet to confirm the client's secret.
    pub unverified: bool,
}

/// The same as a broker keeps it: what is its own, and what many have alike.
#[derive(Clone, Debug)]
pub struct Credential {
    pub(crate) name: Arc<str>,
    pub(crate) key: Key,
    pub(crate) client: Client,
    pub(crate) terms: Arc<Terms>,
}

/// What credentials of one kind have alike; each field as in [`CredentialSettings`].
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented there")]
pub struct Terms {
    pub authorization_server: Arc<AuthorizationServer>,
    pub obtain: Obtain,
    pub scope: Scope,
    pub parameters: Box<[(String, String)]>,
    pub pool: u16,
    pub quota: Option<Quota>,
    pub demand: Demand,
    pub unverified: bool,
}

/// A credential reads as if it had its terms to itself.
impl Deref for Credential {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl Credential {
    /// `shared` gives the terms of another credential where they are the same.
    pub(crate) fn new(
        settings: CredentialSettings,
        shared: impl FnOnce(Terms) -> Arc<Terms>,
    ) -> Self {
        let CredentialSettings { name, key, authorization_server, mut client, obtain, .. } =
            settings;
        let CredentialSettings { scope, parameters, pool, quota, demand, unverified, .. } =
            settings;
        client.id.shrink_to_fit();
        let parameters = parameters.into();
        let name = if *name == *key.name() { key.shared_name() } else { name.into() };
        let terms = Terms {
            authorization_server,
            obtain,
            scope,
            parameters,
            pool,
            quota,
            demand,
            unverified,
        };
        Self { name, key, client, terms: shared(terms) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its rows are in the store, without the member.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Who asks.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What it was given as, to be changed and given again.
    pub fn to_settings(&self) -> CredentialSettings {
        let Terms {
            authorization_server,
            obtain,
            scope,
            parameters,
            pool,
            quota,
            demand,
            unverified,
        } = Terms::clone(&self.terms);
        CredentialSettings {
            name: self.name.to_string(),
            key: self.key.clone(),
            authorization_server,
            client: self.client.clone(),
            obtain,
            scope,
            parameters: parameters.into(),
            pool,
            quota,
            demand,
            unverified,
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy {
            pool: self.pool,
            default_lifetime: self.authorization_server.default_lifetime,
            demand: self.demand,
            replay: match self.obtain {
                Obtain::ClientCredentials => Replay::Free,
                Obtain::RefreshToken { .. } => self.replay(),
            },
            ..Policy::DEFAULT
        }
    }

    fn replay(&self) -> Replay {
        let window = self.authorization_server.rotation_window;
        match self.authorization_server.rotation {
            Rotation::None | Rotation::UntilAcknowledged => Replay::Free,
            Rotation::NewPair | Rotation::SamePair => {
                window.map_or(Replay::LastResort, Replay::Within)
            }
            Rotation::LastPair => window.map_or(Replay::LastResort, Replay::LastPair),
            Rotation::Strict => Replay::LastResort,
        }
    }

    /// The token request, with this refresh token if the grant needs one.
    pub(crate) fn request(&self, refresh_token: Option<&Secret>) -> Option<TokenRequest> {
        let grant = match (&self.obtain, refresh_token) {
            (Obtain::ClientCredentials, _) => Grant::ClientCredentials,
            (Obtain::RefreshToken { .. }, Some(token)) => Grant::RefreshToken(token.clone()),
            (Obtain::RefreshToken { .. }, None) => return None,
        };
        let (scope, parameters) = (self.scope.clone(), self.parameters.to_vec());
        Some(TokenRequest { grant, scope, parameters })
    }

    /// Digest of what makes its token this one and no other. The client's secret is not part of
    /// it: a secret that is changed leaves the token good.
    pub(crate) fn identity(&self, keyring: &Keyring) -> Digest {
        let parts = Identity {
            token_endpoint: self.authorization_server.token_endpoint.as_str(),
            client: &self.client.id,
            grant: match self.obtain {
                Obtain::ClientCredentials => "client_credentials",
                Obtain::RefreshToken { .. } => "refresh_token",
            },
            scope: self.scope.as_str(),
            parameters: &self.parameters,
        };
        keyring.digest("identity", parts.to_bytes().as_slice())
    }

    /// Digest of who issues the refresh token, and to whom.
    pub(crate) fn issued_to(&self, keyring: &Keyring) -> Digest {
        let parts = Identity {
            token_endpoint: self.authorization_server.token_endpoint.as_str(),
            client: &self.client.id,
            grant: "refresh_token",
            scope: "",
            parameters: &[],
        };
        keyring.digest("issued to", parts.to_bytes().as_slice())
    }

    pub(crate) fn secret_digest(&self, keyring: &Keyring) -> String {
        let secret = self.client.authentication.secret().map_or("", Secret::expose);
        keyring.digest("client secret", secret.as_bytes()).to_hex()
    }
}

impl Terms {
    /// The configured refresh token.
    pub(crate) fn seed(&self) -> Option<&Secret> {
        match &self.obtain {
            Obtain::ClientCredentials => None,
            Obtain::RefreshToken { seed } => seed.as_ref(),
        }
    }

    /// Whether its grant is spent by use.
    pub fn spends(&self) -> bool {
        match self.obtain {
            Obtain::ClientCredentials => false,
            Obtain::RefreshToken { .. } => true,
        }
    }
}

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            authorization_server,
            obtain,
            scope,
            parameters,
            pool,
            quota,
            demand,
            unverified,
        } = self;
        Arc::ptr_eq(authorization_server, &other.authorization_server)
            && (obtain, scope, parameters) == (&other.obtain, &other.scope, &other.parameters)
            && (pool, quota, demand) == (&other.pool, &other.quota, &other.demand)
            && *unverified == other.unverified
    }
}

/// The terms of the credentials that were added last. Most are added beside others like them, and
/// looking at a few finds these.
#[derive(Debug, Default)]
pub(crate) struct LatestTerms(Mutex<VecDeque<Weak<Terms>>>);

impl LatestTerms {
    /// How many are looked at.
    const MOST: usize = 16;

    /// The same terms, kept once.
    pub(crate) fn share(&self, terms: Terms) -> Arc<Terms> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.retain(|known| known.strong_count() > 0);
        let same = |known: &Weak<Terms>| known.upgrade().filter(|known| **known == terms);
        if let Some(known) = latest.iter().find_map(same) {
            return known;
        }
        let terms = Arc::new(terms);
        latest.truncate(Self::MOST - 1);
        latest.push_front(Arc::downgrade(&terms));
        terms
    }
}

/// What makes a token this one and no other, without the client's secret.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// Where it is asked for.
    pub token_endpoint: &'a str,
    /// Who asks.
    pub client: &'a str,
    /// By which grant.
    pub grant: &'a str,
    /// With which scope.
    pub scope: &'a str,
    /// With which further parameters.
    pub parameters: &'a [(String, String)],
}

impl Identity<'_> {
    /// Unambiguous bytes: every part is preceded by its length.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        let mut part = |text: &str| {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        for text in [self.token_endpoint, self.client, self.grant, self.scope] {
            part(text);
        }
        for (name, value) in self.parameters {
            part(name);
            part(value);
        }
        bytes
    }
}

impl fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("client", &self.client).finish_non_exhaustive()
    }
}
