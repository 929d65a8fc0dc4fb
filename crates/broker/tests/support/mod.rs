//! A broker over a simulated organisation, in virtual time.
//!
//! Time is tokio's paused one: it moves only while every task waits, so an hour takes an instant
//! and a story always runs the same way.

#![allow(dead_code, reason = "each test binary tells with its own part of it")]
#![allow(unused_imports, reason = "the same")]
#![allow(unreachable_pub, reason = "shared by test binaries, none of which is a library")]

mod clock;
mod flaky_store;
mod scripted;
mod transport;
mod wire;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bellwether_broker::lifecycle::{Allowance, Demand, Quota, Timestamp};
use bellwether_broker::oauth::{Client, ClientAuthentication, Scope, Secret};
use bellwether_broker::provider::Rotation;
use bellwether_broker::store::{Clock, Key, Keyring, MemoryEscrow, MemoryStore, Store};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Handle, Obtain, Token, Transport,
};
use bellwether_simulation::{
    Client as Registered, Effect, Endpoint, Fault, Organisation, Outcome, Profile, Request, Totals,
};
use tokio::time::sleep;

pub use clock::VirtualClock;
pub use flaky_store::{FlakyStore, Works};
pub use scripted::{Line, Scripted};
pub use transport::SimulatedTransport;
pub use wire::{Came, Step, Wire};

/// The client of every story.
pub const CLIENT: &str = "polling";
/// Its secret.
pub const SECRET: &str = "correct horse";

/// An organisation, the way to it, and a broker that knows nothing of either's nature.
pub struct World {
    pub clock: Arc<VirtualClock>,
    pub organisation: Arc<Mutex<Organisation>>,
    pub transport: Arc<SimulatedTransport>,
    pub store: Arc<MemoryStore>,
    pub escrow: MemoryEscrow,
    pub broker: Broker,
}

impl World {
    /// Over an organisation that knows [`CLIENT`].
    pub fn new(profile: Profile) -> Self {
        Self::seeded(profile, 1)
    }

    /// The same with other chance.
    pub fn seeded(profile: Profile, seed: u64) -> Self {
        let clock = Arc::new(VirtualClock::start());
        let organisation = Organisation::new(profile.client(Registered::new(CLIENT, SECRET)), seed);
        let organisation = Arc::new(Mutex::new(organisation));
        let transport = Arc::new(SimulatedTransport::new(&organisation, &clock));
        let store = Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let escrow = MemoryEscrow::new();
        let broker = start(&clock, Arc::clone(&store) as Arc<dyn Store>, &escrow, seed);
        Self { clock, organisation, transport, store, escrow, broker }
    }

    /// Another broker on the same store, as in another process.
    pub fn another_broker(&self, seed: u64) -> Broker {
        self.broker_over(Arc::clone(&self.store) as Arc<dyn Store>, seed)
    }

    /// The same over another way to the store.
    pub fn broker_over(&self, store: Arc<dyn Store>, seed: u64) -> Broker {
        start(&self.clock, store, &self.escrow, seed)
    }

    pub fn organisation(&self) -> MutexGuard<'_, Organisation> {
        self.organisation.lock().expect("no test panics while it looks at the organisation")
    }

    /// The authorization server, reached by the simulated transport.
    pub fn server(&self) -> AuthorizationServer {
        server(Arc::clone(&self.transport) as Arc<dyn Transport>)
    }

    pub fn settings(&self) -> CredentialSettings {
        settings(self.server())
    }

    pub async fn add(&self, settings: CredentialSettings) -> Handle {
        self.broker.add(settings).await.handle
    }

    /// A credential with one token, `client_credentials`.
    pub async fn credential(&self) -> Handle {
        self.add(self.settings()).await
    }

    /// A credential with one token that is held already.
    pub async fn warm(&self) -> Handle {
        let handle = self.credential().await;
        handle.token().await.expect("a healthy server");
        handle
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn totals(&self) -> Totals {
        self.organisation().totals(self.clock.now())
    }

    pub fn token_requests(&self) -> u64 {
        self.totals().token_requests
    }

    /// Refuses token requests from now on, for so long.
    pub fn fail(&self, lasts: Duration, effect: Effect) {
        let from = self.clock.now();
        let until = from + lasts;
        let fault = Fault { from, until, endpoint: Endpoint::Token, effect, times: None };
        self.organisation().add_fault(fault);
    }

    /// Spoils the next token requests.
    pub fn fail_next(&self, times: u32, effect: Effect) {
        self.organisation().add_fault(Fault::next(times, Endpoint::Token, effect));
    }

    /// When token requests arrived since `since`.
    pub fn arrivals(&self, since: Timestamp) -> Vec<Duration> {
        let organisation = self.organisation();
        let entries = organisation.ledger().entries();
        let tokens = entries.filter(|entry| entry.endpoint == Endpoint::Token && entry.at >= since);
        tokens.map(|entry| entry.at.since(since)).collect()
    }

    /// One API request that takes `travel` to arrive; when it was sent, and its status.
    pub async fn call(&self, token: &Token, travel: Duration) -> (Timestamp, u16) {
        let sent_at = self.clock.now();
        sleep(travel).await;
        let request = Request::get("/api/v2/users/7/presence", token.access_token().expose());
        let answer = self.organisation().handle(self.clock.now(), self.clock.wall(), &request);
        sleep(answer.after).await;
        let Outcome::Respond(response) = answer.outcome else { panic!("the API has no faults") };
        (sent_at, response.status)
    }
}

fn start(
    clock: &Arc<VirtualClock>,
    store: Arc<dyn Store>,
    escrow: &MemoryEscrow,
    seed: u64,
) -> Broker {
    Broker::start(Environment {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        store,
        escrow: Arc::new(escrow.clone()),
        keyring: Keyring::from_bytes(&[7; Keyring::KEY_LEN]),
        seed,
    })
}

/// An authorization server reached by `transport`.
pub fn server(transport: Arc<dyn Transport>) -> AuthorizationServer {
    AuthorizationServer {
        name: "simulated".to_owned(),
        token_endpoint: "http://127.0.0.1:1/oauth/token".parse().expect("a URL"),
        rotation: Rotation::Strict,
        rotation_window: None,
        default_lifetime: Duration::from_secs(3600),
        request_limit: Duration::from_secs(10),
        allowance: Allowance::DEFAULT,
        verify: None,
        transport,
    }
}

/// A configured credential of `server` with the grant `client_credentials`.
pub fn settings(server: AuthorizationServer) -> CredentialSettings {
    CredentialSettings {
        name: "polling".to_owned(),
        key: Key::credential("polling", 0).expect("a good name"),
        authorization_server: Arc::new(server),
        client: client(SECRET),
        obtain: Obtain::ClientCredentials,
        scope: Scope::default(),
        parameters: Vec::new(),
        pool: 1,
        quota: None,
        demand: Demand::Always,
        unverified: false,
    }
}

pub fn client(secret: &str) -> Client {
    Client {
        id: CLIENT.to_owned(),
        authentication: ClientAuthentication::Basic(Secret::from(secret)),
    }
}

/// A pool of `members` with a limit for each of them.
pub fn pool(settings: CredentialSettings, members: u16, quota: Quota) -> CredentialSettings {
    CredentialSettings { pool: members, quota: Some(quota), ..settings }
}

/// How many different things there are.
pub fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> usize {
    items.into_iter().collect::<BTreeSet<_>>().len()
}

pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
