//! Tokens that were handed out here: on API paths each is as good as a key.
//!
//! A caller goes on with the token it was given, long after that token was renewed or has expired;
//! the gateway puts the current one in its place. A pass counts while it is used at least every
//! 24 h.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwether_broker::lifecycle::{Timestamp, UnixTime};
use bellwether_broker::oauth::Secret;
use bellwether_broker::store::{Digest, Stamp};
use bellwether_broker::{Broker, Token};

use crate::callers::Offered;

/// Unused for this long, a pass is forgotten.
const UNUSED: Duration = Duration::from_secs(24 * 3600);
/// Passes kept at most; beyond this the longest unused go first.
const MOST: usize = 100_000;
const LOCAL_PREFIX: &str = "bwt_";
const LOCAL_PURPOSE: &str = "local token";
/// Mark of the credential, time of issue, seal.
const LOCAL_BYTES: usize = 40;

#[derive(Debug)]
pub(crate) struct Passes {
    broker: Broker,
    passes: RwLock<HashMap<[u8; 32], Arc<Pass>>>,
    /// Credentials by the mark that their local tokens carry.
    locals: RwLock<HashMap<[u8; 8], Offered>>,
}

/// What a token that was handed out stands for.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) leads_to: LeadsTo,
    last_used: AtomicU64,
}

#[derive(Clone, Debug)]
pub(crate) enum LeadsTo {
    /// The current token of a credential.
    Credential(Offered),
    /// The token itself: it belongs to the caller's own grant.
    Itself(Arc<crate::settings::Vendor>),
}

impl Passes {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker, passes: RwLock::default(), locals: RwLock::default() }
    }

    /// From now on this text is a pass.
    pub(crate) fn issue(&self, text: &Secret, leads_to: impl FnOnce() -> LeadsTo) {
        self.issue_digest(&self.broker.access_digest(text), leads_to);
    }

    /// From now on a held token is a pass to its credential.
    pub(crate) fn issue_held(&self, token: &Token, offered: &Offered) {
        let leads_to = || LeadsTo::Credential(offered.clone());
        self.issue_digest(self.broker.token_digest(token), leads_to);
    }

    fn issue_digest(&self, digest: &Digest, leads_to: impl FnOnce() -> LeadsTo) {
        if self.touch(digest.as_bytes()).is_none() {
            self.insert(*digest.as_bytes(), leads_to());
        }
    }

    /// Tokens of before a restart, by their digests, and local ones.
    pub(crate) fn know(&self, offered: &Offered, digests: Vec<String>) {
        self.register(offered);
        for digest in digests {
            if let Some(digest) = bytes(&digest) {
                self.insert(digest, LeadsTo::Credential(offered.clone()));
            }
        }
    }

    /// What this bearer token leads to, if it was handed out here and is in use.
    pub(crate) fn find(&self, text: &Secret) -> Option<LeadsTo> {
        let digest = *self.broker.access_digest(text).as_bytes();
        if let Some(pass) = self.touch(&digest) {
            return Some(pass.leads_to.clone());
        }
        let leads_to = LeadsTo::Credential(self.local(text)?);
        self.insert(digest, leads_to.clone());
        Some(leads_to)
    }

    /// It leads nowhere any more.
    pub(crate) fn revoke(&self, text: &Secret) {
        let digest = *self.broker.access_digest(text).as_bytes();
        self.passes.write().unwrap_or_else(PoisonError::into_inner).remove(&digest);
    }

    /// Nothing leads to this credential any more.
    pub(crate) fn forget(&self, name: &str) {
        let mut locals = self.locals.write().unwrap_or_else(PoisonError::into_inner);
        locals.retain(|_, offered| offered.handle.settings().name() != name);
        drop(locals);
        self.passes.write().unwrap_or_else(PoisonError::into_inner).retain(|_, pass| {
            match &pass.leads_to {
                LeadsTo::Credential(offered) => offered.handle.settings().name() != name,
                LeadsTo::Itself(_) => true,
            }
        });
    }

    /// From now on local tokens of this credential lead to it.
    fn register(&self, offered: &Offered) {
        let mark = self.credential_mark(offered);
        let mut locals = self.locals.write().unwrap_or_else(PoisonError::into_inner);
        locals.insert(mark, offered.clone());
    }

    /// The text of a token that is good only here, the same for each generation of a credential.
    ///
    /// It says by itself whose it is and when it was issued, so that it survives a restart.
    pub(crate) fn local_text(&self, offered: &Offered, token: &Token) -> Secret {
        let clock = self.broker.clock();
        let issued = Stamp::new(token.held().sent_at, clock).wall().as_secs();
        let mut bytes = [0; LOCAL_BYTES];
        bytes[..8].copy_from_slice(&self.credential_mark(offered));
        bytes[8..16].copy_from_slice(&issued.to_be_bytes());
        let seal = self.broker.keyring().digest(LOCAL_PURPOSE, &bytes[..16]);
        bytes[16..].copy_from_slice(&seal.as_bytes()[..LOCAL_BYTES - 16]);
        Secret::from(format!("{LOCAL_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The credential of a local token that was issued before a restart.
    fn local(&self, text: &Secret) -> Option<Offered> {
        let mut bytes = [0; LOCAL_BYTES];
        let encoded = text.expose().strip_prefix(LOCAL_PREFIX)?;
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).ok()?;
        let seal = self.broker.keyring().digest(LOCAL_PURPOSE, &bytes[..16]);
        let genuine = Secret::from(URL_SAFE_NO_PAD.encode(&seal.as_bytes()[..LOCAL_BYTES - 16]))
            == Secret::from(URL_SAFE_NO_PAD.encode(&bytes[16..]));
        let issued = UnixTime::from_secs(u64::from_be_bytes(bytes[8..16].try_into().ok()?));
        let recent = issued.until(self.broker.clock().wall()) < UNUSED;
        let locals = self.locals.read().unwrap_or_else(PoisonError::into_inner);
        locals.get(&bytes[..8]).filter(|_| length == LOCAL_BYTES && genuine && recent).cloned()
    }

    fn credential_mark(&self, offered: &Offered) -> [u8; 8] {
        let key = offered.handle.settings().key().to_string();
        let digest = self.broker.keyring().digest("local credential", key.as_bytes());
        std::array::from_fn(|i| digest.as_bytes()[i])
    }

    fn touch(&self, digest: &[u8; 32]) -> Option<Arc<Pass>> {
        let passes = self.passes.read().unwrap_or_else(PoisonError::into_inner);
        let pass = passes.get(digest)?;
        let now = self.broker.clock().now();
        let last_used = Timestamp::from_nanos(pass.last_used.load(Ordering::Relaxed));
        if now.since(last_used) >= UNUSED {
            return None;
        }
        // To the second is enough, and spares other cores the write.
        if now.since(last_used) >= Duration::from_secs(1) {
            pass.last_used.store(now.as_nanos(), Ordering::Relaxed);
        }
        Some(Arc::clone(pass))
    }

    fn insert(&self, digest: [u8; 32], leads_to: LeadsTo) {
        let now = self.broker.clock().now();
        let mut passes = self.passes.write().unwrap_or_else(PoisonError::into_inner);
        if passes.len() >= MOST {
            let mut ages: Vec<u64> =
                passes.values().map(|pass| pass.last_used.load(Ordering::Relaxed)).collect();
            let middle = ages.len() / 10;
            let (_, oldest, _) = ages.select_nth_unstable(middle);
            let oldest = *oldest;
            passes.retain(|_, pass| pass.last_used.load(Ordering::Relaxed) > oldest);
        }
        let last_used = AtomicU64::new(now.as_nanos());
        passes.insert(digest, Arc::new(Pass { leads_to, last_used }));
    }
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}
