//! Bellwether's library, over HTTP to the loopback endpoint.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::{Allowance, Demand};
use bellwether_broker::oauth::{Client, ClientAuthentication, Scope, Secret};
use bellwether_broker::provider::Rotation;
use bellwether_broker::store::{Key, Keyring, MemoryEscrow, Store, SystemClock};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Handle, Http1, Obtain,
};
use rustls::RootCertStore;

use crate::client;
use crate::endpoint::Endpoint;

/// A broker over `store`, and the authorization server that all its credentials share.
#[derive(Debug)]
pub struct Bellwether {
    broker: Broker,
    authorization_server: Arc<AuthorizationServer>,
}

impl Bellwether {
    /// Starts the broker.
    pub fn start(endpoint: &Endpoint, store: Arc<dyn Store>) -> Self {
        let broker = Broker::start(Environment {
            clock: Arc::new(SystemClock::new()),
            store,
            escrow: Arc::new(MemoryEscrow::new()),
            keyring: Keyring::ephemeral(),
            seed: 1,
        });
        let authorization_server = Arc::new(AuthorizationServer {
            name: "loopback".to_owned(),
            token_endpoint: endpoint.url().parse().expect("the endpoint's own address"),
            rotation: Rotation::Strict,
            rotation_window: None,
            default_lifetime: Duration::from_secs(3600),
        request_limit: Duration::from_secs(10),
            allowance: Allowance::DEFAULT,
            verify: None,
            transport: Arc::new(Http1::with_roots(RootCertStore::empty())),
        });
        Self { broker, authorization_server }
    }

    /// Adds the `n`th credential, with a client of its own.
    pub async fn add(&self, n: usize) -> Handle {
        let mut name = format!("credential-{n}");
        name.shrink_to_fit();
        let (id, secret) = client(n);
        let settings = CredentialSettings {
            key: Key::credential(&name, 0).expect("a plain name"),
            name,
            authorization_server: Arc::clone(&self.authorization_server),
            client: Client {
                id,
                authentication: ClientAuthentication::Basic(Secret::from(secret)),
            },
            obtain: Obtain::ClientCredentials,
            scope: Scope::default(),
            parameters: Vec::new(),
            pool: 1,
            quota: None,
            demand: Demand::Always,
            unverified: false,
        };
        self.broker.add(settings).await.handle
    }
}
