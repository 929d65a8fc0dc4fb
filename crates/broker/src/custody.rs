//! What a credential holds, taken out of the hands of renewals for a moment: to put a new grant in,
//! or to take the old one out.
//!
//! It is done under the lease, like a renewal: no process sends the refresh token meanwhile, and
//! none writes an older one over it afterwards. The row stays in both cases and its generation goes
//! up, so that processes which know the old one see that there is something newer. After a logout
//! it holds no secret any more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::{Held, Timestamp};
use bellwether_oauth::{Secret, TokenResponse};
use bellwether_store::{Acquired, Clock, Fence, HolderId, Key, Row, Saved, StoreError};
use tokio::time::sleep;

use crate::broker::Broker;
use crate::grant_row::{GrantRow, to_send};
use crate::record::{Record, wall_expiry};
use crate::restore;
use crate::settings::{Credential, CredentialSettings};
use crate::surroundings::Surroundings;
use crate::token::Token;

/// Long enough for two requests to the authorization server.
const LEASE: Duration = Duration::from_secs(25);

/// A grant that was obtained outside of a renewal.
#[derive(Debug)]
pub enum NewGrant {
    /// From the authorization server, with a refresh token.
    Issued {
        /// What it answered.
        response: TokenResponse,
        /// When it was asked.
        sent_at: Timestamp,
    },
    /// A refresh token from elsewhere; an access token comes with its first use.
    Imported(Secret),
}

/// Why what a credential holds is out of reach.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CustodyError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A renewal is under way and does not end.
    #[error("another process is renewing it just now: try again")]
    Busy,
    /// The lease ran out, or somebody has written since.
    #[error("another process was faster: try again")]
    Superseded,
    /// A grant without a refresh token lives no longer than its access token.
    #[error("the grant has no refresh token")]
    NoRefreshToken,
}

/// The sole right to change what a credential holds. Ends with [`release`](Self::release) and with
/// each change; else by itself after a while.
pub struct Custody {
    surroundings: Arc<Surroundings>,
    settings: Credential,
    key: Key,
    holder: HolderId,
    fence: Fence,
    generation: u64,
    epoch: u64,
    record: Record,
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custody").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Broker {
    /// Takes what a credential holds into custody, once a renewal under way has ended; waits for
    /// that at most `patience`.
    ///
    /// # Errors
    /// When the store does not answer, or the renewal does not end.
    pub async fn custody(
        &self,
        settings: CredentialSettings,
        patience: Duration,
    ) -> Result<Custody, CustodyError> {
        let settings = Credential::new(settings, Arc::new);
        let surroundings = Arc::clone(self.surroundings());
        let key = settings.key.clone().with_member(0);
        let holder = HolderId::random()?;
        let until = surroundings.clock.now() + patience;
        let fence = loop {
            match surroundings.store.acquire(&key, holder, LEASE).await? {
                Acquired::Lease(lease) => break lease.fence,
                Acquired::Busy { .. } if surroundings.clock.now() >= until => {
                    return Err(CustodyError::Busy);
                }
                Acquired::Busy { retry_after } => sleep(retry_after).await,
            }
        };
        let (generation, record) = match GrantRow::load(&surroundings, &settings, &key).await {
            Ok(mut row) => {
                restore::catch_up(&surroundings, &settings, &key, &mut row).await?;
                (row.generation, row.record)
            }
            // What nobody can read is nothing to lose; only its number counts.
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::warn!(credential = %settings.name, %error, "its row is not used");
                let row = surroundings.store.load(&key).await?;
                (row.map_or(0, |row| row.generation), Record::default())
            }
            Err(error) => return Err(error.into()),
        };
        let epoch = surroundings.epoch().await?;
        Ok(Custody { surroundings, settings, key, holder, fence, generation, epoch, record })
    }
}

impl Custody {
    /// The refresh token that would be sent next: the one that is held, or the configured one.
    pub fn refresh_token(&self) -> Option<Secret> {
        to_send(&self.surroundings, &self.settings, &self.record).0
    }

    /// The access token that is held.
    pub fn access_token(&self) -> Option<&Secret> {
        self.record.token.as_ref().map(|token| &token.access_token)
    }

    /// Has it last for another while, before something that takes long.
    ///
    /// # Errors
    /// When somebody else has the right by now.
    pub async fn extend(&mut self) -> Result<(), CustodyError> {
        match self.surroundings.store.acquire(&self.key, self.holder, LEASE).await? {
            Acquired::Lease(lease) => {
                self.fence = lease.fence;
                Ok(())
            }
            Acquired::Busy { .. } => Err(CustodyError::Superseded),
        }
    }

    /// Puts a new grant in place of whatever was held, refused or in doubt. Answers with its access
    /// token, if it has one.
    ///
    /// # Errors
    /// When it is not known to be saved.
    pub async fn deposit(mut self, grant: NewGrant) -> Result<Option<Token>, CustodyError> {
        let surroundings = Arc::clone(&self.surroundings);
        let clock = &*surroundings.clock;
        let digest = |secret: &Secret| surroundings.access_digest(secret);
        let generation = self.generation + 1;
        let mut record = self.cleared();
        let mut token = None;
        match grant {
            NewGrant::Issued { response, sent_at } => {
                if response.refresh_token.is_none() {
                    return Err(CustodyError::NoRefreshToken);
                }
                let held = Held { generation, sent_at, lifetime: response.expires_in };
                let expires = wall_expiry(&held, clock);
                let (access_token, scope) = (response.access_token.clone(), response.scope.clone());
                token = Token::new(access_token, scope, 0, held, expires).ok();
                record.token = self.record.token.take();
                record.accept(response, sent_at, digest, clock);
            }
            NewGrant::Imported(refresh_token) => {
                if let Some(before) = &self.record.token {
                    record.earlier.insert(0, digest(&before.access_token).to_hex());
                }
                record.refresh_token = Some(refresh_token);
            }
        }
        self.save(generation, &record).await?;
        Ok(token)
    }

    /// Takes out all that is held. A configured refresh token counts as refused from now on.
    ///
    /// # Errors
    /// When it is not known to be gone.
    pub async fn clear(self) -> Result<(), CustodyError> {
        let digest = |seed: &Secret| self.surroundings.refresh_digest(seed).to_hex();
        let refused = self.settings.seed().map(digest);
        let record = Record { refused, earlier: Vec::new(), ..self.cleared() };
        self.save(self.generation + 1, &record).await
    }

    /// Gives the right back without a change.
    ///
    /// # Errors
    /// When the store does not answer; then the right ends by itself.
    pub async fn release(self) -> Result<(), CustodyError> {
        Ok(self.surroundings.store.release(&self.key, self.fence).await?)
    }

    /// The record without secrets and without troubles.
    fn cleared(&self) -> Record {
        let keyring = &self.surroundings.keyring;
        Record {
            identity: self.settings.identity(keyring).to_hex(),
            issued_to: self.settings.issued_to(keyring).to_hex(),
            attempt: self.record.attempt + 1,
            earlier: self.record.earlier.clone(),
            begun_with: self.record.begun_with.clone(),
            epoch: self.epoch,
            ..Record::default()
        }
    }

    /// Saves the row and ends the custody.
    async fn save(&self, generation: u64, record: &Record) -> Result<(), CustodyError> {
        let Surroundings { store, escrow, keyring, .. } = &*self.surroundings;
        let row: Row = record.seal(keyring, &self.key, generation);
        let name = &self.settings.name;
        let saved = match store.save(&self.key, self.fence, row).await? {
            Saved::Done => Ok(()),
            Saved::Fenced | Saved::Behind => Err(CustodyError::Superseded),
        };
        // What it has is older than the row, and so does no harm if it stays.
        if saved.is_ok()
            && let Err(error) = escrow.remove(&self.key).await
        {
            tracing::warn!(credential = %name, %error, "the escrow keeps what was held before");
        }
        if let Err(error) = store.release(&self.key, self.fence).await {
            tracing::debug!(credential = %name, %error, "the lease stays until it runs out");
        }
        saved
    }
}
