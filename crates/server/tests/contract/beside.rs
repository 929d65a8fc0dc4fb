//! Other proxies that ask here, over HTTP: nginx `auth_request`, Caddy and Traefik, Envoy.

use std::time::Duration;

use bellwether_broker::oauth::Secret;
use bellwether_server::{CallerSettings, HandOut, TrustedProxy};

use crate::support::{Ask, BOTH_KEY, POLLER_KEY, Reply, Setting, Stage};

const AUTHORIZATION: &str = "/bellwether/v1/credentials/polling/authorization";

fn trusting(setting: &mut Setting) {
    setting.gateway.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
}

fn distrusting(setting: &mut Setting) {
    let others: [TrustedProxy; 2] = ["10.0.0.0/8", "unix"].map(|text| text.parse().expect(text));
    setting.gateway.trusted_proxies = others.to_vec();
}

fn rejected(token: &str) -> Ask {
    let body = format!(r#"{{"access_token":"{token}"}}"#);
    Ask::new("POST", "/bellwether/v1/credentials/polling/rejected").bearer(POLLER_KEY).json(&body)
}

/// The token in the header that a proxy sends on.
fn sent_on(reply: &Reply) -> &str {
    let value = reply.header("authorization").unwrap_or_else(|| panic!("{reply:?}"));
    value.strip_prefix("Bearer ").expect("a bearer token")
}

/// As each of them asks.
fn asks() -> [(&'static str, Ask, u16, u16); 6] {
    let below = format!("{AUTHORIZATION}/api/v2/users?access_token=x&y=1");
    let climbing = format!("{AUTHORIZATION}/../token");
    #[rustfmt::skip]
    let asks = [
        // who asks, how, the answer where it is trusted, and where it is not
        ("nginx",   Ask::get(AUTHORIZATION),                               204, 204),
        ("Caddy",   Ask::get(AUTHORIZATION)
                        .header("X-Forwarded-For", "192.0.2.1").header("X-Forwarded-Method", "DELETE")
                        .header("X-Forwarded-Uri", "/api").header("X-Forwarded-Host", "a.test")
                        .header("X-Forwarded-Proto", "https"),             204, 403),
        ("Traefik", Ask::new("PATCH", AUTHORIZATION)
                        .header("X-Forwarded-Port", "443").header("X-Forwarded-Server", "t"), 204, 403),
        ("Envoy",   Ask::new("POST", &below).header("Content-Length", "0")
                        .header("x-envoy-internal", "true"),               200, 403),
        ("Envoy",   Ask::new("DELETE", &format!("{AUTHORIZATION}/")),      200, 403),
        ("Envoy",   Ask::get(&climbing),                                   200, 403),
    ];
    asks
}

#[tokio::test]
async fn a_trusted_proxy_may_ask_in_its_own_way() {
    let stage = Stage::configured(trusting).await;
    let token = stage.ask(Ask::rest("polling/token")).await.token();
    for (who, ask, status, _) in asks() {
        let reply = stage.ask(ask.clone().bearer(POLLER_KEY)).await;
        assert_eq!((reply.status, reply.body.len()), (status, 0), "{who}: {reply:?}");
        assert_eq!(sent_on(&reply), token, "{who}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{who}");
        let removed = (status == 200).then_some("bellwether-credential");
        assert_eq!(reply.header("x-envoy-auth-headers-to-remove"), removed, "{who}");
        let cases = [
            (ask.clone(), 401, "without a key"),
            (ask.clone().bearer("key-of-nobody-0123456789-0123456789"), 401, "with a wrong key"),
            (ask.bearer(POLLER_KEY).host("api.example.com"), 421, "under another name"),
        ];
        for (ask, status, how) in cases {
            let reply = stage.ask(ask).await;
            assert_eq!(
                (reply.status, reply.header("authorization")),
                (status, None),
                "{who} {how}"
            );
            assert!(reply.header("bellwether-error").is_some(), "{who} {how}");
        }
    }
    assert_eq!(stage.token_requests(), 2, "one for each credential");
}

#[tokio::test]
async fn any_other_peer_may_not() {
    for setting in [distrusting as fn(&mut Setting), |_| {}] {
        let stage = Stage::configured(setting).await;
        for (who, ask, _, status) in asks() {
            let reply = stage.ask(ask.bearer(POLLER_KEY)).await;
            assert_eq!(reply.status, status, "{who}: {reply:?}");
            assert_eq!(reply.header("authorization").is_some(), status == 204, "{who}");
        }
    }
}

/// What changes something is asked for as before, trusted or not.
#[tokio::test]
async fn a_trusted_proxy_gets_nothing_else_by_other_methods_or_paths() {
    let stage = Stage::configured(trusting).await;
    #[rustfmt::skip]
    let cases = [
        ("GET",  "polling/rejected",               405),
        ("PUT",  "polling/rejected",               405),
        ("POST", "polling/token",                  405),
        ("GET",  "polling/token/api",              404),
        ("POST", "polling/rejected/api",           404),
        ("GET",  "polling/authorizations",         404),
        ("GET",  "unheard/authorization/api",      404),
        ("GET",  "second/authorization",           404),
    ];
    for (method, path, status) in cases {
        let ask = Ask::new(method, &format!("/bellwether/v1/credentials/{path}"));
        let reply = stage.ask(ask.bearer(POLLER_KEY).header("X-Forwarded-For", "::1")).await;
        assert_eq!(
            (reply.status, reply.header("authorization")),
            (status, None),
            "{method} {path}"
        );
    }
    assert_eq!(stage.ask(Ask::get(AUTHORIZATION).bearer(BOTH_KEY)).await.status, 204);
}

/// A caller that may have some paths and methods alone, where the question says which it is about.
#[tokio::test]
async fn a_bound_caller_is_bound_here_too() {
    let stage = Stage::configured(|setting| {
        trusting(setting);
        setting.callers = vec![bound()];
    })
    .await;
    let forwarded = |method: &str, uri: &str| {
        let ask = Ask::get(AUTHORIZATION).header("X-Forwarded-Method", method);
        ask.header("X-Forwarded-Uri", uri)
    };
    let behind = |method: &str, path: &str| Ask::new(method, &format!("{AUTHORIZATION}{path}"));
    #[rustfmt::skip]
    let cases = [
        (behind("GET",    "/api/v2/users/7?q=/x"),       200),
        (behind("HEAD",   "/api/v2/users/7"),            200),
        (behind("DELETE", "/api/v2/users/7"),            404),
        (behind("GET",    "/api/v2/routing/7"),          404),
        (behind("GET",    "/api/v2/users/../routing/7"), 404),
        (behind("GET",    "/"),                          404),
        (forwarded("GET",    "/api/v2/users/7?q=/x"),    204),
        (forwarded("DELETE", "/api/v2/users/7"),         404),
        (forwarded("GET",    "/api/v2/routing/7"),       404),
        (forwarded("G T",    "/api/v2/users/7"),         404),
        // nginx does not say.
        (Ask::get(AUTHORIZATION),                        204),
    ];
    for (ask, status) in cases {
        let reply = stage.ask(ask.clone().bearer(POLLER_KEY)).await;
        assert_eq!(reply.status, status, "{ask:?}");
        assert_eq!(reply.header("authorization").is_some(), status < 300, "{ask:?}");
    }
}

/// May read users, and nothing else.
pub(crate) fn bound() -> CallerSettings {
    CallerSettings {
        paths: Some(vec!["/api/v2/users/*".to_owned()]),
        methods: Some(vec![http::Method::GET]),
        ..CallerSettings::with_key("bound", Secret::from(POLLER_KEY), &["polling"])
    }
}

/// What was sent on is as good as a key at the gateway's API paths: a proxy may send a refused
/// request there.
#[tokio::test]
async fn what_was_sent_on_is_known_on_api_paths() {
    for hand_out in [HandOut::Real, HandOut::Local] {
        let stage = Stage::configured(|setting| setting.hand_out = hand_out).await;
        let reply = stage.ask(Ask::get(AUTHORIZATION).bearer(POLLER_KEY)).await;
        stage.revoke_tokens();
        let again = stage.ask(Ask::get("/api/v2/users/me").bearer(sent_on(&reply))).await;
        assert_eq!(again.status, 200, "{hand_out:?}: {again:?}");
    }
}

#[tokio::test]
async fn a_report_is_answered_with_the_header_to_send_now() {
    let stage = Stage::configured(trusting).await;
    let first = stage.ask(Ask::get(AUTHORIZATION).bearer(POLLER_KEY)).await;
    let before = stage.token_requests();
    let reply = stage.ask(rejected(sent_on(&first)).header("X-Forwarded-For", "::1")).await;
    let second = reply.token();
    assert_ne!(second, sent_on(&first));
    assert_eq!(sent_on(&reply), second);
    let late = stage.ask(rejected(sent_on(&first))).await;
    assert_eq!(sent_on(&late), second, "others report the same one");
    let next = stage.ask(Ask::get(AUTHORIZATION).bearer(POLLER_KEY)).await;
    assert_eq!(sent_on(&next), second);
    assert_eq!(stage.token_requests(), before + 1);
}

/// A permission that is missing is a 401 to every token. Ten minutes of a thousand reports are as
/// many renewals as pauses of 30 s, doubling, leave room for.
#[tokio::test]
async fn what_no_token_cures_is_renewed_ever_more_rarely() {
    let stage = Stage::configured(trusting).await;
    stage.until_held("second").await;
    let mut reply = stage.ask(Ask::get(AUTHORIZATION).bearer(POLLER_KEY)).await;
    let before = stage.token_requests();
    for _ in 0..1000 {
        reply = stage.ask(rejected(sent_on(&reply))).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        stage.clock.skip(Duration::from_millis(600));
    }
    let renewals = stage.token_requests() - before;
    assert!((2..=6).contains(&renewals), "{renewals} renewals");
}
