//! Bellwether's own part: a broker with a pool, and its dashboard.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::provider::Rotation;
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Handle, Obtain,
};
use bellwether_lifecycle::{Allowance, Demand, Quota};
use bellwether_oauth::{Scope, Secret};
use bellwether_server::{
    Admin, AdminSettings, CallerSettings, Configured, Gateway, GatewaySettings, HandOut,
    ResourceServer, Running, Vendor, bind,
};
use bellwether_simulation::Profile;
use bellwether_store::{Key, Keyring, MemoryEscrow, Store};

use super::Failure;
use super::stage::{Stage, client};

const NAME: &str = "polling";
/// The caller that workers are, where they come through the gateway. Its key guards nothing.
pub(super) const CALLER: (&str, &str) = ("worker", "a-key-of-the-stage-alone-0123456789");
const DRAIN: Duration = Duration::from_secs(1);

/// How a broker on a stage keeps its tokens.
pub(super) struct Keeping {
    /// Access tokens held at once.
    pub(super) pool: u16,
    /// What one token may ask of the API.
    pub(super) quota: Option<Quota>,
    /// How often the authorization server may be asked.
    pub(super) allowance: Allowance,
    /// Spreads renewals alike in every run.
    pub(super) seed: u64,
    /// Where tokens are kept, perhaps together with other brokers.
    pub(super) store: Arc<dyn Store>,
    /// What seals them there.
    pub(super) keyring: Keyring,
}

/// A broker on a stage.
#[derive(Debug)]
pub(super) struct Brokered {
    pub(super) handle: Handle,
    pub(super) dashboard: String,
    /// Where callers come to.
    pub(super) gateway: SocketAddr,
    broker: Broker,
    listeners: Running,
}

impl Brokered {
    pub(super) async fn start(stage: &Stage, keeping: Keeping) -> Result<Self, Failure> {
        let broker = broker(stage, &keeping);
        let vendor = vendor(stage, &keeping)?;
        let settings = CredentialSettings {
            name: NAME.to_owned(),
            key: Key::credential(NAME, 0).map_err(|error| Failure::Failed(error.to_string()))?,
            authorization_server: Arc::clone(&vendor.authorization_server),
            client: client(),
            obtain: Obtain::ClientCredentials,
            scope: Scope::default(),
            parameters: Vec::new(),
            pool: keeping.pool,
            quota: keeping.quota,
            demand: Demand::Always,
            unverified: false,
        };

        let handle = broker.add(settings).await.handle;
        let configured = Configured {
            handle: handle.clone(),
            vendor: Arc::new(vendor),
            known_tokens: Vec::new(),
        };
        let caller = CallerSettings::with_key(CALLER.0, Secret::from(CALLER.1), &[NAME]);
        let settings = GatewaySettings { callers: vec![caller], ..GatewaySettings::default() };
        let (listeners, gateway, admin) = listen(&broker, settings, vec![configured]).await?;
        let dashboard = format!("http://{admin}/");
        Ok(Self { handle, dashboard, gateway, broker, listeners })
    }

    /// Lets what is under way finish.
    pub(super) async fn stop(self) {
        self.listeners.stop().await;
        self.broker.stop().await;
    }
}

/// A gateway on a stage for callers that bring their own client. They get tokens that are good only
/// here, so that a pool can stand behind each.
#[derive(Debug)]
pub(super) struct OpenGateway {
    /// Where callers come to.
    pub(super) address: SocketAddr,
    broker: Broker,
    listeners: Running,
}

impl OpenGateway {
    pub(super) async fn start(stage: &Stage, keeping: Keeping) -> Result<Self, Failure> {
        let vendor = vendor(stage, &keeping)?;
        let broker = broker(stage, &keeping);
        let settings = GatewaySettings {
            open: Some(vendor),
            hand_out: HandOut::Local,
            ..GatewaySettings::default()
        };
        let (listeners, address, _) = listen(&broker, settings, Vec::new()).await?;
        Ok(Self { address, broker, listeners })
    }

    /// Lets what is under way finish.
    pub(super) async fn stop(self) {
        self.listeners.stop().await;
        self.broker.stop().await;
    }
}

fn broker(stage: &Stage, keeping: &Keeping) -> Broker {
    Broker::start(Environment {
        clock: Arc::clone(&stage.clock),
        store: Arc::clone(&keeping.store),
        escrow: Arc::new(MemoryEscrow::new()),
        keyring: keeping.keyring.clone(),
        seed: keeping.seed,
    })
}

/// Both listeners, where callers come to, and where operators do.
async fn listen(
    broker: &Broker,
    settings: GatewaySettings,
    configured: Vec<Configured>,
) -> Result<(Running, SocketAddr, SocketAddr), Failure> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let failed = |error: std::io::Error| Failure::Failed(error.to_string());
    let (gateway_listener, admin_listener) =
        (bind(anywhere).await.map_err(failed)?, bind(anywhere).await.map_err(failed)?);
    let gateway_address = gateway_listener.local_addr().map_err(failed)?;
    let admin_address = admin_listener.local_addr().map_err(failed)?;
    let gateway = Gateway::new(broker.clone(), settings, configured, &[gateway_address.ip()]).await;
    let gateway = Arc::new(gateway);
    let admin = Admin::new(Arc::clone(&gateway), AdminSettings::default(), &[admin_address.ip()]);
    let listeners =
        Running::start(gateway, gateway_listener, Arc::new(admin), admin_listener, DRAIN)
            .map_err(failed)?;
    Ok((listeners, gateway_address, admin_address))
}

fn vendor(stage: &Stage, keeping: &Keeping) -> Result<Vendor, Failure> {
    let authorization_server = AuthorizationServer {
        name: "simulated".to_owned(),
        token_endpoint: stage.token_endpoint.clone(),
        rotation: Rotation::Strict,
        rotation_window: None,
        default_lifetime: Duration::from_secs(3600),
        request_limit: Duration::from_secs(10),
        allowance: keeping.allowance,
        verify: None,
        transport: Arc::clone(&stage.transport),
    };
    let api = stage.organisation.url("/");
    let api: url::Url = api.parse().map_err(|error| Failure::Failed(format!("{api}: {error}")))?;
    let api = ResourceServer::new(api, None).map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(Vendor {
        authorization_server: Arc::new(authorization_server),
        resource_server: Some(Arc::new(api)),
        api_prefix: None,
        token_path: None,
        refusals_are_400: true,
        secret_in_body: false,
        pool: keeping.pool,
        quota: keeping.quota,
    })
}

/// A profile's limit for each token, shared out among so many who do not know of each other.
pub(super) fn quota(profile: &Profile, among: u32) -> Option<Quota> {
    profile
        .api_limit
        .map(|limit| Quota { requests: (limit.count / among.max(1)).max(1), per: limit.window })
}
