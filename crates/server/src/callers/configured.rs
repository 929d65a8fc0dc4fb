//! Callers of configured credentials: who somebody is, by a key, by the other end of the connection,
//! or by both.
//!
//! All of them are replaced at once when the configuration is read again. What was found out of one
//! before is good while it [`stands`](Callers::stands): that is one comparison, so it may be asked for
//! each request.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bellwether_broker::Broker;
use bellwether_broker::lifecycle::UnixTime;
use bellwether_broker::oauth::Secret;
use bellwether_broker::store::Digest;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use super::caller::Caller;
use super::guesses::{Guesses, too_many_wrong_keys};
use super::offered::Offered;
use super::peer::Peer;
use crate::message::bearer;
use crate::message::refuse_other_sites;
use crate::refusal::Refusal;
use crate::settings::CallerSettings;

/// What tokens that were handed out say of whom they were given to: a keyed hash of the caller's name
/// and the key it had shown.
pub(crate) type Mark = [u8; 8];

/// A caller, as one of its keys shows it, or its peer alone.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) caller: Arc<Caller>,
    pub(crate) mark: Mark,
    key: Option<Digest>,
    /// When the key ends.
    expires: Option<UnixTime>,
    /// Of which edition of all callers.
    edition: u64,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Callers {
    broker: Broker,
    current: ArcSwap<Edition>,
    /// The number of the current one, where it costs nothing to read.
    number: AtomicU64,
    guesses: Guesses,
}

/// The callers of one reading of the configuration.
#[derive(Debug, Default)]
struct Edition {
    number: u64,
    /// By the keyed hash of the key: the lookup tells nothing about a key.
    by_key: HashMap<[u8; 32], Arc<Identity>>,
    by_mark: HashMap<Mark, Arc<Identity>>,
    /// Those without a key.
    by_peer: Vec<Arc<Identity>>,
}

const KEY_PURPOSE: &str = "caller key";
const MARK_PURPOSE: &str = "caller mark";

impl Callers {
    /// Binds each caller to the credentials it may use; names it does not know are left out, since
    /// the configuration was checked before.
    pub(crate) fn new(
        broker: Broker,
        settings: &[CallerSettings],
        offered: &HashMap<String, Offered>,
    ) -> Self {
        let first = Edition::new(0, settings, offered, &broker);
        let (current, number) = (ArcSwap::from_pointee(first), AtomicU64::new(0));
        Self { broker, current, number, guesses: Guesses::default() }
    }

    /// From now on these, and no others.
    pub(crate) fn replace(&self, settings: &[CallerSettings], offered: &HashMap<String, Offered>) {
        let number = self.current.load().number + 1;
        self.current.store(Arc::new(Edition::new(number, settings, offered, &self.broker)));
        // After the callers themselves: who compares numbers first and looks then, finds the new ones.
        self.number.store(number, Ordering::Release);
    }

    /// Whether this is still known to be so: no callers were replaced since, and its key has not
    /// ended.
    pub(crate) fn stands(&self, identity: &Identity) -> bool {
        self.is_current(identity.edition) && !self.has_ended(identity)
    }

    /// Whether no callers were replaced since this edition.
    pub(crate) fn is_current(&self, edition: u64) -> bool {
        self.number.load(Ordering::Acquire) == edition
    }

    fn has_ended(&self, identity: &Identity) -> bool {
        identity.expires.is_some_and(|end| self.broker.clock().wall() >= end)
    }

    /// Who sends this request: by the key it shows as a bearer token, or by its peer if it shows
    /// nothing at all.
    ///
    /// # Errors
    /// 401 for a wrong key, whoever the peer is, and 429 after many. 403 for a page in a browser that
    /// lends it its certificate.
    pub(crate) fn identify(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Arc<Identity>, Refusal> {
        if headers.contains_key(AUTHORIZATION) {
            let key = bearer(headers).ok_or_else(Refusal::unauthorized)?;
            return self.with_key(&key, peer).map_err(|wrong| wrong.refusal(Refusal::unauthorized));
        }
        let identity = self.at(peer).ok_or_else(Refusal::unauthorized)?;
        refuse_other_sites(headers)?;
        Ok(identity)
    }

    /// The caller behind a client id `CALLER` or `CALLER/NAME`, with a key as its secret or the right
    /// peer, and the credential it means.
    ///
    /// # Errors
    /// 401 or 429 as above; 404 for a credential that is not the caller's.
    pub(crate) fn client(
        &self,
        client_id: &str,
        secret: Option<&Secret>,
        peer: &Peer,
    ) -> Result<(Arc<Identity>, Offered), Refusal> {
        let (name, credential) = match client_id.split_once('/') {
            Some((name, credential)) => (name, Some(credential)),
            None => (client_id, None),
        };
        let unknown = || {
            let description = "the caller or its key is not known here";
            let mut refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", description);
            refusal.challenge = Some("Basic realm=\"bellwether\"");
            refusal
        };
        // An empty secret is none (RFC 6749 §2.3.1).
        let identity = match secret.filter(|secret| !secret.is_empty()) {
            Some(key) => self.with_key(key, peer).map_err(|wrong| wrong.refusal(unknown))?,
            None => self.at(peer).ok_or_else(unknown)?,
        };
        if identity.caller.name() != name {
            return Err(unknown());
        }
        let offered = identity.caller.credential(credential)?.clone();
        Ok((identity, offered))
    }

    /// Those of the marks whose caller is still here with the same key, and may be at this peer.
    pub(crate) fn marked(&self, marks: &[Mark], peer: &Peer) -> Vec<Arc<Identity>> {
        let current = self.current.load();
        let marked = marks.iter().filter_map(|mark| current.by_mark.get(mark));
        let good =
            marked.filter(|identity| !self.has_ended(identity) && identity.caller.is_at(peer));
        good.cloned().collect()
    }

    /// The edition, if every caller of this credential may do with it what it likes; so whoever was
    /// given its token may.
    pub(crate) fn all_alike(&self, offered: &Offered) -> Option<u64> {
        let current = self.current.load();
        let mut callers = current.by_mark.values().map(|identity| &identity.caller);
        let mut callers = callers.by_ref().filter(|caller| caller.may_use(&offered.handle));
        let first = callers.next()?;
        (!first.is_limited() && callers.all(|caller| !caller.is_limited()))
            .then_some(current.number)
    }

    /// The caller with this key, where it must be.
    fn with_key(&self, key: &Secret, peer: &Peer) -> Result<Arc<Identity>, Wrong> {
        let digest = self.broker.keyring().digest(KEY_PURPOSE, key.expose().as_bytes());
        let current = self.current.load();
        let known = current.by_key.get(digest.as_bytes());
        let known = known.filter(|known| known.key.as_ref() == Some(&digest));
        match known {
            Some(known) if self.has_ended(known) || !known.caller.is_at(peer) => Err(Wrong::Key),
            Some(known) => Ok(Arc::clone(known)),
            None => {
                let now = self.broker.clock().now();
                let noted = self.guesses.wrong(peer, digest.as_bytes(), now);
                Err(noted.map_or_else(Wrong::OneOfMany, |()| Wrong::Key))
            }
        }
    }

    /// The one caller that this peer alone makes known.
    fn at(&self, peer: &Peer) -> Option<Arc<Identity>> {
        if peer.user.is_none() && peer.certificate.is_none() {
            return None;
        }
        let current = self.current.load();
        let mut here = current.by_peer.iter().filter(|identity| identity.caller.is_at(peer));
        // Who could be two is neither.
        match (here.next(), here.next()) {
            (Some(only), None) => Some(Arc::clone(only)),
            (None, _) | (_, Some(_)) => None,
        }
    }
}

/// A key that opens nothing.
enum Wrong {
    Key,
    /// Others came from the same place before; how long to wait.
    OneOfMany(std::time::Duration),
}

impl Wrong {
    fn refusal(self, unknown: impl FnOnce() -> Refusal) -> Refusal {
        match self {
            Self::Key => unknown(),
            Self::OneOfMany(wait) => too_many_wrong_keys(wait),
        }
    }
}

impl Edition {
    fn new(
        number: u64,
        settings: &[CallerSettings],
        offered: &HashMap<String, Offered>,
        broker: &Broker,
    ) -> Self {
        let mut edition = Self { number, ..Self::default() };
        for settings in settings {
            let caller = Arc::new(Caller::new(settings, offered));
            let identity = |key: Option<Digest>, expires| {
                let mark = mark(broker, caller.name(), key.as_ref());
                let caller = Arc::clone(&caller);
                Arc::new(Identity { caller, mark, key, expires, edition: number })
            };
            for key in &settings.keys {
                let digest = broker.keyring().digest(KEY_PURPOSE, key.key.expose().as_bytes());
                let bytes = *digest.as_bytes();
                let identity = identity(Some(digest), key.expires);
                edition.by_mark.insert(identity.mark, Arc::clone(&identity));
                // A key tells who somebody is: the first to have it, as the configuration says.
                if let Entry::Vacant(place) = edition.by_key.entry(bytes) {
                    place.insert(identity);
                }
            }
            if settings.keys.is_empty() && caller.has_peer() {
                let identity = identity(None, None);
                edition.by_mark.insert(identity.mark, Arc::clone(&identity));
                edition.by_peer.push(identity);
            }
        }
        edition
    }
}

fn mark(broker: &Broker, name: &str, key: Option<&Digest>) -> Mark {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(key.map_or(&[], |key| key.as_bytes()));
    let digest = broker.keyring().digest(MARK_PURPOSE, &bytes);
    std::array::from_fn(|at| digest.as_bytes()[at])
}
