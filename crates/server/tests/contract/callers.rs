//! Callers of configured credentials: who may, and what those get who may not.

use bellwether_broker::store::Clock;

use crate::support::{Ask, BOTH_KEY, POLLER_KEY, Reply, Stage};

const GRANT: &str = "grant_type=client_credentials";

fn token_of(name: &str, key: &str) -> Ask {
    Ask::get(&format!("/bellwether/v1/credentials/{name}/token")).bearer(key)
}

/// All that an answer tells, but for the time.
fn told(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let mut headers = reply.headers.clone();
    headers.retain(|(name, _)| name != "date");
    (reply.status, headers, reply.text())
}

#[tokio::test]
async fn a_key_opens_the_callers_credentials() {
    let stage = Stage::configured(|_| {}).await;
    let reply = stage.ask(token_of("polling", POLLER_KEY)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.value();
    let mut names: Vec<&String> = body.as_object().expect("an object").keys().collect();
    names.sort();
    assert_eq!(names, ["access_token", "expires_at", "expires_in", "generation", "token_type"]);
    assert_eq!((&body["token_type"], &body["generation"]), (&"Bearer".into(), &1.into()));
    let expires_in = body["expires_in"].as_u64().expect("seconds");
    assert!((3590..=3600).contains(&expires_in));
    let now = stage.clock.wall();
    let expires_at = body["expires_at"].as_u64().expect("Unix seconds");
    assert!(expires_at.abs_diff(now.as_secs() + expires_in) <= 2, "{expires_at}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));

    let second = stage.ask(token_of("second", BOTH_KEY)).await;
    assert_ne!(second.token(), reply.token());
    assert_eq!(stage.ask(token_of("polling", BOTH_KEY)).await.token(), reply.token());
    assert_eq!(stage.token_requests(), 2);
}

#[tokio::test]
async fn nginx_gets_the_header_to_set() {
    let stage = Stage::configured(|_| {}).await;
    let token = stage.ask(token_of("polling", POLLER_KEY)).await.token();
    let reply = stage.ask(Ask::rest("polling/authorization")).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    assert_eq!(reply.header("authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn unknown_and_forbidden_credentials_are_the_same_404() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("second").await;
    let post = |name: &str| {
        Ask::new("POST", &format!("/bellwether/v1/credentials/{name}/rejected"))
            .bearer(POLLER_KEY)
            .json(r#"{"access_token":"x"}"#)
    };
    let named =
        |name: &str| Ask::get("/api/x").bearer(POLLER_KEY).header("Bellwether-Credential", name);
    let client = |name: &str| Ask::token((&format!("poller/{name}"), POLLER_KEY), GRANT);
    for path in ["token", "authorization"] {
        let forbidden = stage.ask(Ask::rest(&format!("second/{path}"))).await;
        let unknown = stage.ask(Ask::rest(&format!("unheard/{path}"))).await;
        assert_eq!(forbidden.status, 404);
        assert_eq!(told(&forbidden), told(&unknown), "{path}");
    }
    for (forbidden, unknown) in [
        (post("second"), post("unheard")),
        (named("second"), named("unheard")),
        (client("second"), client("unheard")),
    ] {
        let (forbidden, unknown) = (stage.ask(forbidden).await, stage.ask(unknown).await);
        assert_eq!(forbidden.status, 404, "{forbidden:?}");
        assert_eq!(told(&forbidden), told(&unknown));
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_told() {
    let stage = Stage::configured(|_| {}).await;
    let token = stage.ask(token_of("polling", POLLER_KEY)).await.token();
    let path = "/bellwether/v1/credentials/polling/token";
    let asks = [
        Ask::get(path),
        Ask::get(path).bearer(""),
        Ask::get(path).bearer("wrong-key-0123456789-0123456789-abcd"),
        Ask::get(path).bearer(&POLLER_KEY[..35]),
        Ask::get(path).bearer(&format!("{POLLER_KEY}x")),
        Ask::get(path).bearer(&POLLER_KEY.to_uppercase()),
        Ask::get(path).bearer(&token),
        Ask::get(path).basic("poller", POLLER_KEY),
        Ask::get(path).bearer(POLLER_KEY).bearer(POLLER_KEY),
        Ask::get(path).header("Authorization", POLLER_KEY),
        Ask::get("/bellwether/v1/credentials/unheard/token"),
        Ask::get("/api/v2/users/me"),
    ];
    for ask in asks {
        let reply = stage.ask(ask.clone()).await;
        assert_eq!(reply.refusal(), (401, "invalid_token".to_owned(), true), "{ask:?}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn at_the_token_endpoint_name_and_key_are_client_authentication() {
    let stage = Stage::configured(|_| {}).await;
    let polling = stage.ask(token_of("polling", BOTH_KEY)).await.token();
    let second = stage.ask(token_of("second", BOTH_KEY)).await.token();
    let in_body = |id: &str, key: &str| {
        let form = format!("{GRANT}&client_id={id}&client_secret={key}");
        Ask::new("POST", "/oauth/token").form(&form)
    };
    #[rustfmt::skip]
    let cases = [
        // request,                                          status, error or token
        (Ask::token(("poller", POLLER_KEY), GRANT),          200, polling.as_str()),
        (Ask::token(("poller/polling", POLLER_KEY), GRANT),  200, &polling),
        (Ask::token(("both/polling", BOTH_KEY), GRANT),      200, &polling),
        (Ask::token(("both/second", BOTH_KEY), GRANT),       200, &second),
        (in_body("both%2Fsecond", BOTH_KEY),                 200, &second),
        (in_body("poller", POLLER_KEY),                      200, &polling),
        (Ask::token(("both", BOTH_KEY), GRANT),              400, "invalid_request"),
        (Ask::token(("poller/second", POLLER_KEY), GRANT),   404, "not_found"),
        (Ask::token(("poller", BOTH_KEY), GRANT),            401, "invalid_client"),
        (Ask::token(("both", POLLER_KEY), GRANT),            401, "invalid_client"),
        (Ask::token(("polling", POLLER_KEY), GRANT),         401, "invalid_client"),
        (Ask::token(("poller", "wrong"), GRANT),             401, "invalid_client"),
        (Ask::token(("app", "s3cret-of-the-app"), GRANT),    401, "invalid_client"),
        (in_body("poller", ""),                              401, "invalid_client"),
        (Ask::token(("poller", POLLER_KEY), &format!("{GRANT}&scope=more")), 400, "invalid_scope"),
        (Ask::token(("poller", POLLER_KEY), &format!("{GRANT}&audience=x")), 400, "invalid_request"),
    ];
    for (number, (ask, status, expected)) in cases.into_iter().enumerate() {
        let reply = stage.ask(ask).await;
        assert_eq!(reply.status, status, "row {number}: {reply:?}");
        let told = if status == 200 { reply.token() } else { reply.error() };
        assert_eq!(told, expected, "row {number}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "row {number}");
    }
    assert_eq!(stage.token_requests(), 2);
}

#[tokio::test]
async fn under_the_preset_genesys_a_wrong_key_is_400() {
    let stage = Stage::configured(|setting| setting.genesys = true).await;
    let reply = stage.ask(Ask::token(("poller", "wrong"), GRANT)).await;
    assert_eq!(reply.refusal(), (400, "invalid_client".to_owned(), true));
    assert_eq!(reply.header("www-authenticate"), None);
}

#[tokio::test]
async fn a_caller_with_several_credentials_names_one() {
    let stage = Stage::configured(|_| {}).await;
    let get = || Ask::get("/api/v2/users/me").bearer(BOTH_KEY);
    let unnamed = stage.ask(get()).await;
    assert_eq!(unnamed.refusal(), (400, "invalid_request".to_owned(), true));
    for name in ["polling", "second"] {
        let reply = stage.ask(get().header("Bellwether-Credential", name)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let twice =
        get().header("Bellwether-Credential", "polling").header("Bellwether-Credential", "second");
    assert_eq!(stage.ask(twice).await.status, 400);
    assert_eq!(stage.ask(Ask::get("/api/v2/users/me").bearer(POLLER_KEY)).await.status, 200);
}

/// What came through a proxy may come from a page or an application that was tricked.
#[tokio::test]
async fn what_came_through_a_proxy_is_refused_below_bellwether_alone() {
    let stage = Stage::configured(|_| {}).await;
    let headers = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("x-forwarded-host", "evil.test"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "for=192.0.2.1"),
        ("Via", "1.1 proxy"),
    ];
    for (name, value) in headers {
        for path in ["token", "authorization"] {
            let reply = stage.ask(Ask::rest(&format!("polling/{path}")).header(name, value)).await;
            assert_eq!(reply.refusal(), (403, "forwarded_request".to_owned(), true), "{name}");
        }
        let login = Ask::token(("poller", POLLER_KEY), GRANT).header(name, value);
        assert_eq!(stage.ask(login).await.status, 200, "{name}");
        let get = Ask::get("/api/x").bearer(POLLER_KEY).header(name, value);
        assert_eq!(stage.ask(get).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn methods_and_paths_that_are_not_there() {
    let stage = Stage::configured(|_| {}).await;
    #[rustfmt::skip]
    let cases = [
        ("POST",   "credentials/polling/token",         405),
        ("DELETE", "credentials/polling/authorization", 405),
        ("GET",    "credentials/polling/rejected",      405),
        ("GET",    "credentials/polling/other",         404),
        ("GET",    "credentials/polling/token/more",    404),
        ("GET",    "credentials/polling",               404),
        ("GET",    "credentials/",                      404),
        ("GET",    "credentials",                       404),
        ("GET",    "",                                  404),
    ];
    for (method, path, status) in cases {
        let ask = Ask::new(method, &format!("/bellwether/v1/{path}")).bearer(POLLER_KEY);
        assert_eq!(stage.ask(ask).await.status, status, "{method} {path}");
    }
    assert_eq!(stage.lab.totals().api_requests, 0, "nothing of it went to the API");
}

#[tokio::test]
async fn errors_of_the_authorization_server_reach_callers_of_every_path() {
    let stage = Stage::configured(|setting| {
        let body = br#"{"error":"invalid_client","error_description":"unknown"}"#.to_vec();
        setting.faults.push(bellwether_simulation::Fault::lasting(
            bellwether_simulation::Endpoint::Token,
            bellwether_simulation::Effect::Answer {
                status: 401,
                retry_after: None,
                content_type: "application/json".to_owned(),
                body,
                processed: false,
            },
        ));
    })
    .await;
    for ask in [
        Ask::token(("poller", POLLER_KEY), GRANT),
        Ask::rest("polling/token"),
        Ask::rest("polling/authorization"),
        Ask::get("/api/x").bearer(POLLER_KEY),
    ] {
        let reply = stage.ask(ask.clone()).await;
        assert_eq!(reply.refusal(), (401, "invalid_client".to_owned(), true), "{ask:?}");
    }
}
