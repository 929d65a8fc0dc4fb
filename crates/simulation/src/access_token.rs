//! Access tokens: issued, evicted by the cap, expired, revoked.

use std::collections::VecDeque;

use bellwether_lifecycle::Timestamp;

use crate::api_limit::Spent;
use crate::client::ClientNumber;

/// What the API thinks of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Live,
    Expired,
    Evicted,
    Revoked,
    Unknown,
}

/// One issued access token.
#[derive(Clone, Debug)]
pub(crate) struct AccessToken {
    pub(crate) client: ClientNumber,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// The refresh token that was presented for it, and its family.
    pub(crate) refresh: Option<Lineage>,
    pub(crate) spent: Spent,
    ended: Option<Ended>,
}

/// Where an access token from a refresh comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lineage {
    pub(crate) presented: Option<u64>,
    pub(crate) family: u64,
}

#[derive(Clone, Copy, Debug)]
enum Ended {
    Evicted,
    Revoked,
}

impl AccessToken {
    pub(crate) fn standing(&self, now: Timestamp) -> Standing {
        match self.ended {
            Some(Ended::Evicted) => Standing::Evicted,
            Some(Ended::Revoked) => Standing::Revoked,
            None if now >= self.expires_at => Standing::Expired,
            None => Standing::Live,
        }
    }
}

/// All access tokens; the oldest dead ones are forgotten.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessTokens {
    /// Serial number of the first record.
    first: u64,
    records: VecDeque<AccessToken>,
    /// Live tokens of each client, oldest first.
    live: Vec<VecDeque<u64>>,
}

/// Records kept. A forgotten token is unknown instead of dead.
const REMEMBERED: usize = 1 << 17;

impl AccessTokens {
    /// Issues a token; the cap's victims are counted.
    pub(crate) fn issue(
        &mut self,
        (issued_at, expires_at): (Timestamp, Timestamp),
        client: ClientNumber,
        refresh: Option<Lineage>,
        cap: Option<usize>,
    ) -> (u64, u64) {
        if self.live.len() <= client {
            self.live.resize_with(client + 1, VecDeque::new);
        }
        self.drop_expired(issued_at, client);
        let mut evicted = 0;
        while cap.is_some_and(|cap| self.live[client].len() >= cap.max(1)) {
            if let Some(oldest) = self.live[client].pop_front() {
                self.end(oldest, Ended::Evicted);
                evicted += 1;
            }
        }
        let serial = self.first + self.records.len() as u64;
        let (spent, ended) = (Spent::default(), None);
        self.records.push_back(AccessToken {
            client,
            issued_at,
            expires_at,
            refresh,
            spent,
            ended,
        });
        self.live[client].push_back(serial);
        self.forget(issued_at);
        (serial, evicted)
    }

    pub(crate) fn get(&mut self, serial: u64) -> Option<&mut AccessToken> {
        let index = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        self.records.get_mut(index)
    }

    pub(crate) fn standing(&mut self, now: Timestamp, serial: u64) -> Standing {
        self.get(serial).map_or(Standing::Unknown, |token| token.standing(now))
    }

    /// The client's newest live token.
    pub(crate) fn newest(&mut self, now: Timestamp, client: ClientNumber) -> Option<u64> {
        let serial = *self.live.get(client)?.back()?;
        (self.standing(now, serial) == Standing::Live).then_some(serial)
    }

    /// Whether it was live.
    pub(crate) fn revoke(&mut self, now: Timestamp, serial: u64) -> bool {
        let live = self.standing(now, serial) == Standing::Live;
        if let (true, Some(client)) = (live, self.get(serial).map(|token| token.client)) {
            self.live[client].retain(|&other| other != serial);
            self.end(serial, Ended::Revoked);
        }
        live
    }

    /// Revokes the client's live tokens and says how many.
    pub(crate) fn revoke_all(&mut self, now: Timestamp, client: ClientNumber) -> u64 {
        let serials = self.live.get(client).cloned().unwrap_or_default();
        serials.into_iter().filter(|&serial| self.revoke(now, serial)).count() as u64
    }

    /// Revokes the live tokens that came from one family of refresh tokens.
    pub(crate) fn revoke_family(&mut self, now: Timestamp, client: ClientNumber, family: u64) {
        for serial in self.live.get(client).cloned().unwrap_or_default() {
            let lineage = self.get(serial).and_then(|token| token.refresh);
            if lineage.is_some_and(|lineage| lineage.family == family) {
                self.revoke(now, serial);
            }
        }
    }

    pub(crate) fn live_count(&self, now: Timestamp) -> u64 {
        let is_live = |serial: &&u64| {
            let index = serial.checked_sub(self.first).and_then(|index| index.try_into().ok());
            let token = index.and_then(|index: usize| self.records.get(index));
            token.is_some_and(|token| now < token.expires_at)
        };
        self.live.iter().flatten().filter(is_live).count() as u64
    }

    fn end(&mut self, serial: u64, ended: Ended) {
        if let Some(token) = self.get(serial) {
            token.ended = Some(ended);
            token.spent = Spent::default();
        }
    }

    /// Expired tokens count against no cap. All but a few stand in the order of expiry.
    fn drop_expired(&mut self, now: Timestamp, client: ClientNumber) {
        while let Some(&oldest) = self.live[client].front() {
            if self.standing(now, oldest) == Standing::Live {
                return;
            }
            self.live[client].pop_front();
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while self.records.len() > REMEMBERED {
            if self.standing(now, self.first) == Standing::Live {
                return;
            }
            self.records.pop_front();
            self.first += 1;
        }
    }
}
