//! What one caller does is nobody else's trouble, and nobody gets another's token.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_simulation::{Effect, Endpoint, Fault, Latency, Rotation};

use crate::support::origin::answer;
use crate::support::{Ask, Connection, Origin, Stage, Stopwatch, http};

const GRANT: &str = "grant_type=client_credentials";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_and_scopes_at_once_and_each_has_its_own_token() {
    let stage = Stage::open(|setting| {
        setting.profile.accept_any_client = true;
        setting.profile.token_latency = Latency::millis(5, 40);
    })
    .await;
    let mut asked = Vec::new();
    for round in 0..12 {
        for client in 0..10 {
            for scope in ["", "&scope=read", "&scope=write"] {
                let id = format!("client-{client}");
                let secret = format!("secret-of-{client}");
                let ask = Ask::token((&id, &secret), &format!("{GRANT}{scope}"));
                let whose = format!("{id}{scope}");
                let gateway = stage.gateway;
                asked.push(tokio::spawn(async move {
                    (whose, http::ask(gateway, ask).await.token(), round)
                }));
            }
        }
    }
    let mut tokens = BTreeMap::new();
    for asked in asked {
        let (whose, token, round) = asked.await.expect("no panic");
        let first = tokens.entry(whose.clone()).or_insert_with(|| token.clone());
        assert_eq!(*first, token, "{whose}, round {round}");
    }
    let mut distinct: Vec<_> = tokens.values().collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!((tokens.len(), distinct.len()), (30, 30));
    assert_eq!(stage.token_requests(), 30);
    // The token says whose it is: each is shown as the client it was issued to.
    let clients: BTreeMap<u64, String> = stage
        .lab
        .ledger()
        .entries()
        .filter_map(|entry| Some((entry.access?, entry.client.as_deref()?.to_owned())))
        .collect();
    assert_eq!(clients.len(), 30);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_with_it() {
    let stage =
        Stage::open(|setting| setting.profile.token_latency = Latency::millis(400, 400)).await;
    let mut impatient = Connection::to(stage.gateway).await;
    impatient.write(&Ask::login().bytes()).await;
    while stage.token_requests() == 0 {
        tokio::task::yield_now().await;
    }
    drop(impatient);
    stage.token().await;
    assert_eq!(stage.token_requests(), 1);
}

#[tokio::test]
async fn one_clients_outage_is_not_anothers() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    // The other client's secret is wrong, again and again.
    let wrong = || Ask::token(("other", "wrong"), GRANT);
    for _ in 0..3 {
        assert_eq!(stage.ask(wrong()).await.status, 401);
    }
    stage.clock.skip(Duration::from_secs(3700));
    let watch = Stopwatch::start();
    assert_ne!(stage.token().await, token);
    assert!(watch.elapsed() < Duration::from_secs(1));
}

/// A request that was sent before the token proved good elsewhere says nothing about the token.
#[tokio::test]
async fn a_late_401_renews_nothing_if_the_token_was_taken_since() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    let slow = Effect::Latency(Duration::from_millis(500));
    stage.fault(Fault::next(1, Endpoint::Api, slow));
    stage.fault(Fault::next(1, Endpoint::Api, Effect::AlwaysUnauthorized));
    let get = Ask::get("/api/v2/x").bearer(&token);
    let late = tokio::spawn(http::ask(stage.gateway, get.clone()));
    while stage.lab.totals().api_requests == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.ask(get).await.status, 200);
    assert_eq!(late.await.expect("no panic").status, 401);
    assert_eq!(stage.token_requests(), 1);
}

/// A grant of the caller's own is the caller's to renew.
#[tokio::test]
async fn a_401_of_a_callers_own_token_passes_through() {
    let stage = Stage::open(|setting| setting.profile.rotation = Rotation::Strict).await;
    let own = stage.ask(Ask::refresh("first-refresh-token")).await.token();
    let get = || Ask::get("/api/v2/x").bearer(&own);
    assert_eq!(stage.ask(get()).await.status, 200);
    stage.revoke_tokens();
    let reply = stage.ask(get()).await;
    assert_eq!((reply.status, reply.header("bellwether-error")), (401, None));
    assert_eq!(stage.token_requests(), 1);
}

/// Vendors let two secrets of a client overlap, so that they can be changed without a gap.
#[tokio::test]
async fn two_secrets_that_both_work_live_beside_each_other() {
    let counter = std::sync::atomic::AtomicU64::new(0);
    let server = Origin::start(move |_| {
        let number = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body = format!(
            r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":3600}}"#
        );
        answer("200 OK", "Content-Type: application/json\r\n", &body)
    })
    .await;
    let url = server.url("/oauth/token");
    let stage = Stage::open(|setting| setting.token_endpoint = Some(url)).await;
    let login = |secret: &str| Ask::token(("app", secret), GRANT);
    for _ in 0..10 {
        for secret in ["of-yesterday", "of-today"] {
            assert_eq!(stage.ask(login(secret)).await.status, 200);
        }
    }
    // One each, and once more to see whether the older one is still good.
    let requests = server.recorded().len();
    assert!(requests <= 3, "{requests} token requests");
}

/// A credential that is gone leads nowhere: its callers log in again instead of waiting.
#[tokio::test]
async fn a_token_of_a_displaced_secret_is_no_pass() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    let get = || Ask::get("/api/x").bearer(&token);
    assert_eq!(stage.ask(get()).await.status, 200);
    stage.lab.with(|organisation, _| organisation.set_client_secret("app", "of-today"));
    stage.ask(Ask::token(("app", "of-today"), GRANT)).await.token();
    stage.clock.skip(Duration::from_secs(7200));
    let watch = Stopwatch::start();
    assert_eq!(stage.ask(get()).await.refusal(), (401, "invalid_token".to_owned(), true));
    assert!(watch.elapsed() < Duration::from_secs(1));
}
