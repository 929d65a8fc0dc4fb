//! A stage for the contract: the lab, the broker and both listeners over loopback sockets, and
//! callers that send what they like, byte by byte.

pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod origin;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether_broker::lifecycle::{Allowance, Quota, Timestamp, UnixTime};
use bellwether_broker::oauth::{Client as OAuthClient, ClientAuthentication, Scope, Secret};
use bellwether_broker::provider::Rotation;
use bellwether_broker::store::{
    BootId, Clock, Key, Keyring, MemoryEscrow, MemoryStore, Store, SystemClock,
};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Handle, Http1, Obtain,
};
use bellwether_server::{
    Admin, AdminSettings, CallerSettings, Configured, Gateway, GatewaySettings, HandOut, Listeners,
    ResourceServer, Running, Socket, Tls, Vendor, bind,
};
use bellwether_simulation::{Client, Effect, Endpoint, Fault, Latency, Organisation, Profile};
use rustls::RootCertStore;
use url::Url;

pub(crate) use http::{Ask, Connection, Reply};
pub(crate) use origin::Origin;

/// The client that the lab knows, and its secret.
pub(crate) const CLIENT: (&str, &str) = ("app", "s3cret-of-the-app");
/// The key of the caller `poller`, who may use the credential `polling` alone.
pub(crate) const POLLER_KEY: &str = "poller-key-0123456789-0123456789-abc";
/// The key of the caller `both`, who may use `polling` and `second`.
pub(crate) const BOTH_KEY: &str = "both-key-0123456789-0123456789-abcde";
/// The operator's key.
pub(crate) const OPERATOR_KEY: &str = "operator-key-0123456789-0123456789-x";

/// Time on the machine's clock, from its start.
pub(crate) struct Stopwatch(Timestamp);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(SystemClock::new().now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        SystemClock::new().now().since(self.0)
    }
}

/// Runs like the machine's clock, and skips ahead when told to.
#[derive(Debug)]
pub(crate) struct SkippingClock {
    machine: SystemClock,
    skipped_ms: AtomicU64,
}

impl SkippingClock {
    pub(crate) fn new() -> Self {
        Self { machine: SystemClock::new(), skipped_ms: AtomicU64::new(0) }
    }

    /// What waits on the machine's own timers is not woken by this; the next event is.
    pub(crate) fn skip(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).expect("a short skip");
        self.skipped_ms.fetch_add(millis, Ordering::Relaxed);
    }

    fn skipped(&self) -> Duration {
        Duration::from_millis(self.skipped_ms.load(Ordering::Relaxed))
    }
}

impl Clock for SkippingClock {
    fn now(&self) -> Timestamp {
        self.machine.now() + self.skipped()
    }

    fn wall(&self) -> UnixTime {
        self.machine.wall() + self.skipped()
    }

    fn boot_id(&self) -> BootId {
        self.machine.boot_id()
    }
}

/// What a test is about; the rest is plain.
pub(crate) struct Setting {
    pub(crate) profile: Profile,
    /// Callers bring their own client; else they are configured.
    pub(crate) open: bool,
    /// As under the preset `genesys`.
    pub(crate) genesys: bool,
    pub(crate) hand_out: HandOut,
    pub(crate) pool: u16,
    pub(crate) quota: Option<Quota>,
    pub(crate) default_lifetime: Duration,
    /// A path of the resource server that tells whether a token lives.
    pub(crate) verify: Option<&'static str>,
    /// The lab's API unless another is named.
    pub(crate) resource_server: Option<Url>,
    /// Instead of it.
    pub(crate) api: Option<Arc<ResourceServer>>,
    /// The lab's token endpoint unless another is named.
    pub(crate) token_endpoint: Option<Url>,
    pub(crate) gateway: GatewaySettings,
    /// Of a configured stage.
    pub(crate) callers: Vec<CallerSettings>,
    pub(crate) store: Option<(Arc<dyn Store>, Keyring)>,
    pub(crate) clock: Arc<SkippingClock>,
    /// Where the gateway listens beside its TCP address.
    pub(crate) sockets: Vec<Socket>,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Faults of the lab from the start on.
    pub(crate) faults: Vec<Fault>,
}

impl Setting {
    fn new(open: bool) -> Self {
        let profile = Profile::plain().client(
            Client::new(CLIENT.0, CLIENT.1)
                .refresh_token("first-refresh-token")
                .refresh_token("second-refresh-token"),
        );
        let profile = profile.client(Client::new("other", "s3cret-of-the-other"));
        Self {
            profile,
            open,
            genesys: false,
            hand_out: HandOut::Real,
            pool: 1,
            quota: None,
            default_lifetime: Duration::from_secs(3600),
            verify: None,
            resource_server: None,
            api: None,
            token_endpoint: None,
            gateway: GatewaySettings::default(),
            callers: callers(),
            store: None,
            clock: Arc::new(SkippingClock::new()),
            sockets: Vec::new(),
            tls: None,
            faults: Vec::new(),
        }
    }

    /// A latency long enough for a crowd to gather.
    pub(crate) fn slow_login(&mut self) {
        self.profile.token_latency = Latency::millis(150, 150);
    }
}

/// All that runs. It stops when this is dropped.
pub(crate) struct Stage {
    pub(crate) lab: bellwether_lab::Running,
    pub(crate) broker: Broker,
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) clock: Arc<SkippingClock>,
    pub(crate) handles: Vec<Handle>,
    /// What answers at `gateway`.
    pub(crate) answering: Arc<Gateway>,
    pub(crate) running: Option<Running>,
}

impl Stage {
    /// Callers bring their own client id and secret.
    pub(crate) async fn open(change: impl FnOnce(&mut Setting)) -> Self {
        let mut setting = Setting::new(true);
        change(&mut setting);
        Self::start(setting).await
    }

    /// Two configured credentials, `polling` and `second`, and two callers.
    pub(crate) async fn configured(change: impl FnOnce(&mut Setting)) -> Self {
        let mut setting = Setting::new(false);
        change(&mut setting);
        Self::start(setting).await
    }

    async fn start(mut setting: Setting) -> Self {
        let clock = Arc::clone(&setting.clock);
        let listener = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let now = {
            let clock = Arc::clone(&clock);
            Arc::new(move || (clock.now(), clock.wall()))
        };
        let mut organisation = Organisation::new(setting.profile.clone(), 7);
        for fault in std::mem::take(&mut setting.faults) {
            organisation.add_fault(fault);
        }
        let lab = bellwether_lab::serve(organisation, listener, now).expect("a lab");
        let vendor = vendor(&setting, &lab);

        let (store, keyring) = setting.store.take().unwrap_or_else(|| {
            let clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
            (Arc::new(MemoryStore::new(clock)), Keyring::ephemeral())
        });
        let environment = Environment {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            store,
            escrow: Arc::new(MemoryEscrow::new()),
            keyring,
            seed: 3,
        };
        let broker = Broker::start(environment);
        let gateway_listener = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let admin_listener = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let gateway_address = gateway_listener.local_addr().expect("an address");
        let admin_address = admin_listener.local_addr().expect("an address");

        let (mut configured, mut handles) = (Vec::new(), Vec::new());
        let mut settings = setting.gateway;
        settings.hand_out = setting.hand_out;
        if setting.open {
            settings.open = Some(vendor);
        } else {
            let vendor = Arc::new(vendor);
            for (name, client) in
                [("polling", CLIENT), ("second", ("other", "s3cret-of-the-other"))]
            {
                let pool = if name == "polling" { setting.pool } else { 1 };
                let added = broker.add(credential(name, client, &vendor, pool)).await;
                handles.push(added.handle.clone());
                configured.push(Configured {
                    handle: added.handle,
                    vendor: Arc::clone(&vendor),
                    known_tokens: added.known_tokens,
                });
            }
            settings.callers = setting.callers;
        }
        let gateway =
            Gateway::new(broker.clone(), settings, configured, &[gateway_address.ip()]).await;
        let gateway = Arc::new(gateway);
        let key = Some(Secret::from(OPERATOR_KEY));
        let admin_settings = AdminSettings { key, hosts: Vec::new() };
        let admin =
            Arc::new(Admin::new(Arc::clone(&gateway), admin_settings, &[admin_address.ip()]));
        let drain = Duration::from_secs(10);
        let answering = Arc::clone(&gateway);
        let mut sockets = std::mem::take(&mut setting.sockets);
        sockets.push(gateway_listener.into());
        let listeners = Listeners { sockets, tls: setting.tls.take() };
        let running = Running::start(gateway, listeners, admin, admin_listener, drain);
        let running = running.expect("threads");
        Self {
            lab,
            broker,
            gateway: gateway_address,
            admin: admin_address,
            clock,
            handles,
            answering,
            running: Some(running),
        }
    }

    /// Sends one request to the gateway on a connection of its own.
    pub(crate) async fn ask(&self, ask: Ask) -> Reply {
        http::ask(self.gateway, ask).await
    }

    /// The same on the admin listener.
    pub(crate) async fn ask_admin(&self, ask: Ask) -> Reply {
        http::ask(self.admin, ask).await
    }

    /// A `client_credentials` login with the lab's client.
    pub(crate) async fn login(&self) -> Reply {
        self.ask(Ask::login()).await
    }

    /// A token handed out to the lab's client.
    pub(crate) async fn token(&self) -> String {
        self.login().await.token()
    }

    /// Token requests that reached the lab.
    pub(crate) fn token_requests(&self) -> u64 {
        self.lab.totals().token_requests
    }

    /// Adds a fault to the lab.
    pub(crate) fn fault(&self, fault: Fault) {
        self.lab.with(|organisation, _| organisation.add_fault(fault));
    }

    /// From now on the lab's token endpoint answers like this.
    pub(crate) fn login_answers(&self, effect: Effect) {
        self.fault(Fault::lasting(Endpoint::Token, effect));
    }

    /// Ends the lab's live access tokens.
    pub(crate) fn revoke_tokens(&self) -> u64 {
        self.lab.with(|organisation, now| organisation.revoke_tokens(now, None))
    }

    /// Stops both listeners as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// The credential of a configured stage holds a token.
    pub(crate) async fn until_held(&self, name: &str) {
        let handle = self.handles.iter().find(|handle| handle.name() == name).expect("its handle");
        handle.token().await.expect("a token");
    }
}

/// The two callers of a configured stage, with no limits.
pub(crate) fn callers() -> Vec<CallerSettings> {
    vec![
        CallerSettings::with_key("poller", Secret::from(POLLER_KEY), &["polling"]),
        CallerSettings::with_key("both", Secret::from(BOTH_KEY), &["polling", "second"]),
    ]
}

fn vendor(setting: &Setting, lab: &bellwether_lab::Running) -> Vendor {
    let parse = |url: String| Url::parse(&url).expect("a URL");
    let resource_server = setting.resource_server.clone().unwrap_or_else(|| parse(lab.url("/")));
    Vendor {
        authorization_server: Arc::new(AuthorizationServer {
            name: "lab".to_owned(),
            token_endpoint: setting
                .token_endpoint
                .clone()
                .unwrap_or_else(|| parse(lab.url("/oauth/token"))),
            rotation: Rotation::Strict,
            rotation_window: None,
            default_lifetime: setting.default_lifetime,
            request_limit: Duration::from_secs(10),
            allowance: Allowance::DEFAULT,
            verify: setting.verify.map(|path| resource_server.join(path).expect("a path")),
            transport: Arc::new(Http1::with_roots(RootCertStore::empty())),
        }),
        resource_server: Some(setting.api.clone().unwrap_or_else(|| {
            Arc::new(ResourceServer::new(resource_server, None).expect("an API in the clear"))
        })),
        api_prefix: setting.genesys.then(|| "/api/".to_owned()),
        token_path: Some("/login/oauth/token".to_owned()),
        refusals_are_400: setting.genesys,
        secret_in_body: false,
        pool: setting.pool,
        quota: setting.quota,
    }
}

fn credential(
    name: &str,
    (id, secret): (&str, &str),
    vendor: &Vendor,
    pool: u16,
) -> CredentialSettings {
    CredentialSettings {
        name: name.to_owned(),
        key: Key::credential(name, 0).expect("a good name"),
        authorization_server: Arc::clone(&vendor.authorization_server),
        client: OAuthClient {
            id: id.to_owned(),
            authentication: ClientAuthentication::Basic(Secret::from(secret)),
        },
        obtain: Obtain::ClientCredentials,
        scope: Scope::default(),
        parameters: Vec::new(),
        pool,
        quota: vendor.quota,
        demand: bellwether_broker::lifecycle::Demand::Always,
        unverified: false,
    }
}
