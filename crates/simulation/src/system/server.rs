//! The authorization server of one grant: the refresh-token machine of this crate, and access
//! tokens by number.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::scenario::Plan;
use crate::refresh_token::{Pair, Redemption, RefreshTokens};
use crate::rotation::Reuse;

/// The only client.
const CLIENT: usize = 0;

/// What an answer says, in numbers instead of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    Granted {
        access: u64,
        refresh: Option<u64>,
        lifetime: Duration,
    },
    InvalidGrant,
    InvalidClient,
    Throttled {
        retry_after: Option<Duration>,
    },
    /// 5xx, or a body that cannot be used; a refresh token may be readable in it all the same.
    Broken {
        refresh: Option<u64>,
    },
}

impl Response {
    /// The refresh token that it carries.
    pub(super) fn refresh(&self) -> Option<u64> {
        match *self {
            Self::Granted { refresh, .. } | Self::Broken { refresh } => refresh,
            Self::InvalidGrant | Self::InvalidClient | Self::Throttled { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Access {
    expires_at: Timestamp,
    /// The refresh token that it came of.
    parent: Option<u64>,
    ended: bool,
}

/// Answers token requests for one grant.
#[derive(Debug)]
pub(super) struct Server {
    refresh: RefreshTokens,
    /// By number, from 1 on.
    access: Vec<Access>,
    /// All before this one have ended.
    ended_before: usize,
    /// The secret that it takes.
    pub(super) secret: u32,
}

impl Server {
    /// With the first refresh token of the grant, number 0.
    pub(super) fn new() -> Self {
        let mut refresh = RefreshTokens::default();
        refresh.issue(CLIENT, None, Timestamp::NEVER);
        Self { refresh, access: Vec::new(), ended_before: 0, secret: 0 }
    }

    /// A person authorises again: a new family.
    pub(super) fn authorise(&mut self) -> u64 {
        self.refresh.issue(CLIENT, None, Timestamp::NEVER)
    }

    /// A person takes everything back.
    pub(super) fn revoke(&mut self) {
        self.refresh.revoke_all(CLIENT);
        self.end_access_tokens();
    }

    pub(super) fn process(
        &mut self,
        now: Timestamp,
        plan: &Plan,
        shown: Option<u64>,
    ) -> (Response, Option<Redemption>) {
        let Some(shown) = shown else {
            return (self.grant(now, plan, None, None), None);
        };
        let redemption = self.refresh.redeem(now, shown, CLIENT, plan.rotation);
        let response = match redemption {
            Redemption::Refused => Response::InvalidGrant,
            Redemption::Reused => {
                if plan.reuse == Reuse::RevokesFamily {
                    if let Some(family) = self.refresh.family(shown) {
                        self.refresh.revoke_family(family);
                    }
                    self.end_access_tokens();
                }
                Response::InvalidGrant
            }
            Redemption::Unchanged => {
                let repeated = plan.repeats_refresh_token.then_some(shown);
                self.grant(now, plan, repeated, Some(shown))
            }
            Redemption::SamePair(Pair { access, refresh }) => {
                let left =
                    self.known(access).map_or(Duration::ZERO, |known| now.until(known.expires_at));
                // Whole seconds are told.
                let lifetime = Duration::from_secs(left.as_secs());
                Response::Granted { access, refresh: Some(refresh), lifetime }
            }
            Redemption::NewPair { ends } => {
                if let Some(pair) = ends {
                    self.refresh.revoke(pair.refresh);
                    self.end(pair.access);
                }
                let refresh = self.refresh.issue(CLIENT, Some(shown), Timestamp::NEVER);
                let response = self.grant(now, plan, Some(refresh), Some(shown));
                self.refresh.issued(shown, Pair { access: self.access.len() as u64, refresh });
                response
            }
        };
        (response, Some(redemption))
    }

    fn grant(
        &mut self,
        now: Timestamp,
        plan: &Plan,
        refresh: Option<u64>,
        parent: Option<u64>,
    ) -> Response {
        if parent.is_some() && plan.refresh_ends_access_token {
            self.end_access_tokens();
        }
        let expires_at = now + plan.lifetime;
        self.access.push(Access { expires_at, parent, ended: false });
        let access = self.access.len() as u64;
        Response::Granted { access, refresh, lifetime: plan.lifetime }
    }

    fn known(&self, access: u64) -> Option<&Access> {
        self.access.get(usize::try_from(access.checked_sub(1)?).ok()?)
    }

    fn end_access_tokens(&mut self) {
        self.ended_before = self.access.len();
    }

    fn end(&mut self, access: u64) {
        let index = usize::try_from(access.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(token) = self.access.get_mut(index) {
            token.ended = true;
        }
    }

    /// A resource server is shown an access token: whether it takes it. With its first use the
    /// token that it came of is acknowledged.
    pub(super) fn show(&mut self, now: Timestamp, access: u64) -> bool {
        let Some(known) = self.known(access) else { return false };
        let ended = known.ended || access <= self.ended_before as u64;
        let (taken, parent) = (!ended && now < known.expires_at, known.parent);
        if let (true, Some(parent)) = (taken, parent) {
            self.refresh.acknowledge(parent);
        }
        taken
    }

    /// When an access token truly ends.
    pub(super) fn expires_at(&self, access: u64) -> Option<Timestamp> {
        self.known(access).map(|known| known.expires_at)
    }

    /// Whether a request with this refresh token would get a token now.
    pub(super) fn takes(&self, now: Timestamp, plan: &Plan, refresh: u64) -> bool {
        match self.refresh.judge(now, refresh, CLIENT, plan.rotation) {
            Redemption::Unchanged | Redemption::NewPair { .. } | Redemption::SamePair(_) => true,
            Redemption::Reused | Redemption::Refused => false,
        }
    }
}
