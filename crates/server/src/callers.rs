//! Callers of configured credentials: who shows which key, and what it may use.

use std::collections::HashMap;
use std::sync::Arc;

use bellwether_broker::Handle;
use bellwether_broker::oauth::Secret;
use bellwether_broker::store::{Digest, Keyring};
use http::HeaderName;

use crate::answer::Refusal;
use crate::settings::{CallerSettings, Vendor};

/// Where a caller with several credentials names one.
pub(crate) const CREDENTIAL: HeaderName = HeaderName::from_static("bellwether-credential");

/// A credential that callers may name.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) handle: Handle,
    pub(crate) vendor: Arc<Vendor>,
}

/// A caller that showed its key.
#[derive(Debug)]
pub(crate) struct Caller {
    name: String,
    key: Digest,
    credentials: HashMap<String, Offered>,
}

/// All of them, by the keyed hash of their key: the lookup tells nothing about a key.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    by_key: HashMap<[u8; 32], Arc<Caller>>,
}

const PURPOSE: &str = "caller key";

impl Callers {
    /// Binds each caller to the credentials it may use; names it does not know are left out, since
    /// the configuration was checked before.
    pub(crate) fn new(
        settings: &[CallerSettings],
        offered: &HashMap<String, Offered>,
        keyring: &Keyring,
    ) -> Self {
        let caller = |settings: &CallerSettings| {
            let key = keyring.digest(PURPOSE, settings.key.expose().as_bytes());
            let credentials = settings.credentials.iter();
            let credentials = credentials
                .filter_map(|name| offered.get_key_value(name))
                .map(|(name, offered)| (name.clone(), offered.clone()))
                .collect();
            (*key.as_bytes(), Arc::new(Caller { name: settings.name.clone(), key, credentials }))
        };
        Self { by_key: settings.iter().map(caller).collect() }
    }

    /// The caller with this key.
    pub(crate) fn with_key(&self, key: &str, keyring: &Keyring) -> Option<&Arc<Caller>> {
        let digest = keyring.digest(PURPOSE, key.as_bytes());
        self.by_key.get(digest.as_bytes()).filter(|caller| caller.key == digest)
    }

    /// The credential behind a client id `CALLER` or `CALLER/NAME` and a key as its secret.
    pub(crate) fn client(
        &self,
        client_id: &str,
        secret: Option<&Secret>,
        keyring: &Keyring,
    ) -> Result<&Offered, Refusal> {
        let (name, credential) = match client_id.split_once('/') {
            Some((name, credential)) => (name, Some(credential)),
            None => (client_id, None),
        };
        let caller = secret
            .and_then(|secret| self.with_key(secret.expose(), keyring))
            .filter(|caller| caller.name == name)
            .ok_or_else(|| {
                let mut refusal = Refusal::new(
                    http::StatusCode::UNAUTHORIZED,
                    "invalid_client",
                    "the caller or its key is not known here",
                );
                refusal.challenge = Some("Basic realm=\"bellwether\"");
                refusal
            })?;
        caller.credential(credential)
    }
}

impl Caller {
    /// The credential it names, or the only one it may use.
    pub(crate) fn credential(&self, name: Option<&str>) -> Result<&Offered, Refusal> {
        match name {
            Some(name) => self.credentials.get(name).ok_or_else(Refusal::not_found),
            None => {
                let mut all = self.credentials.values();
                match (all.next(), all.next()) {
                    (Some(only), None) => Ok(only),
                    (None, _) => Err(Refusal::not_found()),
                    (Some(_), Some(_)) => Err(Refusal::invalid_request(
                        "name one of your credentials: header Bellwether-Credential, or CALLER/NAME as client id",
                    )),
                }
            }
        }
    }
}
