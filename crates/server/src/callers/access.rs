//! Who sends a request to the API, and what it may have there: by a key, by its peer, or by a token
//! that was handed out here.
//!
//! [`Known::admit`] finds it out, with a keyed hash or two. A connection remembers what it found for
//! the same `Authorization`, and asks with each request whether it still
//! [`stands`](Admitted::stands); what the request at hand may do is asked each time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bellwether_broker::lifecycle::CallerId;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use zeroize::Zeroizing;

use super::configured::{Callers, Identity};
use super::passes::{Holders, LeadsTo, Pass, Passes};
use super::peer::Peer;
use super::remembered::are_same;
use crate::message::bearer;
use crate::refusal::Refusal;

/// Which credential a caller with several means.
pub(crate) const CREDENTIAL: HeaderName = HeaderName::from_static("bellwether-credential");

/// Somebody who may use something here.
#[derive(Clone, Debug)]
pub(crate) struct Admitted(By);

#[derive(Clone, Debug)]
enum By {
    /// It showed its key, or is known by its peer.
    Caller(Arc<Identity>),
    /// It showed what was handed out here.
    Pass(Arc<Pass>, Holder),
}

/// Who may be the one that shows a pass.
#[derive(Clone, Debug)]
enum Holder {
    /// It belongs to a client that was brought.
    Anyone,
    /// It was given to one of these, and they are all still good.
    OneOf(Vec<Arc<Identity>>),
    /// It was given out before a restart; in this edition all who could have it may do the same.
    Alike(u64),
}

/// Whom a connection's latest request came from, by what it showed.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<Option<Arc<Shown>>>);

#[derive(Debug)]
struct Shown {
    authorization: Zeroizing<Vec<u8>>,
    admitted: Admitted,
    takes_turns_as: CallerId,
}

impl Latest {
    fn slot(&self) -> MutexGuard<'_, Option<Arc<Shown>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one value of `Authorization`.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    all.next().filter(|_| all.next().is_none()).map(HeaderValue::as_bytes)
}

/// Everybody who is known here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) callers: &'a Callers,
    pub(crate) passes: &'a Passes,
    /// Clients are brought, and there are no keys.
    pub(crate) has_clients: bool,
}

impl Known<'_> {
    /// What a request leads to, and who takes turns with others there. `path` is the API's own.
    ///
    /// # Errors
    /// As [`Known::admit`] and [`Admitted::leads_to`].
    pub(crate) fn access(
        self,
        (peer, latest): (&Peer, &Latest),
        (method, path, headers): (&Method, &str, &HeaderMap),
    ) -> Result<(LeadsTo, CallerId), Refusal> {
        let authorization = shown(headers);
        let before = latest.slot().clone();
        if let (Some(before), Some(authorization)) = (before, authorization)
            && are_same(&before.authorization, authorization)
            && before.admitted.stands(self)
            // Others may have been given the same token since.
            && let Ok(leads_to) = before.admitted.leads_to(method, path, headers)
        {
            return Ok((leads_to, before.takes_turns_as));
        }
        let admitted = self.admit(headers, peer)?;
        let takes_turns_as = admitted.takes_turns_as(peer);
        let leads_to = admitted.leads_to(method, path, headers)?;
        if let Some(authorization) = authorization {
            let authorization = Zeroizing::new(authorization.to_vec());
            *latest.slot() = Some(Arc::new(Shown { authorization, admitted, takes_turns_as }));
        }
        Ok((leads_to, takes_turns_as))
    }

    /// Who sends this.
    ///
    /// # Errors
    /// 401 for what is unknown here or must not come from this peer; 429 after many wrong keys; 403
    /// for a page in a browser that only its certificate would make known.
    fn admit(self, headers: &HeaderMap, peer: &Peer) -> Result<Admitted, Refusal> {
        let Some(shown) = bearer(headers) else {
            return self.callers.identify(headers, peer).map(|caller| Admitted(By::Caller(caller)));
        };
        let Some(pass) = self.passes.find(&shown) else {
            // Without callers there is no key to guess.
            if self.has_clients {
                return Err(Refusal::unauthorized());
            }
            return self.callers.identify(headers, peer).map(|caller| Admitted(By::Caller(caller)));
        };
        let holder = self.holder(&pass, peer).ok_or_else(Refusal::unauthorized)?;
        Ok(Admitted(By::Pass(pass, holder)))
    }

    /// Who may show this pass at this peer; `None` if nobody may any more.
    fn holder(self, pass: &Pass, peer: &Peer) -> Option<Holder> {
        match &**pass.holders() {
            Holders::Anyone => Some(Holder::Anyone),
            Holders::Callers { marks, earlier } => {
                let mut given = self.callers.marked(marks, peer);
                given.retain(|identity| match &pass.leads_to {
                    LeadsTo::Credential(offered) => identity.caller.may_use(&offered.handle),
                    LeadsTo::Itself(_) => true,
                });
                if !given.is_empty() {
                    return Some(Holder::OneOf(given));
                }
                match &pass.leads_to {
                    LeadsTo::Credential(offered) if *earlier => {
                        self.callers.all_alike(offered).map(Holder::Alike)
                    }
                    LeadsTo::Credential(_) | LeadsTo::Itself(_) => None,
                }
            }
        }
    }
}

impl Admitted {
    /// Whether what was found out is still so: nothing was replaced, revoked or forgotten since, and
    /// no key has ended. Counts as a use of a pass. Costs a comparison or two, and no hash.
    fn stands(&self, known: Known<'_>) -> bool {
        match &self.0 {
            By::Caller(identity) => known.callers.stands(identity),
            By::Pass(pass, holder) => {
                known.passes.is_live(pass)
                    && match holder {
                        Holder::Anyone => true,
                        Holder::OneOf(given) => {
                            given.iter().all(|identity| known.callers.stands(identity))
                        }
                        Holder::Alike(edition) => known.callers.is_current(*edition),
                    }
            }
        }
    }

    /// As whom it takes turns where requests wait for room at the API. Those that cannot be told
    /// apart are told by where they come from.
    fn takes_turns_as(&self, peer: &Peer) -> CallerId {
        let known = match &self.0 {
            By::Caller(identity) => Some(identity),
            By::Pass(_, Holder::OneOf(given)) if given.len() == 1 => given.first(),
            By::Pass(_, Holder::Anyone | Holder::Alike(_) | Holder::OneOf(_)) => None,
        };
        let mut hasher = DefaultHasher::new();
        match known {
            Some(identity) => identity.caller.name().hash(&mut hasher),
            None => (peer.address, peer.user).hash(&mut hasher),
        }
        CallerId(hasher.finish())
    }

    /// What this request leads to. `path` is the API's own.
    ///
    /// # Errors
    /// 404 for a path, method or credential that is not its own, as if there were none; 400 if it
    /// must name a credential.
    fn leads_to(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<LeadsTo, Refusal> {
        match &self.0 {
            By::Caller(identity) => {
                let mut all = headers.get_all(CREDENTIAL).iter();
                let (named, None) = (all.next(), all.next()) else {
                    return Err(Refusal::invalid_request("Bellwether-Credential comes twice"));
                };
                let named = named.map(|value| value.to_str().unwrap_or_default());
                let offered = identity.caller.credential(named)?;
                if !identity.caller.may_send(method, path) {
                    return Err(Refusal::not_found());
                }
                Ok(LeadsTo::Credential(offered.clone()))
            }
            By::Pass(pass, holder) => {
                let may = match holder {
                    Holder::Anyone | Holder::Alike(_) => true,
                    Holder::OneOf(given) => {
                        given.iter().any(|identity| identity.caller.may_send(method, path))
                    }
                };
                if may { Ok(pass.leads_to.clone()) } else { Err(Refusal::not_found()) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
