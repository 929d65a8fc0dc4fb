//! Bellwether's own part: a broker with a pool, and its dashboard.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::provider::Rotation;
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Handle, Obtain,
};
use bellwether_lifecycle::{Allowance, Demand, Quota};
use bellwether_oauth::Scope;
use bellwether_server::{
    Admin, AdminSettings, Configured, Gateway, GatewaySettings, Running, Vendor, bind,
};
use bellwether_simulation::Profile;
use bellwether_store::{Key, Keyring, MemoryEscrow, MemoryStore};

use super::stage::{Stage, client};
use crate::commands::Failure;

/// Access tokens held at once: 40 for the polls, two for peaks. The cap of 45 leaves room for those
/// that are being replaced.
pub(super) const POOL: u16 = 42;
/// Half as much again as the pool's renewals need, and no bursts: a token that was just replaced
/// then lives on for a while, whatever is still under way with it.
const ALLOWANCE: Allowance = Allowance { per_second: 8.0, burst: 2 };
const NAME: &str = "polling";
/// Spreads renewals alike in every run.
const SEED: u64 = 7;
const DRAIN: Duration = Duration::from_secs(1);

/// A broker on a stage.
#[derive(Debug)]
pub(super) struct Brokered {
    pub(super) handle: Handle,
    pub(super) dashboard: String,
    broker: Broker,
    listeners: Running,
}

impl Brokered {
    pub(super) async fn start(stage: &Stage, profile: &Profile) -> Result<Self, Failure> {
        let broker = Broker::start(Environment {
            clock: Arc::clone(&stage.clock),
            store: Arc::new(MemoryStore::new(Arc::clone(&stage.clock))),
            escrow: Arc::new(MemoryEscrow::new()),
            keyring: Keyring::ephemeral(),
            seed: SEED,
        });
        let limit = profile.api_limit;
        let quota = limit.map(|limit| Quota { requests: limit.count, per: limit.window });
        let vendor = vendor(stage, quota);
        let settings = CredentialSettings {
            name: NAME.to_owned(),
            key: Key::credential(NAME, 0).map_err(|error| Failure::Failed(error.to_string()))?,
            authorization_server: Arc::clone(&vendor.authorization_server),
            client: client(),
            obtain: Obtain::ClientCredentials,
            scope: Scope::default(),
            parameters: Vec::new(),
            pool: POOL,
            quota,
            demand: Demand::Always,
            unverified: false,
        };

        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let failed = |error: std::io::Error| Failure::Failed(error.to_string());
        let (gateway_listener, admin_listener) =
            (bind(anywhere).await.map_err(failed)?, bind(anywhere).await.map_err(failed)?);
        let (gateway_address, admin_address) = (
            gateway_listener.local_addr().map_err(failed)?,
            admin_listener.local_addr().map_err(failed)?,
        );
        let handle = broker.add(settings).await.handle;
        let configured = Configured {
            handle: handle.clone(),
            vendor: Arc::new(vendor),
            known_tokens: Vec::new(),
        };
        let settings = GatewaySettings::default();
        let gateway =
            Gateway::new(broker.clone(), settings, vec![configured], gateway_address).await;
        let gateway = Arc::new(gateway);
        let admin = Admin::new(Arc::clone(&gateway), AdminSettings::default(), admin_address);
        let listeners =
            Running::start(gateway, gateway_listener, Arc::new(admin), admin_listener, DRAIN);
        let dashboard = format!("http://{admin_address}/");
        Ok(Self { handle, dashboard, broker, listeners })
    }

    /// Lets what is under way finish.
    pub(super) async fn stop(self) {
        self.listeners.stop().await;
        self.broker.stop().await;
    }
}

fn vendor(stage: &Stage, quota: Option<Quota>) -> Vendor {
    let authorization_server = AuthorizationServer {
        name: "simulated".to_owned(),
        token_endpoint: stage.token_endpoint.clone(),
        rotation: Rotation::Strict,
        rotation_window: None,
        default_lifetime: Duration::from_secs(3600),
        request_limit: Duration::from_secs(10),
        allowance: ALLOWANCE,
        verify: None,
        transport: Arc::clone(&stage.transport),
    };
    Vendor {
        authorization_server: Arc::new(authorization_server),
        resource_server: None,
        api_prefix: None,
        token_path: None,
        refusals_are_400: true,
        secret_in_body: false,
        pool: POOL,
        quota,
    }
}
