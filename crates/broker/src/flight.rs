//! One renewal, from the lease to its end.
//!
//! The order is what makes it safe: take the lease, read the row, and only then ask the server;
//! keep what it answered before anybody else hears of it. Whoever finds in the row what another
//! process obtained, or what it failed with, takes that over and sends nothing.

use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::{Cause, Failure, Held};
use bellwether_oauth::{Reading, Remedy, Secret, read};
use bellwether_store::{
    Acquired, Clock, Digest, Fence, HolderId, Key, Keyring, Row, Saved, Stamp, Store, StoreError,
};

use crate::error::RenewalError;
use crate::record::{Record, StoredClient, wall_expiry};
use crate::settings::Credential;
use crate::stored_failure::StoredFailure;
use crate::token::Token;
use crate::transport::{Outgoing, TransportError};

/// Longer than a token request may take, so that its holder outlives it.
const LEASE: Duration = Duration::from_secs(20);
/// How often a process looks whether another one has finished.
const LOOK_AGAIN: Duration = Duration::from_millis(40);
/// A failure that another process met this recently is ours too; longer, if the server asked all
/// to wait.
const FAILURE_SHARED_FOR: Duration = Duration::from_secs(5);
/// While a person must act, one process probes for all who know of it.
const PROBE_SHARED_FOR: Duration = Duration::from_secs(600);

/// What every renewal of a broker needs.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keyring: Keyring,
}

impl Surroundings {
    /// Takes the lease on a key. Each asks under a name of its own: two tasks of one process must
    /// not take each other for the same holder.
    pub(crate) async fn acquire(&self, key: &Key) -> Result<Acquired, StoreError> {
        self.store.acquire(key, HolderId::random()?, LEASE).await
    }
}

/// One renewal of one pool member.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) surroundings: Arc<Surroundings>,
    pub(crate) settings: Arc<Credential>,
    pub(crate) member: u16,
    /// The generation that is to be replaced.
    pub(crate) generation: u64,
    /// The latest token request this process knows of.
    pub(crate) attempt: u64,
    /// Whether it only looks if a person has acted.
    pub(crate) is_probe: bool,
}

/// How a renewal ended.
#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) outcome: Outcome,
    /// Whether a token request was sent.
    pub(crate) sent: bool,
    /// The latest token request this process now knows of.
    pub(crate) attempt: u64,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Granted { token: Token },
    Elsewhere { retry_after: Duration },
    Failed { failure: Failure, error: Arc<RenewalError> },
}

/// The row as it was found.
struct Found {
    generation: u64,
    record: Record,
}

impl Flight {
    /// Carries it out. Nothing it does depends on any caller still waiting.
    pub(crate) async fn fly(self: Arc<Self>) -> Landed {
        let key = self.settings.key.clone().with_member(self.member);
        let store = &self.surroundings.store;
        let acquired = self.surroundings.acquire(&key).await;
        let fence = match acquired {
            Ok(Acquired::Lease(lease)) => Some(lease.fence),
            Ok(Acquired::Busy { retry_after }) => return self.look(&key, retry_after).await,
            // A grant that spends nothing can be used without coordination; what it costs is at
            // most one request for each process.
            Err(error) if !self.settings.spends() => {
                tracing::warn!(credential = %self.settings.name, %error, "renewing without the store");
                None
            }
            Err(error) => return self.failed(error.into(), false, self.attempt),
        };
        // In a task of its own: should it panic, the lease is given back all the same.
        let renewing = tokio::spawn({
            let (flight, key) = (Arc::clone(&self), key.clone());
            async move { flight.with_lease(&key, fence).await }
        });
        let landed = match renewing.await {
            Ok(landed) => landed,
            Err(_) => {
                tracing::error!(credential = %self.settings.name, "a renewal panicked");
                self.failed(RenewalError::Defect, true, self.attempt)
            }
        };
        if let Some(fence) = fence
            && let Err(error) = store.release(&key, fence).await
        {
            tracing::debug!(credential = %self.settings.name, %error, "the lease stays until it runs out");
        }
        landed
    }

    /// Somebody else is renewing: perhaps the result is there already.
    async fn look(&self, key: &Key, retry_after: Duration) -> Landed {
        if let Ok(Some(found)) = self.load(key).await
            && let Some(landed) = self.adopt(&found, None)
        {
            return landed;
        }
        let outcome = Outcome::Elsewhere { retry_after: retry_after.min(LOOK_AGAIN) };
        Landed { outcome, sent: false, attempt: self.attempt }
    }

    async fn with_lease(&self, key: &Key, fence: Option<Fence>) -> Landed {
        let found = match self.load(key).await {
            Ok(found) => found,
            Err(error) if !self.settings.spends() => {
                tracing::warn!(credential = %self.settings.name, %error, "its row is not used");
                None
            }
            Err(error) => return self.failed(error.into(), false, self.attempt),
        };
        if let Some(landed) = found.as_ref().and_then(|found| self.adopt(found, fence)) {
            return landed;
        }
        let identity = self.settings.identity(&self.surroundings.keyring).to_hex();
        let issued_to = self.settings.issued_to(&self.surroundings.keyring).to_hex();
        let (generation, mut record) = match found {
            Some(Found { generation, record }) if record.identity == identity => {
                (generation, record)
            }
            Some(Found { generation, record }) if record.issued_to == issued_to => {
                (generation, record.for_another_request(identity))
            }
            found => {
                let generation = found.map_or(0, |found| found.generation);
                (generation, Record { identity, ..Record::default() })
            }
        };
        record.issued_to = issued_to;
        record.client = self.stored_client();
        self.request(key, fence, generation.max(self.generation), record).await
    }

    async fn request(
        &self,
        key: &Key,
        fence: Option<Fence>,
        generation: u64,
        mut record: Record,
    ) -> Landed {
        let refresh_token = match self.refresh_token(&record) {
            Ok(refresh_token) => refresh_token,
            Err(error) => return self.failed(error, false, record.attempt),
        };
        let Some(request) = self.settings.request(refresh_token.as_ref()) else {
            return self.failed(RenewalError::NoRefreshToken, false, record.attempt);
        };
        let encoded = request.encode(&self.settings.client);
        let outgoing = Outgoing {
            url: self.settings.authorization_server.token_endpoint.clone(),
            authorization: encoded.authorization,
            form: Some(encoded.body),
        };
        let clock = &*self.surroundings.clock;
        record.attempt += 1;
        let attempt = record.attempt;
        if self.settings.spends() {
            // Should this process die before it hears the answer, others know of the doubt.
            let unheard = RenewalError::AnswerLost("its process ended before it came".to_owned());
            (record.failure, record.intent) = (None, self.stored_failure(&unheard));
            match self.save(key, fence, generation, &record).await {
                Ok(true) => {}
                Ok(false) => {
                    let outcome = Outcome::Elsewhere { retry_after: LOOK_AGAIN };
                    return Landed { outcome, sent: false, attempt: self.attempt };
                }
                Err(error) => return self.failed(error.into(), false, self.attempt),
            }
        }
        let sent_at = clock.now();
        let received = self.settings.authorization_server.transport.send(outgoing).await;
        let reading = received.map(|received| {
            let secrets: Vec<&Secret> = self
                .settings
                .client
                .authentication
                .secret()
                .into_iter()
                .chain(&refresh_token)
                .collect();
            read(&received.message(clock.wall(), &secrets))
        });
        match reading {
            Ok(Reading { outcome: Ok(response), remarks, .. }) => {
                for remark in remarks {
                    tracing::info!(credential = %self.settings.name, %remark, "odd token response");
                }
                let lifetime = response.expires_in;
                let scope = response.scope.clone();
                let access_token = response.access_token.clone();
                let digest = |secret: &Secret| self.access_digest(secret);
                record.accept(response, sent_at, digest, clock);
                let held = Held { generation: generation + 1, sent_at, lifetime };
                // What was not saved was logged; it serves here all the same.
                let _ = self.save(key, fence, held.generation, &record).await;
                let expires = wall_expiry(&held, clock);
                match Token::new(access_token, scope, self.member, held, expires) {
                    Ok(token) => {
                        Landed { outcome: Outcome::Granted { token }, sent: true, attempt }
                    }
                    Err(_) => self.failed(RenewalError::Defect, true, attempt),
                }
            }
            Ok(Reading { outcome: Err(error), refresh_token: salvaged, .. }) => {
                if error.remedy() == Remedy::Reauthorize
                    && let Some(refresh_token) = &refresh_token
                {
                    record.refused = Some(self.refresh_digest(refresh_token).to_hex());
                }
                if salvaged.is_some() {
                    record.refresh_token = salvaged;
                }
                self.note_failure(key, fence, generation, record, &RenewalError::Refused(error))
                    .await
            }
            Err(TransportError::NotSent(why)) => {
                let error = RenewalError::Unreachable(why);
                self.note_failure(key, fence, generation, record, &error).await
            }
            Err(TransportError::MaybeSent(why)) => {
                let error = RenewalError::AnswerLost(why);
                self.note_failure(key, fence, generation, record, &error).await
            }
        }
    }

    /// What another process obtained, or failed with, since this one last looked. Whoever has the
    /// lease knows that nobody is at it any more.
    fn adopt(&self, found: &Found, fence: Option<Fence>) -> Option<Landed> {
        let Found { generation, record } = found;
        let surroundings = &self.surroundings;
        if record.identity != self.settings.identity(&surroundings.keyring).to_hex() {
            return None;
        }
        let clock = &*surroundings.clock;
        let landed = |outcome| Landed { outcome, sent: false, attempt: record.attempt };
        if *generation > self.generation
            && let Some(token) = record.token(self.member, *generation, clock)
            && clock.now() < token.held().hand_out_until()
        {
            return Some(landed(Outcome::Granted { token }));
        }
        let unheard = record.intent.as_ref().filter(|_| fence.is_some());
        let failure = record.failure.as_ref().or(unheard);
        let failure = failure.filter(|_| record.attempt > self.attempt)?;
        let error = failure.error();
        let mut told = error.failure(self.settings.spends());
        let age = clock.now().since(failure.at.resolve(clock));
        let ours = failure.secret == self.settings.secret_digest(&surroundings.keyring);
        let retry_after = failure.retry_after_ms.map(Duration::from_millis).unwrap_or_default();
        let shared_for = if self.is_probe { PROBE_SHARED_FOR } else { FAILURE_SHARED_FOR };
        let recent = age < shared_for.max(retry_after);
        // Time does not end a doubt.
        if told.cause != Cause::InDoubt && !(ours && recent) {
            return None;
        }
        told.retry_after = Some(retry_after.saturating_sub(age)).filter(|left| !left.is_zero());
        Some(landed(Outcome::Failed { failure: told, error: Arc::new(error) }))
    }

    async fn load(&self, key: &Key) -> Result<Option<Found>, StoreError> {
        let Some(row) = self.surroundings.store.load(key).await? else { return Ok(None) };
        let record = Record::open(&self.surroundings.keyring, key, &row)
            .map_err(|error| StoreError::Corrupt { why: error.to_string() })?;
        Ok(Some(Found { generation: row.generation, record }))
    }

    /// Whether the row is now as it was given.
    async fn save(
        &self,
        key: &Key,
        fence: Option<Fence>,
        generation: u64,
        record: &Record,
    ) -> Result<bool, StoreError> {
        let Some(fence) = fence else { return Ok(false) };
        let row: Row = record.seal(&self.surroundings.keyring, key, generation);
        let name = &self.settings.name;
        let saved = self.surroundings.store.save(key, fence, row).await;
        match &saved {
            Ok(Saved::Done) => {}
            Ok(Saved::Fenced) => tracing::warn!(credential = %name, "a later holder has the lease"),
            Ok(Saved::Behind) => tracing::warn!(credential = %name, "the store is ahead"),
            Err(error) => tracing::error!(credential = %name, %error, "the row was not saved"),
        }
        Ok(saved? == Saved::Done)
    }

    fn stored_failure(&self, error: &RenewalError) -> Option<StoredFailure> {
        let clock = &*self.surroundings.clock;
        let told = error.failure(self.settings.spends());
        let secret = self.settings.secret_digest(&self.surroundings.keyring);
        StoredFailure::of(error, told, Stamp::new(clock.now(), clock), secret)
    }

    async fn note_failure(
        &self,
        key: &Key,
        fence: Option<Fence>,
        generation: u64,
        mut record: Record,
        error: &RenewalError,
    ) -> Landed {
        (record.failure, record.intent) = (self.stored_failure(error), None);
        // What was not saved was logged; this process knows of the failure all the same.
        let _ = self.save(key, fence, generation, &record).await;
        self.failed(error.clone(), true, record.attempt)
    }

    fn failed(&self, error: RenewalError, sent: bool, attempt: u64) -> Landed {
        let failure = error.failure(self.settings.spends());
        Landed { outcome: Outcome::Failed { failure, error: Arc::new(error) }, sent, attempt }
    }

    /// The refresh token to send, never one that was refused.
    fn refresh_token(&self, record: &Record) -> Result<Option<Secret>, RenewalError> {
        use crate::settings::Obtain;
        let seed = match &self.settings.obtain {
            Obtain::ClientCredentials => return Ok(None),
            Obtain::RefreshToken { seed } => seed,
        };
        let refused = |token: &&Secret| {
            record.refused.as_deref() == Some(self.refresh_digest(token).to_hex().as_str())
        };
        let candidates = record.refresh_token.iter().chain(seed);
        let mut known_refused = false;
        for candidate in candidates {
            if refused(&candidate) {
                known_refused = true;
            } else {
                return Ok(Some(candidate.clone()));
            }
        }
        Err(if known_refused { RenewalError::KnownRefused } else { RenewalError::NoRefreshToken })
    }

    fn refresh_digest(&self, token: &Secret) -> Digest {
        self.surroundings.keyring.digest("refresh token", token.expose().as_bytes())
    }

    fn access_digest(&self, token: &Secret) -> Digest {
        self.surroundings.keyring.digest("access token", token.expose().as_bytes())
    }

    fn stored_client(&self) -> Option<StoredClient> {
        use bellwether_oauth::ClientAuthentication;
        if self.settings.key.kind() != &bellwether_store::Kind::CLIENT {
            return None;
        }
        let client = &self.settings.client;
        Some(StoredClient {
            id: client.id.clone(),
            secret: client.authentication.secret()?.clone(),
            in_body: matches!(client.authentication, ClientAuthentication::Post(_)),
            scope: self.settings.scope.to_string(),
            parameters: self.settings.parameters.to_vec(),
        })
    }
}
