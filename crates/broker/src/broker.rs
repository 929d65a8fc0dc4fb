//! The broker itself: where credentials are added, and where the scheduler runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_lifecycle::Lifecycle;
use bellwether_oauth::Secret;
use bellwether_store::{Clock, Digest, Escrow, Keyring, Store};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::command::Command;
use crate::doors::Doors;
use crate::handle::Handle;
use crate::news::News;
use crate::reauthorized;
use crate::restore::{self, RememberedClient};
use crate::scheduler::Scheduler;
use crate::settings::{Credential, CredentialSettings, LatestTerms};
use crate::shared::{CredentialId, Shared};
use crate::surroundings::Surroundings;
use crate::token::Token;

/// News that a slow listener may lag behind.
const NEWS_KEPT: usize = 1024;

/// Keeps any number of credentials fresh. Must be started inside a tokio runtime; ends with the
/// last of its clones and handles.
#[derive(Clone, Debug)]
pub struct Broker {
    surroundings: Arc<Surroundings>,
    commands: mpsc::UnboundedSender<Command>,
    news: broadcast::Sender<News>,
    next_id: Arc<AtomicU64>,
    terms: Arc<LatestTerms>,
}

/// What a broker is given instead of reaching for it.
#[derive(Debug)]
pub struct Environment {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Keeps tokens between processes.
    pub store: Arc<dyn Store>,
    /// Keeps the answers that spent a refresh token until the store has them.
    pub escrow: Arc<dyn Escrow>,
    /// Seals what the store keeps.
    pub keyring: Keyring,
    /// Spreads renewals and retries; a test chooses it.
    pub seed: u64,
}

/// A credential and the digests of the tokens it handed out before.
#[derive(Debug)]
pub struct Added {
    /// The credential.
    pub handle: Handle,
    /// Digests by [`Broker::access_digest`], in hexadecimal.
    pub known_tokens: Vec<String>,
}

impl Broker {
    /// Starts the scheduler on the current runtime.
    pub fn start(environment: Environment) -> Self {
        let Environment { clock, store, escrow, keyring, seed } = environment;
        let surroundings = Arc::new(Surroundings::new(clock, store, escrow, keyring));
        let (commands, receiver) = mpsc::unbounded_channel();
        let (news, _) = broadcast::channel(NEWS_KEPT);
        let doors = Doors::new(commands.downgrade());
        let scheduler =
            Scheduler::new(Arc::clone(&surroundings), receiver, doors, news.clone(), seed);
        tokio::spawn(scheduler.run());
        Self { surroundings, commands, news, next_id: Arc::default(), terms: Arc::default() }
    }

    /// Adds a credential, with whatever the store holds for it.
    pub async fn add(&self, settings: CredentialSettings) -> Added {
        let settings = Arc::new(Credential::new(settings, |terms| self.terms.share(terms)));
        let (mut tokens, mut attempts, mut known_tokens) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_unsettled = false;
        for member in 0..settings.pool.max(1) {
            let restored = restore::restore(&self.surroundings, &settings, member).await;
            attempts.push(restored.as_ref().map_or(0, |restored| restored.attempt));
            if let Some(restored) = restored {
                is_unsettled |= restored.is_unsettled;
                tokens.extend(restored.token);
                known_tokens.extend(restored.known);
            }
        }
        let id = CredentialId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let surroundings = Arc::clone(&self.surroundings);
        let status = Lifecycle::new(settings.policy(), surroundings.clock.now()).status();
        let shared = Arc::new(Shared::new(id, settings, surroundings, status));
        let restored = tokens;
        let command =
            Command::Add { shared: Arc::clone(&shared), restored, attempts, is_unsettled };
        // A broker that has stopped adds nothing; its handles say so.
        let _ = self.commands.send(command);
        let handle = Handle { shared, commands: self.commands.clone() };
        if handle.settings().spends() {
            reauthorized::watch(&self.surroundings, &handle);
        }
        Added { handle, known_tokens }
    }

    /// Stops renewing a credential; its rows stay.
    pub fn remove(&self, handle: &Handle) {
        let _ = self.commands.send(Command::Remove(handle.shared.id));
    }

    /// Stops renewing a credential and removes its rows.
    pub async fn forget(&self, handle: &Handle) {
        self.remove(handle);
        restore::forget(&self.surroundings, &handle.settings()).await;
    }

    /// The clients that callers brought before a restart.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remembered_clients(
        &self,
    ) -> Result<Vec<RememberedClient>, bellwether_store::StoreError> {
        restore::remembered_clients(&self.surroundings).await
    }

    /// Changes of state, from now on.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// The clock it was given.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.surroundings.clock
    }

    /// What it seals and hashes with.
    pub fn keyring(&self) -> &Keyring {
        &self.surroundings.keyring
    }

    /// The store it was given.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.surroundings.store
    }

    /// Renewals that ended in doubt since the start.
    pub fn doubts(&self) -> u64 {
        self.surroundings.tally.doubts.load(Ordering::Relaxed)
    }

    /// How often something was seen that must never be: a refresh token about to leave without its
    /// intent, a generation that goes down, a renewal that ends without a result. Stays 0.
    pub fn invariant_violations(&self) -> u64 {
        self.surroundings.tally.violations.load(Ordering::Relaxed)
    }

    /// The digest under which an access token is known.
    pub fn access_digest(&self, access_token: &Secret) -> Digest {
        self.surroundings.access_digest(access_token)
    }

    /// The same for a held token, which remembers it.
    pub fn token_digest<'a>(&self, token: &'a Token) -> &'a Digest {
        token.digest(|access_token| self.access_digest(access_token))
    }

    pub(crate) fn commands(&self) -> &mpsc::UnboundedSender<Command> {
        &self.commands
    }

    pub(crate) fn surroundings(&self) -> &Arc<Surroundings> {
        &self.surroundings
    }

    /// Lets renewals under way finish, then stops.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).is_ok() {
            // An error means that it has stopped already.
            let _ = stopped.await;
        }
    }
}
