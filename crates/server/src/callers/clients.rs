//! Clients that callers bring themselves: the first use is verified by the authorization server,
//! later ones by a keyed hash.
//!
//! The hash covers the secret and every parameter of the request, so another secret, scope or
//! audience never meets the token of this one. A secret is *verified* once the server has issued
//! a token for it; only then does it displace an older secret of the same client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bellwether_broker::oauth::{Client, ClientAuthentication, Scope, Secret};
use bellwether_broker::store::{Digest, Key};
use bellwether_broker::{
    Broker, CredentialSettings, Handle, Identity, Obtain, RememberedClient, WHILE_USED,
};
use tokio::sync::OnceCell;

use super::offered::Offered;
use super::passes::Passes;
use super::token_request::CallersRequest;
use crate::settings::Vendor;

/// Clients whose secrets are not verified yet; beyond this the oldest is forgotten.
const MOST_UNVERIFIED: usize = 1000;

#[derive(Debug)]
pub(crate) struct Clients {
    broker: Broker,
    vendor: Arc<Vendor>,
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_digest: HashMap<[u8; 32], Arc<Brought>>,
    unverified: Vec<[u8; 32]>,
    /// Verified once, and set aside when another secret of the same client was.
    displaced: Vec<[u8; 32]>,
}

/// A client with its secret, scope and parameters, as somebody brought it.
#[derive(Debug)]
pub(crate) struct Brought {
    digest: Digest,
    /// The same without the secret.
    identity: Digest,
    offered: OnceCell<Offered>,
    verified: AtomicBool,
    /// It was forgotten, or another secret took its place.
    gone: AtomicBool,
}

impl Brought {
    /// Whether it is verified, and the client as it is known now.
    pub(crate) fn stands(&self) -> bool {
        self.verified.load(Ordering::Relaxed) && !self.gone.load(Ordering::Acquire)
    }

    /// The credential, once it was added.
    pub(crate) fn offered(&self) -> Option<&Offered> {
        self.offered.get()
    }
}

impl Clients {
    pub(crate) fn new(broker: Broker, vendor: Vendor) -> Self {
        Self { broker, vendor: Arc::new(vendor), entries: RwLock::default() }
    }

    pub(crate) fn vendor(&self) -> &Arc<Vendor> {
        &self.vendor
    }

    /// Takes up the clients of before a restart.
    pub(crate) async fn restore(&self, passes: &Passes) {
        let remembered = match self.broker.remembered_clients().await {
            Ok(remembered) => remembered,
            Err(error) => {
                tracing::warn!(%error, "clients of before the restart are not known");
                return;
            }
        };
        for RememberedClient { client, scope, parameters } in remembered {
            let identity = self.identity(&client.id, &scope, &parameters);
            let digest = self.digest(identity, client.authentication.secret());
            let brought = self.entry(self.identity_digest(identity), digest, true);
            self.offer(&brought, client, scope, parameters, passes).await;
        }
    }

    /// The credential of a client-credentials request, added if it is new.
    pub(crate) async fn credential(
        &self,
        request: &CallersRequest,
        passes: &Passes,
    ) -> (Arc<Brought>, Offered) {
        let parameters = request.further();
        let identity = self.identity(&request.client_id, &request.scope, &parameters);
        let digest = self.digest(identity, request.secret.as_ref());
        let known = {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            entries.by_digest.get(digest.as_bytes()).filter(|known| known.digest == digest).cloned()
        };
        if let Some(known) = &known
            && let Some(offered) = known.offered()
        {
            return (Arc::clone(known), offered.clone());
        }
        let without_secret = self.identity_digest(identity);
        let brought = known.unwrap_or_else(|| self.entry(without_secret, digest, false));
        let (client, scope) = (self.client(request), request.scope.clone());
        let offered = self.offer(&brought, client, scope, parameters, passes).await;
        (brought, offered)
    }

    /// The client as the authorization server is to see it.
    pub(crate) fn client(&self, request: &CallersRequest) -> Client {
        let secret = request.secret.clone();
        let authentication = match secret {
            None => ClientAuthentication::None,
            Some(secret) if request.in_body || self.vendor.secret_in_body => {
                ClientAuthentication::Post(secret)
            }
            Some(secret) => ClientAuthentication::Basic(secret),
        };
        Client { id: request.client_id.clone(), authentication }
    }

    /// The server issued a token for this secret: older ones of the same client are forgotten, and
    /// asked about anew if somebody still comes with one. One that is verified again lives beside
    /// the newer one: while a secret is changed, both may be good.
    pub(crate) fn verified(&self, brought: &Brought, passes: &Passes) {
        // Nearly always it is known, and then no other core's copy is disturbed.
        if brought.verified.load(Ordering::Relaxed)
            || brought.verified.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.unverified.retain(|digest| digest != brought.digest.as_bytes());
        let known = entries.displaced.iter().position(|digest| digest == brought.digest.as_bytes());
        if let Some(known) = known {
            entries.displaced.remove(known);
            return;
        }
        let mut outdated = Vec::new();
        entries.by_digest.retain(|digest, other| {
            let goes = other.identity == brought.identity
                && other.digest != brought.digest
                && other.verified.load(Ordering::Relaxed);
            if goes {
                other.gone.store(true, Ordering::Release);
                outdated.push((*digest, other.offered().cloned()));
            }
            !goes
        });
        entries.displaced.extend(outdated.iter().map(|(digest, _)| *digest));
        let surplus = entries.displaced.len().saturating_sub(MOST_UNVERIFIED);
        entries.displaced.drain(..surplus);
        drop(entries);
        for offered in outdated.into_iter().filter_map(|(_, offered)| offered) {
            passes.forget(&offered.handle.name());
            let broker = self.broker.clone();
            tokio::spawn(async move { broker.forget(&offered.handle).await });
        }
    }

    /// The broker forgot a credential that nobody used.
    pub(crate) fn forget(&self, name: &str) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.by_digest.retain(|_, brought| {
            let named = |offered: &Offered| offered.handle.settings().name() == name;
            let goes = brought.offered().is_some_and(named);
            if goes {
                brought.gone.store(true, Ordering::Release);
            }
            !goes
        });
    }

    /// Every credential that somebody brought with the right secret; guesses are nobody's business.
    pub(crate) fn handles(&self) -> Vec<Handle> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let verified = |brought: &&Arc<Brought>| brought.verified.load(Ordering::Relaxed);
        let offered = entries.by_digest.values().filter(verified).filter_map(|b| b.offered());
        offered.map(|offered| offered.handle.clone()).collect()
    }

    fn identity<'a>(
        &'a self,
        client: &'a str,
        scope: &'a Scope,
        parameters: &'a [(String, String)],
    ) -> Identity<'a> {
        Identity {
            token_endpoint: self.vendor.authorization_server.token_endpoint.as_str(),
            client,
            grant: "client_credentials",
            scope: scope.as_str(),
            parameters,
        }
    }

    fn identity_digest(&self, identity: Identity<'_>) -> Digest {
        self.broker.keyring().digest("brought client", &identity.to_bytes())
    }

    fn digest(&self, identity: Identity<'_>, secret: Option<&Secret>) -> Digest {
        let mut bytes = identity.to_bytes();
        let secret = secret.map_or("", Secret::expose);
        bytes.reserve_exact(8 + secret.len());
        bytes.extend_from_slice(&(secret.len() as u64).to_be_bytes());
        bytes.extend_from_slice(secret.as_bytes());
        let digest = self.broker.keyring().digest("brought client and secret", &bytes);
        bytes.fill(0);
        digest
    }

    fn entry(&self, identity: Digest, digest: Digest, verified: bool) -> Arc<Brought> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = entries.by_digest.get(digest.as_bytes()) {
            return Arc::clone(known);
        }
        let brought = Arc::new(Brought {
            digest,
            identity,
            offered: OnceCell::new(),
            verified: AtomicBool::new(verified),
            gone: AtomicBool::new(false),
        });
        if !verified {
            entries.unverified.push(*digest.as_bytes());
            if entries.unverified.len() > MOST_UNVERIFIED {
                let oldest = entries.unverified.remove(0);
                if let Some(offered) =
                    entries.by_digest.remove(&oldest).and_then(|old| old.offered().cloned())
                {
                    self.broker.remove(&offered.handle);
                }
            }
        }
        entries.by_digest.insert(*digest.as_bytes(), Arc::clone(&brought));
        brought
    }

    async fn offer(
        &self,
        brought: &Brought,
        client: Client,
        scope: Scope,
        parameters: Vec<(String, String)>,
        passes: &Passes,
    ) -> Offered {
        let add = || async {
            let fingerprint: String = brought.digest.to_hex().chars().take(8).collect();
            let settings = CredentialSettings {
                name: format!("client-{fingerprint}"),
                key: Key::client(&brought.digest),
                authorization_server: Arc::clone(&self.vendor.authorization_server),
                client,
                obtain: Obtain::ClientCredentials,
                scope,
                parameters,
                pool: self.vendor.pool,
                quota: self.vendor.quota,
                demand: WHILE_USED,
                unverified: !brought.verified.load(Ordering::Relaxed),
            };
            let added = self.broker.add(settings).await;
            let offered = Offered { handle: added.handle, vendor: Arc::clone(&self.vendor) };
            passes.know(&offered, added.known_tokens);
            offered
        };
        brought.offered.get_or_init(add).await.clone()
    }
}
