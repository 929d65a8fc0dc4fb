//! A grant's row and its records in the escrow, as one renewal sees and changes them.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use bellwether_lifecycle::renewal::{Answer, Change, Escrowed, Grant, Met, Recorded};
use bellwether_oauth::{ClientAuthentication, Reading, Remedy, Secret, TokenResponse};
use bellwether_store::{Key, Kind, Row, Stamp, StoreError};

use crate::error::RenewalError;
use crate::kept_answer::KeptAnswer;
use crate::record::{Doubt, Intent, Record, StoredClient};
use crate::settings::{Credential, Obtain};
use crate::stored_failure::StoredFailure;
use crate::surroundings::Surroundings;

/// An answer, read, with the request that it answers.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) reading: Reading,
    pub(crate) sent_at: Timestamp,
    pub(crate) attempt: u64,
    /// Digest of the refresh token that was sent.
    pub(crate) presented: Option<String>,
}

impl Read {
    /// What it comes to.
    pub(crate) fn answer(&self, spends: bool) -> Answer {
        match &self.reading.outcome {
            Ok(TokenResponse { expires_in, .. }) => {
                Answer::Granted { sent_at: self.sent_at, lifetime: *expires_in }
            }
            Err(error) => Answer::Failed {
                failure: RenewalError::Refused(error.clone()).failure(spends),
                refused: spends && error.remedy() == Remedy::Reauthorize,
                rotated: spends && self.reading.refresh_token.is_some(),
            },
        }
    }

    /// What the server refused it with, if it did.
    pub(crate) fn error(&self) -> Option<RenewalError> {
        self.reading.outcome.as_ref().err().cloned().map(RenewalError::Refused)
    }
}

/// The row as it was found, and as it is to be.
#[derive(Debug)]
pub(crate) struct GrantRow {
    pub(crate) generation: u64,
    pub(crate) record: Record,
    /// What is sent next, if the grant needs it.
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) grant: Grant,
    epoch: u64,
}

impl GrantRow {
    /// Reads it. A row of another client, or of another server, is only a number.
    pub(crate) async fn load(
        surroundings: &Surroundings,
        settings: &Credential,
        key: &Key,
    ) -> Result<Self, StoreError> {
        let epoch = surroundings.epoch().await?;
        let (generation, found) = match surroundings.record(key).await? {
            Some(found) => found,
            None => (0, Record { epoch, ..Record::default() }),
        };
        Ok(Self::around(surroundings, settings, generation, found, epoch))
    }

    /// One that says nothing, for when the store is not there.
    pub(crate) fn unknown(surroundings: &Surroundings, settings: &Credential) -> Self {
        Self::around(surroundings, settings, 0, Record::default(), 0)
    }

    fn around(
        surroundings: &Surroundings,
        settings: &Credential,
        generation: u64,
        found: Record,
        epoch: u64,
    ) -> Self {
        let keyring = &surroundings.keyring;
        let identity = settings.identity(keyring).to_hex();
        let issued_to = settings.issued_to(keyring).to_hex();
        let mut record = if found.identity == identity {
            found
        } else if found.issued_to == issued_to {
            found.for_another_request(identity)
        } else {
            Record { identity, epoch, ..Record::default() }
        };
        record.issued_to = issued_to;
        let (refresh_token, grant) = to_send(surroundings, settings, &record);
        Self { generation, record, refresh_token, grant, epoch }
    }

    /// What a renewal must know of it.
    pub(crate) fn recorded(
        &self,
        surroundings: &Surroundings,
        settings: &Credential,
        member: u16,
    ) -> Recorded {
        let clock = &*surroundings.clock;
        let secret = settings.secret_digest(&surroundings.keyring);
        let ours = self.presented(surroundings);
        let about_ours = |presented: &String| Some(presented) == ours.as_ref();
        let intent = self.record.intent.as_ref().filter(|intent| about_ours(&intent.presented));
        let doubt = self.record.doubt.as_ref().filter(|doubt| about_ours(&doubt.presented));
        Recorded {
            generation: self.generation,
            attempt: self.record.attempt,
            held: self.record.token(member, self.generation, clock).map(|token| *token.held()),
            grant: self.grant,
            failure: self.record.failure.as_ref().map(|failure| Met {
                failure: failure.error().failure(settings.spends()),
                at: failure.at.resolve(clock),
                is_ours: failure.secret == secret,
            }),
            intent: intent.map(|intent| intent.at.resolve(clock)),
            doubt_since: doubt.map(|doubt| doubt.since.resolve(clock)),
            is_restored: self.record.epoch != self.epoch,
        }
    }

    /// Digest of the refresh token that is sent next.
    pub(crate) fn presented(&self, surroundings: &Surroundings) -> Option<String> {
        self.refresh_token.as_ref().map(|token| surroundings.refresh_digest(token).to_hex())
    }

    /// Makes it say what `change` tells; `read` is the answer that the change is about, `failure`
    /// what was met.
    pub(crate) fn change(
        &mut self,
        surroundings: &Surroundings,
        settings: &Credential,
        change: Change,
        read: Option<&Read>,
        met: Option<&RenewalError>,
    ) {
        let clock = &*surroundings.clock;
        let stamp = |at: Timestamp| Stamp::new(at, clock);
        let presented = self.presented(surroundings).unwrap_or_default();
        let doubt = |since: Option<Timestamp>| {
            since.map(|since| Doubt { since: stamp(since), presented: presented.clone() })
        };
        let record = &mut self.record;
        record.epoch = self.epoch;
        record.client = stored_client(settings);
        match change {
            Change::Intent { attempt, doubt_since } => {
                record.attempt = attempt;
                record.failure = None;
                record.doubt = doubt(doubt_since);
                record.intent = Some(Intent { presented, at: stamp(clock.now()) });
            }
            Change::Unsent => record.intent = None,
            Change::Accept { generation, source: _, doubt_since } => {
                let Some(Read { reading, sent_at, attempt, presented: sent }) = read else {
                    return;
                };
                let Ok(response) = &reading.outcome else { return };
                let seed = settings.seed().map(|seed| surroundings.refresh_digest(seed).to_hex());
                if seed.is_some() && seed == *sent {
                    record.begun_with = seed;
                }
                let digest = |secret: &Secret| surroundings.access_digest(secret);
                record.secret = settings.secret_digest(&surroundings.keyring);
                record.accept(response.clone(), *sent_at, digest, clock);
                record.attempt = record.attempt.max(*attempt);
                // It concerns the refresh token that came.
                let held = record.refresh_token.as_ref().or(self.refresh_token.as_ref());
                let presented = held.map(|token| surroundings.refresh_digest(token).to_hex());
                record.doubt = doubt_since
                    .zip(presented)
                    .map(|(since, presented)| Doubt { since: stamp(since), presented });
                self.generation = generation;
            }
            Change::Fail { generation, source: _, refused, doubt_since } => {
                record.attempt =
                    record.attempt.max(read.map_or(record.attempt, |read| read.attempt));
                record.intent = None;
                record.doubt = doubt(doubt_since);
                record.failure = met.and_then(|error| {
                    let told = error.failure(settings.spends());
                    let secret = settings.secret_digest(&surroundings.keyring);
                    StoredFailure::of(error, told, stamp(clock.now()), secret)
                });
                if refused {
                    record.secret = settings.secret_digest(&surroundings.keyring);
                    record.refused = read.and_then(|read| read.presented.clone());
                    // The configured one is sent only when that of the row was refused before.
                    let digest = |token: &Secret| surroundings.refresh_digest(token).to_hex();
                    if record.refresh_token.as_ref().map(digest) != record.refused {
                        record.refresh_token = None;
                    }
                }
                if let Some(salvaged) = read.and_then(|read| read.reading.refresh_token.clone()) {
                    if let Some(doubt) = &mut record.doubt {
                        doubt.presented = surroundings.refresh_digest(&salvaged).to_hex();
                    }
                    record.refresh_token = Some(salvaged);
                }
                self.generation = generation;
            }
            Change::Doubt { generation, attempt, since } => {
                record.attempt = attempt;
                record.intent = None;
                record.doubt = doubt(Some(since));
                record.failure = None;
                self.generation = generation;
            }
        }
    }
}

/// What the escrow has for a grant.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The answer that counts beside the row.
    pub(crate) best: Option<(Escrowed, Read)>,
    /// The records that bring something, the newest of them: they stay there.
    pub(crate) needed: Vec<Row>,
}

/// So many of the escrow's records that bring something stay there: where the store is set back,
/// the newest is missed, and the others are in case that it is of no use.
const NEEDED: usize = 4;

/// What the escrow has beside `row`, which comes to `recorded`.
pub(crate) async fn escrowed(
    surroundings: &Surroundings,
    settings: &Credential,
    key: &Key,
    row: &GrantRow,
    recorded: &Recorded,
) -> Result<Kept, StoreError> {
    if !settings.spends() {
        return Ok(Kept::default());
    }
    let secret = settings.client.authentication.secret();
    let secrets: Vec<&Secret> = secret.into_iter().chain(&row.refresh_token).collect();
    let ours = row.presented(surroundings);
    let (mut answers, mut needed) = (Vec::new(), Vec::new());
    for kept in surroundings.escrow.records(key).await? {
        let Ok(answer) = KeptAnswer::open(&surroundings.keyring, key, &kept) else {
            tracing::warn!(credential = %settings.name, "a record of the escrow does not open");
            continue;
        };
        if answer.issued_to != row.record.issued_to {
            continue;
        }
        let mut reading = answer.read(&secrets, &*surroundings.clock);
        if answer.identity != row.record.identity
            && let Ok(response) = &mut reading.outcome
        {
            // A token for another request; its refresh token is what counts.
            response.expires_in = Some(Duration::ZERO);
        }
        let read = Read {
            reading,
            sent_at: answer.sent_at(&*surroundings.clock),
            attempt: answer.attempt,
            presented: Some(answer.presented),
        };
        let escrowed = Escrowed {
            generation: kept.generation,
            attempt: read.attempt,
            is_ours: read.presented == ours,
            answer: read.answer(settings.spends()),
        };
        if escrowed.brings_something() {
            needed.push((escrowed.generation, escrowed.attempt, kept));
        }
        answers.push((escrowed, read));
    }
    needed.sort_by_key(|&(generation, attempt, _)| std::cmp::Reverse((generation, attempt)));
    let needed = needed.into_iter().take(NEEDED).map(|(.., record)| record).collect();
    let best = recorded.best_of(answers.iter().map(|(escrowed, _)| *escrowed));
    Ok(Kept { best: best.map(|index| answers.swap_remove(index)), needed })
}

/// The refresh token to send, never one that was refused.
pub(crate) fn to_send(
    surroundings: &Surroundings,
    settings: &Credential,
    record: &Record,
) -> (Option<Secret>, Grant) {
    let seed = match &settings.obtain {
        Obtain::ClientCredentials => return (None, Grant::Usable),
        Obtain::RefreshToken { seed } => seed,
    };
    let refused = |token: &Secret| {
        record.refused.as_deref() == Some(surroundings.refresh_digest(token).to_hex().as_str())
    };
    // A token that a caller presents is the only one its row is about.
    let is_spent = record.refresh_token.is_some() && record.refresh_token != *seed;
    if settings.key.kind() == &Kind::REFRESH && is_spent {
        return (None, Grant::Refused);
    }
    // The one that the row's came of is spent.
    let is_spent = |seed: &&Secret| {
        let begun_with = record.begun_with.as_ref();
        let is_newer = record.refresh_token.as_ref().is_some_and(|token| token != *seed);
        is_newer && begun_with == Some(&surroundings.refresh_digest(seed).to_hex())
    };
    let mut grant = Grant::Missing;
    for candidate in record.refresh_token.iter().chain(seed.iter().filter(|seed| !is_spent(seed))) {
        if !refused(candidate) {
            return (Some(candidate.clone()), Grant::Usable);
        }
        grant = Grant::Refused;
    }
    (None, grant)
}

/// A client that a caller brought is kept, so that a restart goes on.
fn stored_client(settings: &Credential) -> Option<StoredClient> {
    if settings.key.kind() != &Kind::CLIENT {
        return None;
    }
    let client = &settings.client;
    Some(StoredClient {
        id: client.id.clone(),
        secret: client.authentication.secret()?.clone(),
        in_body: matches!(client.authentication, ClientAuthentication::Post(_)),
        scope: settings.scope.to_string(),
        parameters: settings.parameters.to_vec(),
    })
}
