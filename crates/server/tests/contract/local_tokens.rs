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

#[tokio::test]
async fn auth_request_gets_a_local_one_too() {
    let api = Origin::content().await;
    let stage = Stage::configured(|setting| local(setting, &api)).await;
    let reply = stage.ask(Ask::rest("polling/authorization")).await;
    let authorization = reply.header("authorization").expect("one").to_owned();
    assert!(authorization.starts_with("Bearer bwt_"), "{authorization}");
    let get = Ask::get("/api/x").header("Authorization", &authorization);
    assert_eq!(stage.ask(get).await.status, 200);
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

/// What a caller's own grant gives is real: there is nothing to stand behind.
#[tokio::test]
async fn grants_of_a_callers_own_are_not_offered() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| local(setting, &api)).await;
    let code = Ask::token(CLIENT, "grant_type=authorization_code&code=x");
    for ask in [Ask::refresh("first-refresh-token"), code] {
        let reply = stage.ask(ask).await;
        assert_eq!(reply.refusal(), (400, "unsupported_grant_type".to_owned(), true));
    }
    assert_eq!(stage.token_requests(), 0);
}
