//! DNS rebinding: a page that points its own name at this machine is not answered.

use crate::support::{Ask, Connection, OPERATOR_KEY, POLLER_KEY, Stage};

fn gateway() -> Vec<Ask> {
    vec![
        Ask::token(("poller", POLLER_KEY), "grant_type=client_credentials"),
        Ask::new("POST", "/oauth/revoke").basic("poller", POLLER_KEY).form("token=x"),
        Ask::rest("polling/token"),
        Ask::rest("polling/authorization"),
        Ask::get("/api/x").bearer(POLLER_KEY),
    ]
}

fn admin() -> Vec<Ask> {
    let mut asks: Vec<Ask> = [
        "/",
        "/dashboard.css",
        "/dashboard.js",
        "/metrics",
        "/healthz",
        "/readyz",
        "/v1/credentials",
        "/v1/events",
    ]
    .map(Ask::get)
    .into();
    asks.push(Ask::new("POST", "/v1/credentials/polling/renew").bearer(OPERATOR_KEY).json("{}"));
    asks
}

#[tokio::test]
async fn foreign_hosts_are_misdirected_on_every_path_of_both_listeners() {
    let stage =
        Stage::configured(|setting| setting.gateway.hosts = vec!["gw.test".to_owned()]).await;
    stage.until_held("polling").await;
    let requests = stage.token_requests();
    let foreign = [
        "evil.test",
        "evil.test:8484",
        "127.0.0.1.evil.test",
        "localhost.evil.test",
        "192.0.2.1",
        "[2001:db8::1]",
        "",
        "localhost:x",
        "user@localhost",
        "0.0.0.0",
        "localhost, evil.test",
        "gw.test.evil.test",
        "2130706433",
    ];
    for host in foreign {
        for ask in gateway() {
            let reply = stage.ask(ask.host(host)).await;
            assert_eq!(reply.refusal(), (421, "misdirected_request".to_owned(), true), "{host:?}");
        }
        for ask in admin() {
            let reply = stage.ask_admin(ask.host(host)).await;
            assert_eq!(reply.status, 421, "{host:?}");
        }
    }
    assert!(stage.token_requests() <= requests + 1);
}

#[tokio::test]
async fn our_own_hosts_are_answered() {
    let stage =
        Stage::configured(|setting| setting.gateway.hosts = vec!["gw.test".to_owned()]).await;
    let listen = stage.gateway.to_string();
    for host in ["127.0.0.1", "localhost", "LocalHost:8484", "[::1]", "127.1.2.3", listen.as_str()]
    {
        assert_eq!(stage.ask(Ask::rest("polling/token").host(host)).await.status, 200, "{host}");
        assert_eq!(stage.ask_admin(Ask::get("/healthz").host(host)).await.status, 200, "{host}");
    }
    for host in ["gw.test", "GW.test", "gw.test:443"] {
        assert_eq!(stage.ask(Ask::rest("polling/token").host(host)).await.status, 200, "{host}");
        let status = stage.ask_admin(Ask::get("/healthz").host(host)).await.status;
        assert_eq!(status, 421, "{host} is not the admin listener's");
    }
}

#[tokio::test]
async fn no_host_two_hosts_and_a_foreign_target_are_misdirected() {
    let stage = Stage::configured(|_| {}).await;
    for (listener, path) in [(stage.gateway, "/api/x"), (stage.admin, "/healthz")] {
        let none = Ask::get(path).without("host");
        let two = Ask::get(path).header("Host", "evil.test");
        let foreign = Ask::get(&format!("http://evil.test{path}"));
        for ask in [none, two, foreign] {
            let mut connection = Connection::to(listener).await;
            let reply = connection.ask(&ask.clone().bearer(POLLER_KEY)).await;
            assert!(matches!(reply.status, 400 | 421), "{ask:?}: {reply:?}");
        }
    }
    assert_eq!(stage.lab.totals().api_requests, 0);
}
