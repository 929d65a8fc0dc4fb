//! Refresh made idempotent: one request upstream for however many present the same refresh token.
//!
//! A rotated refresh token is spent by its first use, and a second use may revoke the whole family.
//! Callers that share one do not know of each other. So the first presentation is sent on; whoever
//! presents the same token, at the same time or for a while after, gets the pair it gave, or the
//! newest of its family. What is spent is remembered and never sent again.
//!
//! What has to be sent on goes through the same door as renewals: an outage or a vendor's limit on
//! logins is met once, whoever asks.

mod row;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_lifecycle::{Settled, Timestamp};
use bellwether_oauth::{
    Client, Details, Grant, Remedy, Scope, Secret, TokenError, TokenRequest, read,
};
use bellwether_store::{Acquired, Fence, Key, Stamp, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use self::row::{Exchanged, StoredPair};
use crate::broker::Broker;
use crate::command::Command;
use crate::doors::Visit;
use crate::error::RenewalError;
use crate::flight::Surroundings;
use crate::handle::PATIENCE;
use crate::settings::{AuthorizationServer, Identity};
use crate::stored_failure::StoredFailure;
use crate::transport::{Outgoing, TransportError};

const LOOK_AGAIN: Duration = Duration::from_millis(40);
/// Shorter than a caller's patience, so that it is told why.
const LONGEST_WAIT_AT_THE_DOOR: Duration = Duration::from_secs(13);
/// A family longer than this within the replay time is not followed to its end.
const LONGEST_FAMILY: usize = 1000;

/// Exchanges refresh tokens that callers present.
#[derive(Debug)]
pub struct Exchange {
    way: Arc<Way>,
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Ended>>>>,
}

/// The way to an authorization server, and who is known there.
#[derive(Debug)]
struct Way {
    surroundings: Arc<Surroundings>,
    commands: mpsc::UnboundedSender<Command>,
    /// Digests of clients with their secrets that an authorization server has confirmed. Others
    /// share a door of their own, and so delay nobody here.
    verified: Mutex<HashSet<String>>,
}

type Ended = Option<Result<Arc<Pair>, ExchangeError>>;

/// A refresh token somebody presents.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Who issued it.
    pub authorization_server: Arc<AuthorizationServer>,
    /// Who presents it.
    pub client: Client,
    /// The refresh token.
    pub refresh_token: Secret,
    /// The scope asked for.
    pub scope: Scope,
    /// Further parameters.
    pub parameters: Vec<(String, String)>,
    /// How long the pair it gave is given again: 10 min; to public clients 60 s.
    pub replay: Duration,
}

/// What a refresh token gave.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The access token.
    pub access_token: Secret,
    /// The refresh token to present next; always there.
    pub refresh_token: Secret,
    /// The scope granted, where the server said so.
    pub scope: Option<Scope>,
    /// When the access token ends; `None` if nobody knows.
    pub expires_at: Option<Timestamp>,
    /// How long it lived when it was issued.
    pub lifetime: Option<Duration>,
}

/// Why a presented refresh token gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The renewal failed.
    #[error(transparent)]
    Renewal(Arc<RenewalError>),
    /// It was spent longer ago than it may be replayed, or with other parameters.
    #[error("the refresh token was spent before; present the one that its answer carried")]
    Spent,
    /// Another secret than the one it was spent with.
    #[error("client authentication failed")]
    OtherSecret,
    /// Another process is exchanging it and does not come to an end.
    #[error("the refresh token is being exchanged elsewhere")]
    Busy,
}

/// A presented token's row.
#[derive(Default)]
struct Before {
    generation: u64,
    exchanged: Exchanged,
}

impl Exchange {
    /// Over a broker's store and clock.
    pub fn new(broker: &Broker) -> Self {
        let way = Way {
            surroundings: Arc::clone(broker.surroundings()),
            commands: broker.commands().clone(),
            verified: Mutex::default(),
        };
        Self { way: Arc::new(way), under_way: Arc::default() }
    }

    /// The pair for a presented refresh token, from one request upstream at most.
    ///
    /// # Errors
    /// Why there is none; the same for all who present the token at the same time.
    pub async fn refresh(&self, presented: Presented) -> Result<Arc<Pair>, ExchangeError> {
        let surroundings = &self.way.surroundings;
        let secret = presented.secret_digest(surroundings);
        let together =
            format!("{}{}{secret}", presented.key(surroundings), presented.identity(surroundings));
        let mut ended = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            match under_way.get(&together) {
                Some(receiver) => receiver.clone(),
                None => {
                    let (sender, receiver) = watch::channel(None);
                    under_way.insert(together.clone(), receiver.clone());
                    let way = Arc::clone(&self.way);
                    let entry = UnderWay { all: Arc::clone(&self.under_way), name: together };
                    // In a task of its own: whoever asked may go away, the exchange goes on.
                    tokio::spawn(async move {
                        let result = presented.exchange(&way).await;
                        drop(entry);
                        sender.send_replace(Some(result));
                    });
                    receiver
                }
            }
        };
        match timeout(PATIENCE, ended.wait_for(Option::is_some)).await {
            Ok(Ok(ended)) => ended.clone().unwrap_or_else(|| Err(RenewalError::Defect.into())),
            Ok(Err(_)) => Err(RenewalError::Defect.into()),
            // It goes on; whoever presents the token again finds what it gave.
            Err(_) => Err(ExchangeError::Busy),
        }
    }
}

impl Way {
    fn verified(&self) -> MutexGuard<'_, HashSet<String>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the entry however the task ends.
struct UnderWay {
    all: Arc<Mutex<HashMap<String, watch::Receiver<Ended>>>>,
    name: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl From<RenewalError> for ExchangeError {
    fn from(error: RenewalError) -> Self {
        Self::Renewal(Arc::new(error))
    }
}

impl From<StoreError> for ExchangeError {
    fn from(error: StoreError) -> Self {
        RenewalError::from(error).into()
    }
}

impl Presented {
    fn key(&self, surroundings: &Surroundings) -> Key {
        self.key_of(self.refresh_token.expose(), surroundings)
    }

    /// One row for each refresh token of a client, whatever else is asked for with it.
    fn key_of(&self, refresh_token: &str, surroundings: &Surroundings) -> Key {
        let parts = Identity {
            token_endpoint: self.authorization_server.token_endpoint.as_str(),
            client: &self.client.id,
            grant: "refresh_token",
            scope: refresh_token,
            parameters: &[],
        };
        let bytes = Zeroizing::new(parts.to_bytes());
        Key::refresh(&surroundings.keyring.digest("presented refresh token", &bytes))
    }

    fn identity(&self, surroundings: &Surroundings) -> String {
        let parts = Identity {
            token_endpoint: "",
            client: "",
            grant: "",
            scope: self.scope.as_str(),
            parameters: &self.parameters,
        };
        surroundings.keyring.digest("refresh parameters", &parts.to_bytes()).to_hex()
    }

    fn secret_digest(&self, surroundings: &Surroundings) -> String {
        let secret = self.client.authentication.secret().map_or("", Secret::expose);
        surroundings.keyring.digest("client secret", secret.as_bytes()).to_hex()
    }

    fn client_digest(&self, surroundings: &Surroundings) -> String {
        let parts = Identity {
            token_endpoint: self.authorization_server.token_endpoint.as_str(),
            client: &self.client.id,
            grant: "",
            scope: &self.secret_digest(surroundings),
            parameters: &[],
        };
        surroundings.keyring.digest("verified client", &parts.to_bytes()).to_hex()
    }

    async fn exchange(&self, way: &Arc<Way>) -> Result<Arc<Pair>, ExchangeError> {
        let surroundings = &way.surroundings;
        let (key, since) = (self.key(surroundings), surroundings.clock.now());
        if let (_, Some(pair)) = self.known(surroundings, &key, since).await? {
            return Ok(Arc::new(pair));
        }
        let visit = self.enter(way).await?;
        let fence = timeout(PATIENCE, self.lease(surroundings, &key))
            .await
            .map_err(|_| ExchangeError::Busy)??;
        // In a task of its own: should it panic, the lease is given back all the same.
        let exchanging = tokio::spawn({
            let (presented, key) = (self.clone(), key.clone());
            let way = Arc::clone(way);
            async move { presented.with_lease(&way, &key, fence, visit, since).await }
        });
        let result = exchanging.await.unwrap_or_else(|_| Err(RenewalError::Defect.into()));
        if let Err(error) = surroundings.store.release(&key, fence).await {
            tracing::debug!(%error, "the lease stays until it runs out");
        }
        result.map(Arc::new)
    }

    /// Waits at the door of the authorization server.
    async fn enter(&self, way: &Way) -> Result<Visit, ExchangeError> {
        let unreachable = |why: &str| RenewalError::Unreachable(why.to_owned()).into();
        let server = Arc::clone(&self.authorization_server);
        let (reply, admitted) = oneshot::channel();
        let is_verified = way.verified().contains(&self.client_digest(&way.surroundings));
        let client = is_verified.then(|| self.client.id.clone());
        let command = Command::Visit { server, client, reply };
        if way.commands.send(command).is_err() {
            return Err(unreachable("the broker has stopped"));
        }
        match timeout(LONGEST_WAIT_AT_THE_DOOR, admitted).await {
            Ok(Ok(visit)) => Ok(visit),
            Ok(Err(_)) => Err(unreachable("the broker has stopped")),
            Err(_) => Err(unreachable("too many requests wait for it, or it fails just now")),
        }
    }

    async fn lease(&self, surroundings: &Surroundings, key: &Key) -> Result<Fence, StoreError> {
        loop {
            match surroundings.acquire(key).await? {
                Acquired::Lease(lease) => return Ok(lease.fence),
                Acquired::Busy { retry_after } => sleep(retry_after.min(LOOK_AGAIN)).await,
            }
        }
    }

    async fn with_lease(
        &self,
        way: &Way,
        key: &Key,
        fence: Fence,
        mut visit: Visit,
        since: Timestamp,
    ) -> Result<Pair, ExchangeError> {
        let surroundings = &way.surroundings;
        let (before, known) = self.known(surroundings, key, since).await?;
        if let Some(pair) = known {
            return Ok(pair);
        }
        let Before { generation, exchanged: mut note } = before;
        let result = self.send(surroundings, key, fence, generation).await;
        visit.settle(match &result {
            Ok(_) => {
                way.verified().insert(self.client_digest(surroundings));
                Settled::Answered
            }
            Err(error) => {
                let failure = error.failure(true);
                let retry_after = failure.retry_after;
                let is_passing = failure.cause.is_passing();
                if is_passing {
                    let at = Stamp::new(surroundings.clock.now(), &*surroundings.clock);
                    note.failure = StoredFailure::of(error, failure, at, String::new());
                    note.save(surroundings, key, fence, generation).await;
                    Settled::Faulted { retry_after }
                } else {
                    Settled::Answered
                }
            }
        });
        Ok(result?)
    }

    /// What is known of it without asking the server: its row, and the pair to give. What a
    /// request met after `since` is shared.
    async fn known(
        &self,
        surroundings: &Surroundings,
        key: &Key,
        since: Timestamp,
    ) -> Result<(Before, Option<Pair>), ExchangeError> {
        let clock = &*surroundings.clock;
        let Some(row) = surroundings.store.load(key).await? else {
            return Ok((Before::default(), None));
        };
        let generation = row.generation;
        let before = Exchanged::open(surroundings, key, &row)?;
        let was_answered = before.refused || before.pair.is_some();
        if was_answered && before.secret != self.secret_digest(surroundings) {
            return Err(ExchangeError::OtherSecret);
        }
        if let Some(failure) = &before.failure
            && failure.at.resolve(clock) > since
        {
            return Err(failure.error().into());
        }
        if before.refused {
            return Err(RenewalError::KnownRefused.into());
        }
        if let (Some(pair), Some(at)) = (&before.pair, before.at) {
            let recent = clock.now() < at.resolve(clock) + self.replay;
            let same = before.identity == self.identity(surroundings);
            let rotated = pair.refresh_token != self.refresh_token.expose();
            if rotated && !(recent && same) {
                tracing::warn!(client = %self.client.id, "a spent refresh token was presented");
                return Err(ExchangeError::Spent);
            }
            if rotated {
                let newest = self.newest(surroundings, pair).await?;
                return Ok((Before { generation, exchanged: before }, Some(newest)));
            }
            let pair = pair.resolve(clock);
            if same && recent && pair.is_worth_giving(clock.now()) {
                return Ok((Before { generation, exchanged: before }, Some(pair)));
            }
        }
        Ok((Before { generation, exchanged: before }, None))
    }

    /// The newest pair of the family that `pair` began.
    async fn newest(
        &self,
        surroundings: &Surroundings,
        pair: &StoredPair,
    ) -> Result<Pair, ExchangeError> {
        let clock = &*surroundings.clock;
        let mut newest = pair.resolve(clock);
        for _ in 0..LONGEST_FAMILY {
            let key = self.key_of(newest.refresh_token.expose(), surroundings);
            let Some(row) = surroundings.store.load(&key).await? else { break };
            let Some(next) = Exchanged::open(surroundings, &key, &row)?.pair else { break };
            if next.refresh_token == newest.refresh_token.expose() {
                newest = next.resolve(clock);
                break;
            }
            newest = next.resolve(clock);
        }
        Ok(newest)
    }

    async fn send(
        &self,
        surroundings: &Surroundings,
        key: &Key,
        fence: Fence,
        generation: u64,
    ) -> Result<Pair, RenewalError> {
        let clock = &*surroundings.clock;
        let request = TokenRequest {
            grant: Grant::RefreshToken(self.refresh_token.clone()),
            scope: self.scope.clone(),
            parameters: self.parameters.clone(),
        };
        let encoded = request.encode(&self.client);
        let outgoing = Outgoing {
            url: self.authorization_server.token_endpoint.clone(),
            authorization: encoded.authorization,
            form: Some(encoded.body),
        };
        let sent_at = clock.now();
        let received = self.authorization_server.transport.send(outgoing).await;
        let received = received.map_err(|error| match error {
            TransportError::NotSent(why) => RenewalError::Unreachable(why),
            TransportError::MaybeSent(why) => RenewalError::AnswerLost(why),
        })?;
        let secrets: Vec<&Secret> =
            self.client.authentication.secret().into_iter().chain([&self.refresh_token]).collect();
        let reading = read(&received.message(clock.wall(), &secrets));
        let mut note = Exchanged {
            identity: self.identity(surroundings),
            secret: self.secret_digest(surroundings),
            at: Some(Stamp::new(sent_at, clock)),
            ..Exchanged::default()
        };
        match reading.outcome {
            Ok(response) => {
                let pair = StoredPair::of(response, &self.refresh_token, sent_at, clock);
                let answer = pair.resolve(clock);
                note.pair = Some(pair);
                note.save(surroundings, key, fence, generation + 1).await;
                Ok(answer)
            }
            Err(error) => {
                if error.remedy() == Remedy::Reauthorize {
                    note.refused = true;
                    note.save(surroundings, key, fence, generation + 1).await;
                }
                Err(RenewalError::Refused(error))
            }
        }
    }
}

impl ExchangeError {
    /// The error to show where only the authorization server's kind is known.
    pub fn token_error(&self) -> Option<TokenError> {
        let spent =
            |status, code: &str, text: &str| Details::new(status, Some(code), Some(text), &[]);
        match self {
            Self::Renewal(error) if matches!(**error, RenewalError::KnownRefused) => {
                Some(TokenError::InvalidGrant {
                    details: spent(400, "invalid_grant", "the refresh token was refused before"),
                })
            }
            Self::Renewal(error) => error.token_error().cloned(),
            Self::Spent => Some(TokenError::InvalidGrant {
                details: spent(400, "invalid_grant", "the refresh token was spent before"),
            }),
            Self::OtherSecret => Some(TokenError::InvalidClient {
                details: spent(401, "invalid_client", "client authentication failed"),
            }),
            Self::Busy => None,
        }
    }
}

impl Pair {
    /// What is left of the access token's life; `None` if nobody knows.
    pub fn expires_in(&self, now: Timestamp) -> Option<Duration> {
        self.expires_at.map(|end| now.until(end))
    }

    fn is_worth_giving(&self, now: Timestamp) -> bool {
        match (self.expires_at, self.lifetime) {
            (Some(end), Some(life)) => now + bellwether_lifecycle::floor(life) < end,
            _ => true,
        }
    }
}
