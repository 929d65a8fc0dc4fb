use std::time::Duration;

use bellwether_broker::lifecycle::{Allowance, Demand};
use bellwether_broker::oauth::{Client, ClientAuthentication, Scope, Secret};
use bellwether_broker::provider::Rotation;
use bellwether_broker::store::{Clock, Key, Keyring, ManualClock, MemoryEscrow, MemoryStore};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Http1, Obtain,
};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use rustls::RootCertStore;

use super::*;
use crate::callers::{Certificate, Offered};
use crate::gateway::{Configured, Gateway};
use crate::settings::{CallerKey, CallerSettings, GatewaySettings, Vendor};

const KEY: &str = "the-key-0123456789-0123456789-0123456";
const NEWER: &str = "new-key-0123456789-0123456789-0123456";
const WRONG: &str = "bad-key-0123456789-0123456789-0123456";
const SPIFFE: &str = "spiffe://example.com/poller";

/// A gateway that nobody listens at, with the credentials `one` and `two`.
struct Stage {
    gateway: Gateway,
    offered: Vec<Offered>,
    clock: Arc<ManualClock>,
}

impl Stage {
    async fn new(callers: Vec<CallerSettings>) -> Self {
        Self::with(callers, Vec::new()).await
    }

    /// `known` are digests of tokens that were handed out before a restart.
    async fn with(callers: Vec<CallerSettings>, known: Vec<Secret>) -> Self {
        let clock = Arc::new(ManualClock::new());
        let broker = Broker::start(Environment {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            store: Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>)),
            escrow: Arc::new(MemoryEscrow::new()),
            keyring: Keyring::ephemeral(),
            seed: 1,
        });
        let (mut configured, mut offered) = (Vec::new(), Vec::new());
        for name in ["one", "two"] {
            let vendor = Arc::new(vendor());
            let handle = broker.add(credential(name, &vendor)).await.handle;
            offered.push(Offered { handle: handle.clone(), vendor: Arc::clone(&vendor) });
            let digests = known.iter().map(|text| broker.access_digest(text).to_hex());
            let known_tokens = if name == "one" { digests.collect() } else { Vec::new() };
            configured.push(Configured { handle, vendor, known_tokens });
        }
        let settings = GatewaySettings { callers, ..GatewaySettings::default() };
        let listen = &[[127, 0, 0, 1].into()];
        let gateway = Gateway::new(broker, settings, configured, listen).await;
        Self { gateway, offered, clock }
    }

    fn skip(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A token of `one`, as if it had been handed out to who shows this key at this peer.
    fn issue(&self, text: &str, key: Option<&str>, peer: &Peer) -> Secret {
        let identity = self.gateway.callers.identify(&headers(key), peer).expect("a caller");
        let text = Secret::from(text);
        let leads_to = || LeadsTo::Credential(self.offered[0].clone());
        self.gateway.passes.issue(&text, Some(identity.mark), leads_to);
        text
    }

    fn admit(&self, bearer: Option<&str>, peer: &Peer) -> Result<Admitted, u16> {
        self.gateway
            .known()
            .admit(&headers(bearer), peer)
            .map_err(|refusal| refusal.status.as_u16())
    }

    /// Status of a request for the API, as far as we decide it.
    fn ask(&self, bearer: Option<&str>, peer: &Peer, method: &Method, path: &str) -> u16 {
        let headers = headers(bearer);
        let led = self.gateway.known().admit(&headers, peer);
        let led = led.and_then(|admitted| admitted.leads_to(method, path, &headers));
        led.map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
    }

    fn get(&self, bearer: &str, peer: &Peer) -> u16 {
        self.ask(Some(bearer), peer, &Method::GET, "/api/x")
    }
}

fn vendor() -> Vendor {
    Vendor {
        authorization_server: Arc::new(AuthorizationServer {
            name: "nobody".to_owned(),
            token_endpoint: "http://127.0.0.1:9/oauth/token".parse().unwrap(),
            rotation: Rotation::Strict,
            rotation_window: None,
            default_lifetime: Duration::from_secs(3600),
            request_limit: Duration::from_secs(10),
            allowance: Allowance::DEFAULT,
            verify: None,
            transport: Arc::new(Http1::with_roots(RootCertStore::empty())),
        }),
        resource_server: None,
        api_prefix: None,
        token_path: None,
        refusals_are_400: false,
        secret_in_body: false,
        pool: 1,
        quota: None,
    }
}

fn credential(name: &str, vendor: &Vendor) -> CredentialSettings {
    CredentialSettings {
        name: name.to_owned(),
        key: Key::credential(name, 0).unwrap(),
        authorization_server: Arc::clone(&vendor.authorization_server),
        client: Client {
            id: "app".to_owned(),
            authentication: ClientAuthentication::Basic(Secret::from("secret")),
        },
        obtain: Obtain::ClientCredentials,
        scope: Scope::default(),
        parameters: Vec::new(),
        pool: 1,
        quota: None,
        demand: Demand::WhileUsed { idle_after: Duration::from_secs(1) },
        unverified: false,
    }
}

fn headers(bearer: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, "localhost".parse().unwrap());
    if let Some(token) = bearer {
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    }
    headers
}

fn keyed(name: &str, key: &str) -> CallerSettings {
    CallerSettings::with_key(name, Secret::from(key), &["one"])
}

fn keyless(name: &str) -> CallerSettings {
    CallerSettings { keys: Vec::new(), ..keyed(name, "") }
}

fn user(user: u32) -> Peer {
    Peer { user: Some(user), ..Peer::default() }
}

fn certificate(name: &str) -> Peer {
    let certificate = Certificate { names: vec!["x.test".to_owned(), name.to_owned()] };
    let address = Some([192, 0, 2, 1].into());
    Peer { address, user: None, certificate: Some(certificate) }
}

fn tcp() -> Peer {
    Peer { address: Some([127, 0, 0, 1].into()), ..Peer::default() }
}

fn status(refusal: &Refusal) -> u16 {
    refusal.status.as_u16()
}

#[tokio::test]
async fn a_caller_is_its_key_its_peer_or_both() {
    let stage = Stage::new(vec![
        keyed("key", KEY),
        CallerSettings { user: Some(1000), ..keyless("user") },
        CallerSettings { certificates: vec![SPIFFE.to_owned()], ..keyless("certificate") },
        CallerSettings { user: Some(1000), ..keyed("both", NEWER) },
    ])
    .await;
    #[rustfmt::skip]
    let cases = [
        // shown,       at,                        who
        (Some(KEY),     tcp(),                     Ok("key")),
        (Some(KEY),     user(1000),                Ok("key")),
        (Some(KEY),     certificate(SPIFFE),       Ok("key")),
        (None,          user(1000),                Ok("user")),
        (None,          certificate(SPIFFE),       Ok("certificate")),
        (Some(NEWER),   user(1000),                Ok("both")),
        // Both factors, or none.
        (Some(NEWER),   user(1001),                Err(401)),
        (Some(NEWER),   tcp(),                     Err(401)),
        (Some(NEWER),   certificate(SPIFFE),       Err(401)),
        // Nothing shown, and nobody known.
        (None,          tcp(),                     Err(401)),
        (None,          user(0),                   Err(401)),
        (None,          user(1001),                Err(401)),
        (None,          certificate("spiffe://example.com/other"), Err(401)),
        (None,          Peer::default(),           Err(401)),
        // What is shown and wrong is not made good by who shows it.
        (Some(WRONG),   user(1000),                Err(401)),
        (Some(WRONG),   certificate(SPIFFE),       Err(401)),
        (Some(""),      user(1000),                Err(401)),
    ];
    for (shown, peer, expected) in cases {
        let found = stage.gateway.callers.identify(&headers(shown), &peer);
        let found = found.as_ref().map(|identity| identity.caller.name()).map_err(status);
        assert_eq!(found, expected, "{shown:?} {peer:?}");
        assert_eq!(stage.admit(shown, &peer).is_ok(), expected.is_ok(), "{shown:?} {peer:?}");
    }
    let mut basic = headers(None);
    basic.insert(AUTHORIZATION, "Basic a2V5OmtleQ==".parse().unwrap());
    let shown = stage.gateway.callers.identify(&basic, &user(1000));
    assert_eq!(shown.as_ref().map(|_| ()).map_err(status), Err(401), "anything shown counts");
}

#[tokio::test]
async fn at_the_token_endpoint_a_peer_stands_in_for_the_secret() {
    let stage = Stage::new(vec![
        CallerSettings { user: Some(1000), ..keyless("user") },
        CallerSettings { user: Some(1000), ..keyed("both", KEY) },
    ])
    .await;
    #[rustfmt::skip]
    let cases = [
        // client id,   secret,       at,           who
        ("user",        None,         user(1000),   Ok(())),
        ("user/one",    None,         user(1000),   Ok(())),
        ("user",        Some(""),     user(1000),   Ok(())),
        ("both",        Some(KEY),    user(1000),   Ok(())),
        ("user/two",    None,         user(1000),   Err(404)),
        ("user",        Some(WRONG),  user(1000),   Err(401)),
        ("user",        None,         user(1001),   Err(401)),
        ("user",        None,         tcp(),        Err(401)),
        ("both",        None,         user(1000),   Err(401)),
        ("both",        Some(KEY),    user(1001),   Err(401)),
        ("both",        Some(KEY),    tcp(),        Err(401)),
        ("user",        Some(KEY),    user(1000),   Err(401)),
        ("User",        None,         user(1000),   Err(401)),
        ("",            None,         user(1000),   Err(401)),
    ];
    for (id, secret, peer, expected) in cases {
        let secret = secret.map(Secret::from);
        let found = stage.gateway.callers.client(id, secret.as_ref(), &peer);
        let found = found.map(|_| ()).map_err(|refusal| status(&refusal));
        assert_eq!(found, expected, "{id} {peer:?}");
    }
}

#[tokio::test]
async fn who_could_be_two_callers_is_neither() {
    let names = |name: &str| CallerSettings {
        certificates: vec![name.to_owned()],
        ..keyless(name.split('.').next().unwrap())
    };
    let stage = Stage::new(vec![names("x.test"), names("y.test")]).await;
    assert_eq!(stage.admit(None, &certificate("z.test")).map(|_| ()), Ok(()));
    assert_eq!(stage.admit(None, &certificate("y.test")).map(|_| ()), Err(401));
}

/// A browser shows its certificate for every page that asks.
#[tokio::test]
async fn a_page_cannot_borrow_the_browsers_certificate() {
    let stage =
        Stage::new(vec![CallerSettings { certificates: vec![SPIFFE.to_owned()], ..keyless("it") }])
            .await;
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")] {
        let mut headers = headers(None);
        headers.insert(name, value.parse().unwrap());
        let refused = stage.gateway.known().admit(&headers, &certificate(SPIFFE));
        assert_eq!(refused.map(|_| ()).map_err(|refusal| status(&refusal)), Err(403), "{name}");
    }
}

#[tokio::test]
async fn a_token_is_as_good_as_the_caller_it_was_given_to() {
    let limited = || CallerSettings {
        paths: Some(vec!["/api/users/*".to_owned()]),
        methods: Some(vec![Method::GET]),
        user: Some(1000),
        ..keyed("limited", KEY)
    };
    let stage = Stage::new(vec![limited(), keyed("free", NEWER)]).await;
    let token = stage.issue("a-token", Some(KEY), &user(1000));
    let text = token.expose();
    #[rustfmt::skip]
    let cases = [
        (user(1000), Method::GET,  "/api/users/7", 200),
        (user(1000), Method::HEAD, "/api/users/7", 200),
        (user(1000), Method::GET,  "/api/users",   404),
        (user(1000), Method::POST, "/api/users/7", 404),
        (user(1001), Method::GET,  "/api/users/7", 401),
        (tcp(),      Method::GET,  "/api/users/7", 401),
    ];
    for (peer, method, path, expected) in &cases {
        assert_eq!(
            stage.ask(Some(text), peer, method, path),
            *expected,
            "{peer:?} {method} {path}"
        );
    }
    // The same text, given to somebody with more rights as well: it cannot be told who shows it.
    stage.issue("a-token", Some(NEWER), &tcp());
    assert_eq!(stage.ask(Some(text), &tcp(), &Method::POST, "/api/users/7"), 200);
    // Without that caller it is what it was.
    stage.gateway.replace_callers(&[limited()]);
    assert_eq!(stage.ask(Some(text), &tcp(), &Method::POST, "/api/users/7"), 401);
    assert_eq!(stage.ask(Some(text), &user(1000), &Method::GET, "/api/users/7"), 200);
}

#[tokio::test]
async fn what_is_remembered_stands_until_something_changed() {
    let end = ManualClock::new().wall() + Duration::from_secs(600);
    let expiring = || {
        let mut caller = keyed("it", KEY);
        caller.keys[0].expires = Some(end);
        caller
    };
    let stage = Stage::new(vec![expiring()]).await;
    let token = stage.issue("a-token", Some(KEY), &tcp());
    let admit = |shown: &str| stage.admit(Some(shown), &tcp());
    let both = || [KEY, token.expose()].map(|shown| admit(shown).expect("admitted"));
    let stand = |all: &[Admitted; 2]| all.clone().map(|one| one.stands(stage.gateway.known()));

    let known = both();
    assert_eq!(stand(&known), [true, true]);

    // The same callers once more: to be looked up anew, and found.
    stage.gateway.replace_callers(&[expiring()]);
    assert_eq!(stand(&known), [false, false]);
    let known = both();
    assert_eq!(stand(&known), [true, true]);

    // The token revoked.
    stage.gateway.passes.revoke(&token);
    assert_eq!(stand(&known), [true, false]);
    assert_eq!(admit(token.expose()).map(|_| ()), Err(401));

    // The key at its end.
    stage.issue("a-token", Some(KEY), &tcp());
    let known = both();
    stage.skip(599);
    assert_eq!(stand(&known), [true, true]);
    stage.skip(1);
    assert_eq!(stand(&known), [false, false]);
    assert_eq!([KEY, "a-token"].map(|shown| admit(shown).map(|_| ())), [Err(401), Err(401)]);
}

#[tokio::test]
async fn a_changed_caller_takes_its_tokens_along() {
    let one = || keyed("it", KEY);
    let stage = Stage::new(vec![one()]).await;
    let token = stage.issue("a-token", Some(KEY), &tcp());
    let text = token.expose();
    let overlapping = || {
        let mut caller = one();
        caller.keys.push(CallerKey { key: Secret::from(NEWER), expires: None });
        caller
    };
    let two = || CallerSettings::with_key("it", Secret::from(KEY), &["two"]);
    #[rustfmt::skip]
    let steps: [(&str, Vec<CallerSettings>, [u16; 3]); 6] = [
        // what,                  callers,                        key, newer key, token
        ("another key beside it", vec![overlapping()],            [200, 200, 200]),
        ("the first key removed", vec![keyed("it", NEWER)],       [401, 200, 401]),
        ("as it was",             vec![one()],                    [200, 401, 200]),
        ("another credential",    vec![two()],                    [200, 401, 401]),
        ("another name",          vec![keyed("other", KEY)],      [200, 401, 401]),
        ("nobody",                vec![],                         [401, 401, 401]),
    ];
    for (title, callers, expected) in steps {
        stage.gateway.replace_callers(&callers);
        assert_eq!([KEY, NEWER, text].map(|shown| stage.get(shown, &tcp())), expected, "{title}");
    }
}

/// Nobody knows who had it: it is good where that makes no difference, else the caller logs in again.
#[tokio::test]
async fn a_real_token_of_before_a_restart_is_good_where_all_its_callers_are_alike() {
    let known = || vec![Secret::from("a-token")];
    let elsewhere = || CallerSettings {
        user: Some(0),
        ..CallerSettings::with_key("x", WRONG.into(), &["two"])
    };
    let limited = || CallerSettings { methods: Some(vec![Method::GET]), ..keyed("y", NEWER) };
    for (callers, expected) in [
        (vec![keyed("it", KEY)], 200),
        (vec![keyed("it", KEY), keyed("other", NEWER), elsewhere()], 200),
        (vec![keyed("it", KEY), limited()], 401),
        (vec![limited()], 401),
        (vec![elsewhere()], 401),
        (vec![], 401),
    ] {
        let title = format!("{callers:?}");
        let stage = Stage::with(callers, known()).await;
        assert_eq!(stage.get("a-token", &tcp()), expected, "{title}");
    }
    // Given out again it is known again.
    let stage = Stage::with(vec![keyed("it", KEY), limited()], known()).await;
    stage.issue("a-token", Some(NEWER), &tcp());
    assert_eq!(stage.get("a-token", &tcp()), 200);
    assert_eq!(stage.ask(Some("a-token"), &tcp(), &Method::POST, "/api/x"), 404);
}

/// A right key always works, also behind an address that somebody guesses from.
#[tokio::test]
async fn many_wrong_keys_are_slowed_and_a_right_one_never() {
    let stage = Stage::new(vec![keyed("it", KEY)]).await;
    let wrong = |number: usize| format!("{WRONG}-{number}");
    for number in 0..20 {
        assert_eq!(stage.get(&wrong(number), &tcp()), 401, "{number}");
    }
    let refused =
        stage.gateway.known().admit(&headers(Some(&wrong(20))), &tcp()).expect_err("wrong");
    assert_eq!((status(&refused), refused.code), (429, "too_many_wrong_keys"));
    assert_eq!(refused.retry_after, Some(Duration::from_secs(60)));
    let client = stage.gateway.callers.client("it", Some(&Secret::from(wrong(21))), &tcp());
    assert_eq!(client.map(|_| ()).map_err(|refusal| status(&refusal)), Err(429));
    assert_eq!(stage.get(KEY, &tcp()), 200);
    assert_eq!(stage.get(&wrong(20), &certificate(SPIFFE)), 401, "another address");
    stage.skip(60);
    assert_eq!(stage.get(&wrong(20), &tcp()), 401, "a minute later");
}
