//! Tokens that were handed out here: on API paths each is as good as a key.
//!
//! A caller goes on with the token it was given, long after that token was renewed or has expired;
//! the gateway puts the current one in its place. A pass counts while it is used at least every
//! 24 h. It remembers the callers it was given to, by their marks, and is worth no more than they are;
//! who they are now is asked when it is shown.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwether_broker::lifecycle::{Timestamp, UnixTime};
use bellwether_broker::oauth::Secret;
use bellwether_broker::store::{Digest, Stamp};
use bellwether_broker::{Broker, Token};
use subtle::ConstantTimeEq;

use super::configured::Mark;
use super::offered::Offered;

/// Unused for this long, a pass is forgotten.
const UNUSED: Duration = Duration::from_secs(24 * 3600);
/// Passes kept at most; beyond this the longest unused go first.
const MOST: usize = 100_000;
const LOCAL_PREFIX: &str = "bwt_";
const LOCAL_PURPOSE: &str = "local token 2";
/// Mark of the credential, mark of the caller, time of issue, seal.
const LOCAL_BYTES: usize = 48;
/// What of it is sealed.
const LOCAL_SEALED: usize = 24;
/// Stands where a caller's mark would, for clients that were brought.
const NO_CALLER: Mark = [0; 8];
/// Callers remembered of one pass; beyond this those that were given it first are not.
const MOST_HOLDERS: usize = 1000;

#[derive(Debug)]
pub(crate) struct Passes {
    broker: Broker,
    passes: RwLock<HashMap<[u8; 32], Arc<Pass>>>,
    /// Credentials by the mark that their local tokens carry, and whether their client was brought.
    locals: RwLock<HashMap<[u8; 8], (Offered, bool)>>,
}

/// What a token that was handed out stands for.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) leads_to: LeadsTo,
    holders: ArcSwap<Holders>,
    last_used: AtomicU64,
    /// It was revoked, or what it leads to is no more.
    gone: AtomicBool,
}

/// To whom a pass was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holders {
    /// To a client that was brought: whoever has it.
    Anyone,
    /// To these callers; and before a restart, if it was `earlier`, nobody knows to whom.
    Callers { marks: Vec<Mark>, earlier: bool },
}

impl Holders {
    /// A caller, or a client that was brought.
    fn of(caller: Option<Mark>) -> Self {
        match caller {
            Some(mark) => Self::Callers { marks: vec![mark], earlier: false },
            None => Self::Anyone,
        }
    }

    fn with(&self, mark: Mark) -> Self {
        match self {
            Self::Anyone => Self::Anyone,
            Self::Callers { marks, earlier } => {
                let mut marks = marks.clone();
                let surplus = (marks.len() + 1).saturating_sub(MOST_HOLDERS);
                marks.drain(..surplus);
                marks.push(mark);
                Self::Callers { marks, earlier: *earlier }
            }
        }
    }

    /// Whether it was given to this one.
    pub(crate) fn include(&self, mark: &Mark) -> bool {
        match self {
            Self::Anyone => true,
            Self::Callers { marks, .. } => marks.contains(mark),
        }
    }
}

impl Pass {
    fn new(leads_to: LeadsTo, holders: Holders, now: Timestamp) -> Self {
        Self {
            leads_to,
            holders: ArcSwap::from_pointee(holders),
            last_used: AtomicU64::new(now.as_nanos()),
            gone: AtomicBool::new(false),
        }
    }

    /// To whom it was given.
    pub(crate) fn holders(&self) -> Guard<Arc<Holders>> {
        self.holders.load()
    }

    fn give_to(&self, mark: Mark) {
        // Nearly always it has it, and then no other core's copy is disturbed.
        if !self.holders.load().include(&mark) {
            self.holders.rcu(|known| {
                if known.include(&mark) { Arc::clone(known) } else { Arc::new(known.with(mark)) }
            });
        }
    }
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

    /// From now on this text is a pass, given to a caller or to a client that was brought.
    pub(crate) fn issue(
        &self,
        text: &Secret,
        caller: Option<Mark>,
        leads_to: impl FnOnce() -> LeadsTo,
    ) {
        self.issue_digest(&self.broker.access_digest(text), caller, leads_to);
    }

    /// From now on a held token is a pass to its credential.
    pub(crate) fn issue_held(&self, token: &Token, caller: Option<Mark>, offered: &Offered) {
        let leads_to = || LeadsTo::Credential(offered.clone());
        self.issue_digest(self.broker.token_digest(token), caller, leads_to);
    }

    fn issue_digest(
        &self,
        digest: &Digest,
        caller: Option<Mark>,
        leads_to: impl FnOnce() -> LeadsTo,
    ) {
        match (self.touch(digest.as_bytes()), caller) {
            (Some(pass), Some(mark)) => pass.give_to(mark),
            (Some(_), None) => {}
            (None, caller) => {
                self.insert(*digest.as_bytes(), leads_to(), Holders::of(caller));
            }
        }
    }

    /// Tokens of a client that was brought, of before a restart: by their digests, and local ones.
    pub(crate) fn know(&self, offered: &Offered, digests: Vec<String>) {
        self.know_for(offered, digests, &Holders::Anyone);
    }

    /// The same of a configured credential: nobody knows which of its callers has which.
    pub(crate) fn know_of_callers(&self, offered: &Offered, digests: Vec<String>) {
        self.know_for(offered, digests, &Holders::Callers { marks: Vec::new(), earlier: true });
    }

    fn know_for(&self, offered: &Offered, digests: Vec<String>, holders: &Holders) {
        self.register(offered, *holders == Holders::Anyone);
        for digest in digests {
            if let Some(digest) = bytes(&digest) {
                self.insert(digest, LeadsTo::Credential(offered.clone()), holders.clone());
            }
        }
    }

    /// This bearer token, if it was handed out here and is in use.
    pub(crate) fn find(&self, text: &Secret) -> Option<Arc<Pass>> {
        let digest = *self.broker.access_digest(text).as_bytes();
        if let Some(pass) = self.touch(&digest) {
            return Some(pass);
        }
        let (offered, holders) = self.local(text)?;
        Some(self.insert(digest, LeadsTo::Credential(offered), holders))
    }

    /// Whether a pass that was found before still is one. Counts as a use.
    pub(crate) fn is_live(&self, pass: &Pass) -> bool {
        !pass.gone.load(Ordering::Acquire) && self.note_use(pass)
    }

    /// It leads nowhere any more.
    pub(crate) fn revoke(&self, text: &Secret) {
        let digest = *self.broker.access_digest(text).as_bytes();
        let mut passes = self.passes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pass) = passes.remove(&digest) {
            pass.gone.store(true, Ordering::Release);
        }
    }

    /// Nothing leads to this credential any more.
    pub(crate) fn forget(&self, name: &str) {
        let mut locals = self.locals.write().unwrap_or_else(PoisonError::into_inner);
        locals.retain(|_, (offered, _)| offered.handle.settings().name() != name);
        drop(locals);
        self.passes.write().unwrap_or_else(PoisonError::into_inner).retain(|_, pass| {
            let stays = match &pass.leads_to {
                LeadsTo::Credential(offered) => offered.handle.settings().name() != name,
                LeadsTo::Itself(_) => true,
            };
            if !stays {
                pass.gone.store(true, Ordering::Release);
            }
            stays
        });
    }

    /// From now on local tokens of this credential lead to it.
    fn register(&self, offered: &Offered, brought: bool) {
        let mark = self.credential_mark(offered);
        let mut locals = self.locals.write().unwrap_or_else(PoisonError::into_inner);
        locals.insert(mark, (offered.clone(), brought));
    }

    /// The text of a token that is good only here, the same for each generation of a credential and
    /// each caller.
    ///
    /// It says by itself whose it is and when it was issued, so that it survives a restart.
    pub(crate) fn local_text(
        &self,
        offered: &Offered,
        caller: Option<Mark>,
        token: &Token,
    ) -> Secret {
        let mut bytes = [0; LOCAL_BYTES];
        bytes[..8].copy_from_slice(&self.credential_mark(offered));
        bytes[8..16].copy_from_slice(&caller.unwrap_or(NO_CALLER));
        bytes[16..LOCAL_SEALED].copy_from_slice(&self.issued(token).to_be_bytes());
        let seal = self.broker.keyring().digest(LOCAL_PURPOSE, &bytes[..LOCAL_SEALED]);
        bytes[LOCAL_SEALED..].copy_from_slice(&seal.as_bytes()[..LOCAL_BYTES - LOCAL_SEALED]);
        Secret::from(format!("{LOCAL_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Whether this text is what stands for a token, whoever it was given to.
    pub(crate) fn is_local_text(&self, text: &Secret, offered: &Offered, token: &Token) -> bool {
        self.opened(text).is_some_and(|(credential, _, issued)| {
            credential == self.credential_mark(offered) && issued == self.issued(token)
        })
    }

    /// The credential of a local token that was issued before a restart, and to whom.
    fn local(&self, text: &Secret) -> Option<(Offered, Holders)> {
        let (credential, caller, issued) = self.opened(text)?;
        if UnixTime::from_secs(issued).until(self.broker.clock().wall()) >= UNUSED {
            return None;
        }
        let locals = self.locals.read().unwrap_or_else(PoisonError::into_inner);
        let (offered, brought) = locals.get(&credential)?;
        let caller = (caller != NO_CALLER).then_some(caller);
        (*brought == caller.is_none()).then(|| (offered.clone(), Holders::of(caller)))
    }

    /// What a genuine local token says: marks of credential and caller, and when it was issued.
    fn opened(&self, text: &Secret) -> Option<([u8; 8], Mark, u64)> {
        let mut bytes = [0; LOCAL_BYTES];
        let encoded = text.expose().strip_prefix(LOCAL_PREFIX)?;
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).ok()?;
        let seal = self.broker.keyring().digest(LOCAL_PURPOSE, &bytes[..LOCAL_SEALED]);
        let seal = &seal.as_bytes()[..LOCAL_BYTES - LOCAL_SEALED];
        let genuine: bool = seal.ct_eq(&bytes[LOCAL_SEALED..]).into();
        let (parts, _) = bytes.as_chunks::<8>();
        (length == LOCAL_BYTES && genuine)
            .then(|| (parts[0], parts[1], u64::from_be_bytes(parts[2])))
    }

    fn issued(&self, token: &Token) -> u64 {
        let on_the_wall = |at| Stamp::new(at, self.broker.clock()).wall();
        token.requested_at(on_the_wall).as_secs()
    }

    fn credential_mark(&self, offered: &Offered) -> [u8; 8] {
        let key = offered.handle.settings().key().to_string();
        let digest = self.broker.keyring().digest("local credential", key.as_bytes());
        std::array::from_fn(|i| digest.as_bytes()[i])
    }

    fn touch(&self, digest: &[u8; 32]) -> Option<Arc<Pass>> {
        let passes = self.passes.read().unwrap_or_else(PoisonError::into_inner);
        let pass = passes.get(digest)?;
        self.note_use(pass).then(|| Arc::clone(pass))
    }

    /// Whether it was used of late, and that it is used now.
    fn note_use(&self, pass: &Pass) -> bool {
        let now = self.broker.clock().now();
        let last_used = Timestamp::from_nanos(pass.last_used.load(Ordering::Relaxed));
        if now.since(last_used) >= UNUSED {
            return false;
        }
        // To the second is enough, and spares other cores the write.
        if now.since(last_used) >= Duration::from_secs(1) {
            pass.last_used.store(now.as_nanos(), Ordering::Relaxed);
        }
        true
    }

    fn insert(&self, digest: [u8; 32], leads_to: LeadsTo, holders: Holders) -> Arc<Pass> {
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
        let pass = Arc::new(Pass::new(leads_to, holders, now));
        passes.insert(digest, Arc::clone(&pass));
        pass
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
