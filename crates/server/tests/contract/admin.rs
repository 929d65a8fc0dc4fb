//! The admin listener: reads are open, changes need the operator's key, and no token is anywhere.

use std::time::Duration;

use bellwether_simulation::{Effect, Endpoint, Fault};
use serde_json::Value;

use bellwether_broker::store::Clock;

use crate::support::{Ask, Connection, OPERATOR_KEY, POLLER_KEY, Stage};

fn renew(name: &str) -> Ask {
    Ask::new("POST", &format!("/v1/credentials/{name}/renew"))
}

async fn credential(stage: &Stage, name: &str) -> Value {
    let all = stage.ask_admin(Ask::get("/v1/credentials")).await.value();
    let all = all["credentials"].as_array().expect("a list").clone();
    all.into_iter().find(|one| one["name"] == name).expect("its entry")
}

#[tokio::test]
async fn alive_at_once_and_ready_with_the_first_tokens() {
    let away = Fault::lasting(Endpoint::Token, Effect::status(503));
    let stage = Stage::configured(|setting| setting.faults.push(away)).await;
    let health = stage.ask_admin(Ask::get("/healthz")).await;
    assert_eq!((health.status, health.text().as_str()), (200, "ok\n"));
    let ready = stage.ask_admin(Ask::get("/readyz")).await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.text().contains("polling") && ready.text().contains("second"), "{ready:?}");
    stage.lab.with(|organisation, _| organisation.clear_faults());
    stage.until_held("polling").await;
    stage.until_held("second").await;
    assert_eq!(stage.ask_admin(Ask::get("/readyz")).await.status, 200);
}

#[tokio::test]
async fn without_configured_credentials_it_is_ready_at_once() {
    let stage = Stage::open(|_| {}).await;
    assert_eq!(stage.ask_admin(Ask::get("/readyz")).await.status, 200);
}

#[tokio::test]
async fn a_credential_says_its_state_and_why() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    let fresh = credential(&stage, "polling").await;
    assert_eq!(fresh["state"], "fresh", "{fresh}");
    assert_eq!(fresh["next_action"], "renew");
    let now = stage.clock.wall();
    let now = now.as_millis() as f64 / 1000.0;
    let since = fresh["since"].as_f64().expect("Unix seconds");
    assert!((now - since).abs() < 60.0, "{since} is not now");
    let next_at = fresh["next_at"].as_f64().expect("Unix seconds");
    assert!(next_at > now + 2000.0 && next_at < now + 3600.0, "{next_at}");
    assert!(!fresh["why"].as_str().expect("a sentence").is_empty());
}

#[tokio::test]
async fn each_trouble_has_its_name() {
    let refused = br#"{"error":"invalid_client","error_description":"no such client"}"#;
    #[rustfmt::skip]
    let cases = [
        // what the server does,       state,           next action
        (Effect::status(503),         "backing_off",   "retry"),
        (Effect::Answer {
            status: 401, retry_after: None, content_type: "application/json".to_owned(),
            body: refused.to_vec(), processed: false,
        },                            "misconfigured", "probe"),
    ];
    for (effect, state, next_action) in cases {
        let fault = Fault::lasting(Endpoint::Token, effect);
        let stage = Stage::configured(|setting| setting.faults.push(fault)).await;
        let mut news = stage.broker.news();
        let mut found = credential(&stage, "polling").await;
        while found["state"] != state {
            let said = tokio::time::timeout(Duration::from_secs(10), news.recv()).await;
            said.expect("it changes").expect("news");
            found = credential(&stage, "polling").await;
        }
        assert_eq!(found["next_action"], next_action, "{found}");
        assert!(found["next_at"].is_number(), "{found}");
        assert!(found["failures"].as_u64() >= Some(1));
        let why = found["why"].as_str().expect("a sentence");
        assert!(why.contains("503") || why.contains("invalid_client"), "{why}");
    }
}

#[tokio::test]
async fn metrics_are_in_the_exposition_format_and_ours_by_name() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    stage.until_held("second").await;
    let reply = stage.ask_admin(Ask::get("/metrics")).await;
    assert_eq!(reply.status, 200);
    let kind = reply.header("content-type").expect("a type");
    assert!(kind.starts_with("application/openmetrics-text") || kind.starts_with("text/plain"));
    let text = reply.text();
    let mut samples = 0;
    for line in text.lines() {
        if line.starts_with('#') {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(matches!(words[1], "HELP" | "TYPE" | "UNIT" | "EOF"), "{line}");
            assert!(words[1] == "EOF" || words[2].starts_with("bellwether_"), "{line}");
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(sample.starts_with("bellwether_"), "{line}");
        value.parse::<f64>().expect("a number");
        if let Some((_, labels)) = sample.split_once('{') {
            assert!(labels.ends_with('}'), "{line}");
        }
        samples += 1;
    }
    assert!(samples >= 10, "{text}");
    assert!(text.contains(r#"bellwether_token_requests_total{credential="polling"} 1"#), "{text}");
    assert!(text.contains(r#"bellwether_credential_state{credential="polling",state="fresh"} 1"#));
    assert!(text.contains("bellwether_doubts_total 0\n"), "{text}");
    assert!(text.contains("bellwether_invariant_violations_total 0\n"), "{text}");
    assert!(text.contains(r#"bellwether_credentials{state="fresh"} 2"#), "{text}");
    assert!(text.contains(r#"bellwether_credentials{state="in_doubt"} 0"#), "{text}");
    assert!(text.ends_with("# EOF\n"), "OpenMetrics ends in EOF");
}

#[tokio::test]
async fn events_begin_with_how_things_stand() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    let mut connection = Connection::to(stage.admin).await;
    connection.write(&Ask::get("/v1/events").bytes()).await;
    let head = connection.head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let chunk = connection.chunk().await.expect("the first event");
    let text = String::from_utf8(chunk).expect("UTF-8");
    let (event, data) = text.trim_end().split_once('\n').expect("two lines");
    assert_eq!(event, "event: credential");
    let data: Value =
        serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
    assert_eq!(data["name"], "polling");
    assert!(text.ends_with("\n\n"));
    // A change is told when it comes.
    connection.chunk().await.expect("the other credential");
    stage.ask_admin(renew("polling").bearer(OPERATOR_KEY).json("{}")).await;
    loop {
        let text = String::from_utf8(connection.chunk().await.expect("more")).expect("UTF-8");
        if text.contains(r#""name":"polling""#) && text.contains(r#""generation":2"#) {
            break;
        }
    }
}

#[tokio::test]
async fn no_answer_holds_a_token_or_a_secret() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    let token = stage.ask(Ask::rest("polling/token")).await.token();
    for path in ["/", "/dashboard.js", "/metrics", "/readyz", "/v1/credentials", "/nothing"] {
        let reply = format!("{:?}", stage.ask_admin(Ask::get(path)).await);
        for secret in [&token, "s3cret-of-the-app", POLLER_KEY, OPERATOR_KEY] {
            assert!(!reply.contains(secret), "{path}");
        }
    }
}

#[tokio::test]
async fn a_change_needs_the_operators_key_and_a_json_body() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    stage.until_held("second").await;
    #[rustfmt::skip]
    let cases = [
        // request,                                                     status
        (renew("polling").json("{}"),                                    401),
        (renew("polling").bearer(POLLER_KEY).json("{}"),                 401),
        (renew("polling").bearer("").json("{}"),                         401),
        (renew("polling").bearer(&OPERATOR_KEY[1..]).json("{}"),         401),
        (renew("polling").basic("operator", OPERATOR_KEY).json("{}"),    401),
        (renew("polling").header("Cookie", "key=x").json("{}"),          401),
        (renew("polling").bearer(OPERATOR_KEY),                          400),
        (renew("polling").bearer(OPERATOR_KEY).form("a=b"),              400),
        (renew("polling").bearer(OPERATOR_KEY).body("text/plain", b"{}"), 400),
        (renew("polling").bearer(OPERATOR_KEY).json(""),                 400),
        (renew("polling").bearer(OPERATOR_KEY).json("[]"),               400),
        (renew("polling").bearer(OPERATOR_KEY).json("nonsense"),         400),
        (renew("unheard").bearer(OPERATOR_KEY).json("{}"),               404),
        (Ask::new("POST", "/v1/credentials").bearer(OPERATOR_KEY).json("{}"), 404),
        (Ask::get("/v1/credentials/polling/renew").bearer(OPERATOR_KEY), 404),
        (Ask::new("DELETE", "/v1/credentials").bearer(OPERATOR_KEY),     405),
        (Ask::new("PUT", "/v1/credentials/polling/renew").bearer(OPERATOR_KEY).json("{}"), 405),
    ];
    for (number, (ask, status)) in cases.into_iter().enumerate() {
        let reply = stage.ask_admin(ask).await;
        assert_eq!(reply.status, status, "row {number}: {reply:?}");
    }
    assert_eq!(stage.token_requests(), 2, "none of them renewed anything");

    let reply = stage.ask_admin(renew("polling").bearer(OPERATOR_KEY).json("{}")).await;
    assert_eq!((reply.status, &reply.value()["name"]), (202, &"polling".into()), "{reply:?}");
    let polling = &stage.handles[0];
    while polling.generation() < 2 {
        polling.published(Duration::from_millis(20)).await;
    }
    assert_eq!(stage.token_requests(), 3);
}

#[tokio::test]
async fn who_guesses_the_operators_key_is_slowed_and_the_operator_is_not() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    let guess = |number: usize| renew("polling").bearer(&format!("guess-{number:030}")).json("{}");
    for number in 0..20 {
        assert_eq!(stage.ask_admin(guess(number)).await.status, 401, "{number}");
    }
    let slowed = stage.ask_admin(guess(20)).await;
    assert_eq!(
        (slowed.status, slowed.header("bellwether-error")),
        (429, Some("too_many_wrong_keys"))
    );
    assert!(slowed.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()));
    assert_eq!(stage.ask_admin(guess(3)).await.status, 401, "it was looked at before");
    let right = stage.ask_admin(renew("polling").bearer(OPERATOR_KEY).json("{}")).await;
    assert_eq!(right.status, 202);
}

/// What a page elsewhere could send with the operator's browser.
#[tokio::test]
async fn another_sites_page_changes_nothing() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    let preflight = Ask::new("OPTIONS", "/v1/credentials/polling/renew")
        .header("Origin", "https://evil.test")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,content-type");
    let reply = stage.ask_admin(preflight).await;
    assert!(!reply.headers.iter().any(|(name, _)| name.starts_with("access-control-")));
    for path in ["/v1/credentials", "/metrics", "/v1/events"] {
        let cross = Ask::get(path)
            .header("Origin", "https://evil.test")
            .header("Sec-Fetch-Site", "cross-site");
        let reply = Connection::to(stage.admin).await;
        let mut reply = reply;
        reply.write(&cross.bytes()).await;
        let head = reply.head().await;
        assert!(
            !head.headers.iter().any(|(name, _)| name.starts_with("access-control-")),
            "{path}"
        );
    }
    let forged = renew("polling")
        .bearer(OPERATOR_KEY)
        .json("{}")
        .header("Origin", "https://evil.test")
        .header("Sec-Fetch-Site", "cross-site");
    assert_eq!(stage.ask_admin(forged).await.status, 403);
    let own = renew("polling")
        .bearer(OPERATOR_KEY)
        .json("{}")
        .header("Origin", "http://127.0.0.1")
        .header("Sec-Fetch-Site", "same-origin");
    assert_eq!(stage.ask_admin(own).await.status, 202);
}

#[tokio::test]
async fn the_dashboard_forbids_everything_else() {
    let stage = Stage::configured(|_| {}).await;
    for path in ["/", "/dashboard.css", "/dashboard.js"] {
        let reply = stage.ask_admin(Ask::get(path)).await;
        assert_eq!(reply.status, 200, "{path}");
        let policy = reply.header("content-security-policy").expect("a policy");
        for needed in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(needed), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe-") && !policy.contains('*'), "{policy}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
    }
    let page = stage.ask_admin(Ask::get("/")).await.text();
    for inline in ["<style", "onclick=", "onload=", "javascript:", "style=", "http://", "https://"]
    {
        assert!(!page.contains(inline), "{inline}");
    }
}

#[tokio::test]
async fn head_tells_the_length_alone() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    stage.until_held("second").await;
    for path in ["/healthz", "/readyz", "/", "/dashboard.js"] {
        let get = stage.ask_admin(Ask::get(path)).await;
        let head = stage.ask_admin(Ask::new("HEAD", path)).await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
}
