//! Refresh made idempotent: one request upstream for however many present the same refresh token.
//!
//! A rotated refresh token is spent by its first use, and a second use may revoke the whole family.
//! Callers that share one do not know of each other. So the first presentation is sent on; whoever
//! presents the same token, at the same time or for a while after, gets the pair it gave, or the
//! newest of its family. What is spent is remembered and never sent again.
//!
//! What has to be sent on goes through the same door as renewals: an outage or a vendor's limit on
//! logins is met once, whoever asks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_lifecycle::renewal::Order;
use bellwether_lifecycle::{Demand, Settled, Timestamp};
use bellwether_oauth::{Client, Details, Scope, Secret, TokenError};
use bellwether_store::{Key, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::broker::Broker;
use crate::command::Command;
use crate::doors::Visit;
use crate::error::RenewalError;
use crate::flight::{Aftermath, Flight, Outcome};
use crate::handle::PATIENCE;
use crate::settings::{AuthorizationServer, Credential, CredentialSettings, Identity, Obtain};
use crate::surroundings::Surroundings;
use crate::token::Token;

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

/// What is known of a presented token.
#[derive(Default)]
struct Found {
    generation: u64,
    attempt: u64,
    pair: Option<Pair>,
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
            format!("{}{}{secret}", presented.key(surroundings), presented.asked(surroundings));
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
                    self.way.surroundings.runtime.spawn(async move {
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
        let digest = surroundings.keyring.digest("presented refresh token", &bytes);
        // The only member, as a renewal names it.
        Key::refresh(&digest).with_member(0)
    }

    /// Digest of what is asked for with it.
    fn asked(&self, surroundings: &Surroundings) -> String {
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

    /// It is renewed as any grant is, in a row of its own; and only ever once.
    fn credential(&self, key: Key) -> Credential {
        let settings = CredentialSettings {
            name: "presented".to_owned(),
            key,
            authorization_server: Arc::clone(&self.authorization_server),
            client: self.client.clone(),
            obtain: Obtain::RefreshToken { seed: Some(self.refresh_token.clone()) },
            scope: self.scope.clone(),
            parameters: self.parameters.clone(),
            pool: 1,
            quota: None,
            demand: Demand::Always,
            unverified: false,
        };
        Credential::new(settings, Arc::new)
    }

    async fn exchange(&self, way: &Arc<Way>) -> Result<Arc<Pair>, ExchangeError> {
        let surroundings = &way.surroundings;
        let since = surroundings.clock.now();
        let credential = Arc::new(self.credential(self.key(surroundings)));
        let mut found = self.find(surroundings, &credential, since).await?;
        if let Some(pair) = found.pair {
            return Ok(Arc::new(pair));
        }
        let mut visit = self.enter(way).await?;
        let until = since + PATIENCE;
        loop {
            let order = Order {
                generation: found.generation,
                attempt: found.attempt,
                spends: true,
                replay: credential.policy().replay,
                // The caller has nothing else.
                usable_until: Timestamp::ZERO,
                is_probe: false,
                request_limit: self.authorization_server.request_limit,
            };
            let flight = Flight::new(Arc::clone(surroundings), Arc::clone(&credential), 0, order);
            // In a task of its own: should it panic, nobody waits for ever.
            let flown = tokio::spawn(flight.fly()).await;
            let Ok((landed, aftermath)) = flown else { return Err(RenewalError::Defect.into()) };
            let next = aftermath.refresh_token().cloned();
            tokio::spawn(put_away(Arc::clone(surroundings), credential.key.clone(), aftermath));
            match landed.outcome {
                Outcome::Granted { token } => {
                    way.verified().insert(self.client_digest(surroundings));
                    visit.settle(Settled::Answered);
                    let next = next.unwrap_or_else(|| self.refresh_token.clone());
                    return Ok(Arc::new(Pair::of(&token, next)));
                }
                Outcome::Failed { failure, error, .. } => {
                    let retry_after = failure.retry_after;
                    visit.settle(match failure.cause.is_passing() && landed.sent {
                        true => Settled::Faulted { retry_after },
                        false => Settled::Answered,
                    });
                    return Err(ExchangeError::Renewal(error));
                }
                Outcome::Elsewhere { retry_after } => {
                    if surroundings.clock.now() >= until {
                        return Err(ExchangeError::Busy);
                    }
                    sleep(retry_after).await;
                    found = self.find(surroundings, &credential, since).await?;
                    if let Some(pair) = found.pair {
                        return Ok(Arc::new(pair));
                    }
                }
            }
        }
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

    /// What is known of it without asking the server: its row, and the pair to give. What a
    /// request met after `since` is shared.
    async fn find(
        &self,
        surroundings: &Surroundings,
        credential: &Credential,
        since: Timestamp,
    ) -> Result<Found, ExchangeError> {
        let clock = &*surroundings.clock;
        let Some((generation, record)) = surroundings.record(&credential.key).await? else {
            return Ok(Found::default());
        };
        let found = Found { generation, attempt: record.attempt, pair: None };
        if let Some(failure) = &record.failure
            && failure.at.resolve(clock) > since
        {
            return Err(failure.error().into());
        }
        let is_answered = record.refused.is_some() || record.token.is_some();
        let is_proven = record.secret == credential.secret_digest(&surroundings.keyring);
        if is_answered && !is_proven {
            return Err(ExchangeError::OtherSecret);
        }
        if record.refused.is_some() {
            return Err(RenewalError::KnownRefused.into());
        }
        let Some(token) = record.token(0, generation, clock) else { return Ok(found) };
        let next = record.refresh_token.unwrap_or_else(|| self.refresh_token.clone());
        let is_recent = clock.now() < token.held().sent_at + self.replay;
        let is_same = record.identity == credential.identity(&surroundings.keyring).to_hex();
        let is_rotated = next != self.refresh_token;
        if is_rotated && !(is_recent && is_same) {
            tracing::warn!(client = %self.client.id, "a spent refresh token was presented");
            return Err(ExchangeError::Spent);
        }
        let pair = Pair::of(&token, next);
        if is_rotated {
            let newest = self.newest(surroundings, pair).await?;
            return Ok(Found { pair: Some(newest), ..found });
        }
        let pair = (is_same && is_recent && pair.is_worth_giving(clock.now())).then_some(pair);
        Ok(Found { pair, ..found })
    }

    /// The newest pair of the family that `pair` began.
    async fn newest(&self, surroundings: &Surroundings, pair: Pair) -> Result<Pair, ExchangeError> {
        let mut newest = pair;
        for _ in 0..LONGEST_FAMILY {
            let key = self.key_of(newest.refresh_token.expose(), surroundings);
            let Some((generation, record)) = surroundings.record(&key).await? else { break };
            let Some(token) = record.token(0, generation, &*surroundings.clock) else { break };
            let next = record.refresh_token.unwrap_or_else(|| newest.refresh_token.clone());
            let is_last = next == newest.refresh_token;
            newest = Pair::of(&token, next);
            if is_last {
                break;
            }
        }
        Ok(newest)
    }
}

/// Ends a renewal; then the row has the answer, and the escrow need not keep it.
async fn put_away(surroundings: Arc<Surroundings>, key: Key, aftermath: Aftermath) {
    if !aftermath.finish().await {
        return;
    }
    if let Err(error) = surroundings.escrow.remove(&key).await {
        tracing::debug!(%error, "the escrow keeps what the row has");
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
    fn of(token: &Token, refresh_token: Secret) -> Self {
        let held = token.held();
        Self {
            access_token: token.access_token().clone(),
            refresh_token,
            scope: token.scope().cloned(),
            expires_at: held.lifetime.map(|_| held.expires_at()),
            lifetime: held.lifetime,
        }
    }

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
