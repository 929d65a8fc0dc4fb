//! Local tokens: callers hold something that is good only here.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether_broker::lifecycle::Quota;
use bellwether_server::HandOut;

use crate::support::{Ask, CLIENT, OPERATOR_KEY, Origin, POLLER_KEY, Reply, Setting, Stage};

/// Every answer of a test, to be searched for what must not be in it.
#[derive(Default)]
struct Seen(Vec<String>);

impl Seen {
    fn note(&mut self, reply: Reply) -> Reply {
        self.0.push(format!("{reply:?}"));
        reply
    }

    fn holds(&self, token: &str) -> Option<&String> {
        self.0.iter().find(|answer| answer.contains(token))
    }
}

fn local(setting: &mut Setting, api: &Origin) {
    setting.hand_out = HandOut::Local;
    setting.resource_server = Some(api.url("/"));
    setting.pool = 3;
    setting.quota = Some(Quota { requests: 100, per: Duration::from_secs(60) });
}

/// What was sent to the API as `Bearer …`.
fn used(api: &Origin) -> BTreeSet<String> {
    let bare = |value: &str| value.trim_start_matches("Bearer ").to_owned();
    let recorded = api.recorded();
    recorded.iter().flat_map(|request| request.all("authorization")).map(bare).collect()
}

#[tokio::test]
async fn the_real_ones_never_appear_and_a_pool_stands_behind_one_caller() {
    let api = Origin::content().await;
    let stage = Stage::configured(|setting| local(setting, &api)).await;
    let polling = stage.handles[0].clone();
    while polling.held().iter().flatten().count() < 3 {
        polling.published(Duration::from_millis(20)).await;
    }
    let mut seen = Seen::default();
    let grant = "grant_type=client_credentials";
    let login = seen.note(stage.ask(Ask::token(("poller", POLLER_KEY), grant)).await);
    let token = login.token();
    assert!(token.starts_with("bwt_"), "{token}");
    seen.note(stage.ask(Ask::rest("polling/token")).await);
    for number in 0..30 {
        let get = Ask::get(&format!("/api/v2/users/{number}")).bearer(&token);
        assert_eq!(seen.note(stage.ask(get).await).status, 200);
    }
    let json = format!(r#"{{"access_token":"{token}"}}"#);
    let rejected = Ask::new("POST", "/bellwether/v1/credentials/polling/rejected");
    seen.note(stage.ask(rejected.bearer(POLLER_KEY).json(&json)).await);
    let form = format!("token={token}");
    let revoke = Ask::new("POST", "/oauth/revoke").basic("poller", POLLER_KEY).form(&form);
    seen.note(stage.ask(revoke).await);
    for path in ["/v1/credentials", "/metrics", "/readyz", "/"] {
        seen.note(stage.ask_admin(Ask::get(path)).await);
    }
    let renew = Ask::new("POST", "/v1/credentials/polling/renew").bearer(OPERATOR_KEY).json("{}");
    seen.note(stage.ask_admin(renew).await);
    seen.note(stage.ask(Ask::get("/api/x").bearer(&token)).await);

    let real = used(&api);
    assert!(real.len() >= 3, "a pool of 3 was used, not {}", real.len());
    for token in &real {
        assert!(!token.starts_with("bwt_"));
        assert_eq!(seen.holds(token), None);
    }
}

/// `auth_request` puts a token on the way to the API, past the gateway: there it must be real.
#[tokio::test]
async fn where_the_gateway_is_passed_by_there_are_no_local_tokens() {
    let api = Origin::content().await;
    let stage = Stage::configured(|setting| local(setting, &api)).await;
    let reply = stage.ask(Ask::rest("polling/authorization")).await;
    let authorization = reply.header("authorization").unwrap_or_default().to_owned();
    assert!(
        reply.status != 204 || !authorization.contains("simulated-secret"),
        "the real token left the process: {reply:?}"
    );
}

#[tokio::test]
async fn a_real_token_is_no_pass_where_local_ones_are_handed_out() {
    let api = Origin::content().await;
    let stage = Stage::configured(|setting| local(setting, &api)).await;
    assert_eq!(stage.ask(Ask::get("/api/x").bearer(POLLER_KEY)).await.status, 200);
    let real = used(&api).pop_first().expect("a token");
    assert_eq!(stage.ask(Ask::get("/api/x").bearer(&real)).await.status, 401);
}

#[tokio::test]
async fn a_local_token_is_good_past_renewals() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| local(setting, &api)).await;
    let token = stage.token().await;
    for _ in 0..3 {
        stage.clock.skip(Duration::from_secs(7200));
        assert_eq!(stage.ask(Ask::get("/api/x").bearer(&token)).await.status, 200);
    }
    assert!(used(&api).len() >= 2);
    assert_ne!(stage.token().await, token, "a new one for each generation");
}

#[tokio::test]
async fn a_rejected_local_token_is_renewed_once() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| {
        local(setting, &api);
        setting.pool = 1;
    })
    .await;
    let token = stage.token().await;
    let requests = stage.token_requests();
    let form = format!("token={token}");
    for _ in 0..3 {
        let revoke = Ask::new("POST", "/oauth/revoke").basic(CLIENT.0, CLIENT.1).form(&form);
        assert_eq!(stage.ask(revoke).await.status, 200);
    }
    assert_ne!(stage.token().await, token);
    assert_eq!(stage.token_requests(), requests + 1);
}

/// Grants of a caller's own cannot be replaced by local tokens.
#[tokio::test]
async fn a_callers_own_grant_hands_out_no_real_token_either() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| {
        local(setting, &api);
        setting.profile.rotation = bellwether_simulation::Rotation::Strict;
    })
    .await;
    let first = stage.ask(Ask::refresh("first-refresh-token")).await;
    assert!(!first.text().contains("simulated-secret"), "a real token left: {first:?}");
    if first.status == 200 {
        let again = stage.ask(Ask::refresh("first-refresh-token")).await;
        assert_eq!(again.text(), first.text());
        let get = Ask::get("/api/x").bearer(&first.token());
        assert_eq!(stage.ask(get).await.status, 200);
        let next = first.value()["refresh_token"].as_str().expect("one").to_owned();
        assert_eq!(stage.ask(Ask::refresh(&next)).await.status, 200);
    }
}
