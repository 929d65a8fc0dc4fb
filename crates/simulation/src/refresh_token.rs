//! Refresh tokens: families, uses, and what each rotation class makes of a second use.

use std::collections::{BTreeMap, VecDeque};

use bellwether_lifecycle::Timestamp;

use crate::client::ClientNumber;
use crate::rotation::Rotation;

/// What a presented refresh token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redemption {
    /// A new access token; the refresh token stays.
    Unchanged,
    /// A new pair. The pair in it ends.
    NewPair { ends: Option<Pair> },
    /// The pair that was issued before.
    SamePair(Pair),
    /// Spent, and shown once too often.
    Reused,
    /// Unknown, expired, revoked, or another client's.
    Refused,
}

/// Serial numbers of tokens issued together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) access: u64,
    pub(crate) refresh: u64,
}

#[derive(Clone, Debug)]
struct RefreshToken {
    client: ClientNumber,
    /// Serial number of the family's first token.
    family: u64,
    /// The token whose use issued this one.
    parent: Option<u64>,
    expires_at: Timestamp,
    /// How often a request showed it, processed or not.
    shown: u64,
    first_used_at: Option<Timestamp>,
    latest: Option<Pair>,
    acknowledged: bool,
    revoked: bool,
}

impl RefreshToken {
    fn is_good(&self, now: Timestamp, client: ClientNumber) -> bool {
        self.client == client && !self.revoked && now < self.expires_at
    }
}

/// All refresh tokens; the oldest spent ones are forgotten.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefreshTokens {
    first: u64,
    records: VecDeque<RefreshToken>,
    /// Texts that were given from outside instead of being made here.
    given: BTreeMap<String, u64>,
}

const REMEMBERED: usize = 1 << 17;

impl RefreshTokens {
    /// Issues a token: the next of its parent's family, or the first of a new one.
    pub(crate) fn issue(
        &mut self,
        client: ClientNumber,
        parent: Option<u64>,
        expires_at: Timestamp,
    ) -> u64 {
        let serial = self.first + self.records.len() as u64;
        let family = parent.and_then(|parent| self.family(parent)).unwrap_or(serial);
        self.records.push_back(RefreshToken {
            client,
            family,
            parent,
            expires_at,
            shown: 0,
            first_used_at: None,
            latest: None,
            acknowledged: false,
            revoked: false,
        });
        self.forget();
        serial
    }

    /// Lets a text from outside stand for a token.
    pub(crate) fn give(&mut self, text: &str, serial: u64) {
        self.given.insert(text.to_owned(), serial);
    }

    pub(crate) fn given(&self, text: &str) -> Option<u64> {
        self.given.get(text).copied()
    }

    /// The text from outside that stands for `serial`.
    pub(crate) fn given_text(&self, serial: u64) -> Option<&str> {
        let of_serial = self.given.iter().find(|&(_, &given)| given == serial);
        of_serial.map(|(text, _)| text.as_str())
    }

    /// Notes that a request showed the token, and says how often that has happened.
    pub(crate) fn show(&mut self, serial: u64) -> u64 {
        self.get(serial).map_or(0, |token| {
            token.shown += 1;
            token.shown
        })
    }

    pub(crate) fn redeem(
        &mut self,
        now: Timestamp,
        serial: u64,
        client: ClientNumber,
        rotation: Rotation,
    ) -> Redemption {
        let redemption = self.judge(now, serial, client, rotation);
        if matches!(redemption, Redemption::Unchanged | Redemption::Refused) {
            return redemption;
        }
        let Some(token) = self.get(serial) else { return redemption };
        token.first_used_at = token.first_used_at.or(Some(now));
        if let Some(parent) = token.parent {
            self.acknowledge(parent);
        }
        redemption
    }

    /// What a use would come to, without using it.
    pub(crate) fn judge(
        &self,
        now: Timestamp,
        serial: u64,
        client: ClientNumber,
        rotation: Rotation,
    ) -> Redemption {
        let good = self.peek(serial).filter(|token| token.is_good(now, client));
        let Some(token) = good else { return Redemption::Refused };
        let first_used_at = token.first_used_at;
        let within = |window| first_used_at.is_some_and(|first| now < first + window);
        match rotation {
            Rotation::None => Redemption::Unchanged,
            _ if first_used_at.is_none() => Redemption::NewPair { ends: None },
            Rotation::NewPair { window } if within(window) => Redemption::NewPair { ends: None },
            Rotation::LastPair { window } if within(window) => {
                Redemption::NewPair { ends: token.latest }
            }
            Rotation::SamePair { window } if within(window) => {
                token.latest.map_or(Redemption::Reused, Redemption::SamePair)
            }
            Rotation::UntilAcknowledged if !token.acknowledged => {
                Redemption::NewPair { ends: None }
            }
            Rotation::Strict
            | Rotation::NewPair { .. }
            | Rotation::SamePair { .. }
            | Rotation::UntilAcknowledged
            | Rotation::LastPair { .. } => Redemption::Reused,
        }
    }

    /// Notes the pair that a use of `serial` got.
    pub(crate) fn issued(&mut self, serial: u64, pair: Pair) {
        if let Some(token) = self.get(serial) {
            token.latest = Some(pair);
        }
    }

    /// Notes that a token of a pair issued for `serial` was used.
    pub(crate) fn acknowledge(&mut self, serial: u64) {
        if let Some(token) = self.get(serial) {
            token.acknowledged = true;
        }
    }

    pub(crate) fn is_good(&self, now: Timestamp, serial: u64, client: ClientNumber) -> bool {
        self.peek(serial).is_some_and(|token| token.is_good(now, client))
    }

    pub(crate) fn family(&mut self, serial: u64) -> Option<u64> {
        self.get(serial).map(|token| token.family)
    }

    pub(crate) fn client(&mut self, serial: u64) -> Option<ClientNumber> {
        self.get(serial).map(|token| token.client)
    }

    /// Revokes one token alone.
    pub(crate) fn revoke(&mut self, serial: u64) {
        if let Some(token) = self.get(serial) {
            token.revoked = true;
        }
    }

    /// Whether any token of it was good.
    pub(crate) fn revoke_family(&mut self, family: u64) -> bool {
        self.revoke_where(|token| token.family == family) > 0
    }

    /// Revokes a client's tokens and says how many were good.
    pub(crate) fn revoke_all(&mut self, client: ClientNumber) -> u64 {
        self.revoke_where(|token| token.client == client)
    }

    fn revoke_where(&mut self, is_meant: impl Fn(&RefreshToken) -> bool) -> u64 {
        let mut count = 0;
        for token in self.records.iter_mut().filter(|token| !token.revoked && is_meant(token)) {
            token.revoked = true;
            count += 1;
        }
        count
    }

    fn peek(&self, serial: u64) -> Option<&RefreshToken> {
        self.records.get(usize::try_from(serial.checked_sub(self.first)?).ok()?)
    }

    fn get(&mut self, serial: u64) -> Option<&mut RefreshToken> {
        let index = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        self.records.get_mut(index)
    }

    fn forget(&mut self) {
        let is_dead = |token: &RefreshToken| token.revoked || token.first_used_at.is_some();
        while self.records.len() > REMEMBERED && self.records.front().is_some_and(is_dead) {
            self.records.pop_front();
            self.first += 1;
        }
    }
}
