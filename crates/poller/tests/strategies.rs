//! Each strategy against an organisation over sockets: who meets which limit.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::{Allowance, Demand, Quota};
use bellwether_broker::oauth::{Client, ClientAuthentication, Scope, Secret};
use bellwether_broker::provider::Rotation;
use bellwether_broker::store::{Clock, Key, Keyring, MemoryEscrow, MemoryStore, SystemClock};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Http1, Obtain, Transport,
};
use bellwether_lab::{Running, serve};
use bellwether_poller::{
    ApiSampler, Connector, Login, Observed, PerWorker, Poller, Refusals, Resource, Schedule,
    SharedLock, Tally, ThroughBroker, TokenStrategy, Watched,
};
use bellwether_simulation::{
    ApiLimit, Client as Known, Latency, Organisation, Profile, Totals, Window,
};
use rustls::RootCertStore;
use tokio::net::TcpListener;

const PERIOD: Duration = Duration::from_millis(800);
const WORKERS: usize = 8;

/// Six live tokens, and 25 requests in 10 s for each.
fn profile() -> Profile {
    Profile {
        live_tokens_per_client: Some(6),
        api_limit: Some(ApiLimit {
            count: 25,
            window: Duration::from_secs(10),
            kind: Window::FirstRequest,
        }),
        token_latency: Latency::millis(5, 15),
        api_latency: Latency::millis(1, 3),
        ..Profile::plain()
    }
}

/// Polls 40 agents for three periods.
struct Scene {
    clock: Arc<dyn Clock>,
    organisation: Running,
    observed: Arc<Observed>,
    transport: Arc<dyn Transport>,
}

impl Scene {
    async fn open() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let organisation = Organisation::new(profile().client(Known::new("app", "secret")), 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let tells = Arc::clone(&clock);
        let now = Arc::new(move || (tells.now(), tells.wall()));
        let organisation = serve(organisation, listener, now).expect("a listener");
        let observed = Arc::<Observed>::default();
        let http = Arc::new(Http1::with_roots(RootCertStore::empty()));
        let transport = Arc::new(Watched::new(http, Arc::clone(&observed)));
        Self { clock, organisation, observed, transport }
    }

    fn login(&self) -> Login {
        Login {
            token_endpoint: self.organisation.url("/oauth/token").parse().expect("a URL"),
            client: client(),
            transport: Arc::clone(&self.transport),
            clock: Arc::clone(&self.clock),
        }
    }

    async fn polled<S: TokenStrategy>(
        &self,
        strategy: impl Fn(usize) -> S,
    ) -> (Tally, Refusals, Totals) {
        let base = self.organisation.url("").parse().expect("a URL");
        let agents = (0..40).map(|agent| agent.to_string());
        let resource = Resource::new(&base, "/api/v2/users/{agent}", agents).expect("addresses");
        let connector = Connector::with_roots(RootCertStore::empty());
        let sampler = |worker| {
            let (clock, observed) = (Arc::clone(&self.clock), Arc::clone(&self.observed));
            ApiSampler::new(strategy(worker), resource.clone(), &connector, clock, observed)
        };
        let schedule = Schedule::new(self.clock.now(), PERIOD, 40);
        let poller = Arc::new(Poller::new(Arc::clone(&self.clock), schedule, PERIOD * 3));
        let snapshot = poller.run((0..WORKERS).map(sampler).collect()).await;
        assert_eq!(snapshot.tally.due, 120);
        (snapshot.tally, self.observed.refusals(), self.organisation.totals())
    }
}

fn client() -> Client {
    let authentication = ClientAuthentication::Basic(Secret::from("secret"));
    Client { id: "app".to_owned(), authentication }
}

/// Workers and organisation must have seen the same.
fn agree(refusals: &Refusals, totals: &Totals) {
    let seen = (refusals.token_requests, refusals.status_401, refusals.status_429);
    assert_eq!(seen, (totals.token_requests, totals.status_401, totals.status_429));
    assert_eq!(refusals.throttled_logins, totals.throttled_logins);
}

#[tokio::test]
async fn a_token_for_each_worker_is_more_than_the_cap_allows() {
    for jitter in [false, true] {
        let scene = Scene::open().await;
        let strategy = |worker: usize| match jitter {
            false => PerWorker::new(scene.login()),
            true => PerWorker::with_jitter(scene.login(), worker as u64),
        };
        let (tally, refusals, totals) = scene.polled(strategy).await;
        agree(&refusals, &totals);
        assert!(refusals.status_401 > 5 && totals.tokens_evicted > 5, "{refusals:?} {totals:?}");
        assert!(refusals.token_requests > 10, "{refusals:?} {tally:?}");
    }
}

#[tokio::test]
async fn one_token_for_all_is_less_than_the_api_s_limit_asks_for() {
    let scene = Scene::open().await;
    let first = SharedLock::new(scene.login());
    let (tally, refusals, totals) = scene.polled(|_| first.clone()).await;
    agree(&refusals, &totals);
    assert_eq!((refusals.token_requests, refusals.status_401), (1, 0));
    assert!(refusals.status_429 >= 1, "{refusals:?}");
    assert_eq!((tally.done + tally.late, tally.gaps), (25, 95));
}

#[tokio::test]
async fn a_pool_behind_the_broker_meets_neither() {
    let scene = Scene::open().await;
    let broker = Broker::start(Environment {
        clock: Arc::clone(&scene.clock),
        store: Arc::new(MemoryStore::new(Arc::clone(&scene.clock))),
        escrow: Arc::new(MemoryEscrow::new()),
        keyring: Keyring::ephemeral(),
        seed: 1,
    });
    let authorization_server = AuthorizationServer {
        name: "lab".to_owned(),
        token_endpoint: scene.login().token_endpoint,
        rotation: Rotation::Strict,
        rotation_window: None,
        default_lifetime: Duration::from_secs(3600),
        request_limit: Duration::from_secs(10),
        allowance: Allowance::DEFAULT,
        verify: None,
        transport: Arc::clone(&scene.transport),
    };
    let settings = CredentialSettings {
        name: "app".to_owned(),
        key: Key::credential("app", 0).expect("a good name"),
        authorization_server: Arc::new(authorization_server),
        client: client(),
        obtain: Obtain::ClientCredentials,
        scope: Scope::default(),
        parameters: Vec::new(),
        pool: 6,
        quota: Some(Quota { requests: 25, per: Duration::from_secs(10) }),
        demand: Demand::Always,
        unverified: false,
    };
    let handle = broker.add(settings).await.handle;
    let (tally, refusals, totals) = scene.polled(|_| ThroughBroker::new(handle.clone())).await;
    broker.stop().await;
    agree(&refusals, &totals);
    assert_eq!((refusals.status_401, refusals.status_429, totals.tokens_evicted), (0, 0, 0));
    assert_eq!((totals.token_requests, tally.gaps), (6, 0), "{tally:?}");
}
