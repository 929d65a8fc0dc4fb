//! The API paths: a good token goes in, and a 401 that a newer token cures is cured.

use std::time::Duration;

use bellwether_broker::lifecycle::Quota;
use bellwether_simulation::{Effect, Endpoint, Fault};

use crate::support::origin::answer;
use crate::support::{Ask, Origin, POLLER_KEY, Stage, Stopwatch};

#[tokio::test]
async fn the_answer_comes_back_as_the_api_gave_it() {
    let body = r#"{"list":[1,2,3]}"#;
    let headers = "Content-Type: application/vnd.api+json\r\nETag: \"7\"\r\nX-Twice: a\r\n\
                   X-Twice: b\r\nSet-Cookie: a=b\r\nCache-Control: max-age=60\r\n";
    let api = Origin::start(move |_| answer("418 I'm a teapot", headers, body)).await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/base/"))).await;
    let token = stage.token().await;
    let get = Ask::get("/api/v2/users?pageSize=25&q=%C3%BC%20x&q=+").bearer(&token);
    let reply = stage.ask(get).await;
    assert_eq!((reply.status, reply.text()), (418, body.to_owned()));
    assert_eq!(reply.header("content-type"), Some("application/vnd.api+json"));
    assert_eq!(reply.header("etag"), Some("\"7\""));
    assert_eq!(reply.header("cache-control"), Some("max-age=60"), "it is the API's to say");
    assert_eq!(reply.header("bellwether-error"), None);
    let twice: Vec<_> = reply.headers.iter().filter(|(name, _)| name == "x-twice").collect();
    assert_eq!(twice.len(), 2);
    assert_eq!(api.last().target(), "/base/api/v2/users?pageSize=25&q=%C3%BC%20x&q=+");
}

#[tokio::test]
async fn every_method_goes_through_but_those_that_reflect_or_tunnel() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    let token = stage.token().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let reply = stage.ask(Ask::new(method, "/api/x").bearer(&token)).await;
        assert_eq!(reply.status, 200, "{method}");
        assert!(api.last().request_line.starts_with(&format!("{method} /api/x ")));
    }
    let before = api.recorded().len();
    for ask in [
        Ask::new("TRACE", "/api/x"),
        Ask::new("CONNECT", "127.0.0.1:80"),
        Ask::new("CONNECT", "localhost:443"),
        Ask::new("OPTIONS", "*"),
    ] {
        let reply = stage.ask(ask.clone().bearer(&token)).await;
        assert!(matches!(reply.status, 400 | 405 | 421), "{ask:?}: {reply:?}");
        assert!(reply.header("bellwether-error").is_some());
    }
    assert_eq!(api.recorded().len(), before);
}

#[tokio::test]
async fn a_head_has_its_length_and_no_body() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    let reply = stage.ask(Ask::new("HEAD", "/api/x").bearer(&token)).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
}

#[tokio::test]
async fn redirects_are_passed_back_and_not_followed() {
    let elsewhere = Origin::content().await;
    let target = elsewhere.url("/stolen").to_string();
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let location = format!("Location: {target}\r\n");
        let api = Origin::start(move |_| answer(status, &location, "")).await;
        let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
        let token = stage.token().await;
        let reply = stage.ask(Ask::get("/api/x").bearer(&token)).await;
        assert_eq!(reply.status.to_string(), status[..3]);
        assert_eq!(reply.header("location"), Some(target.as_str()));
        assert_eq!(api.recorded().len(), 1);
    }
    assert!(elsewhere.recorded().is_empty());
}

#[tokio::test]
async fn with_a_preset_other_paths_are_404_and_without_one_they_are_the_apis() {
    for (genesys, status) in [(true, 404), (false, 200)] {
        let api = Origin::content().await;
        let stage = Stage::open(|setting| {
            setting.genesys = genesys;
            setting.resource_server = Some(api.url("/"));
        })
        .await;
        let token = stage.token().await;
        for path in ["/", "/apix", "/other/api/", "/oauth/authorize", "/metrics", "/API/v2"] {
            let reply = stage.ask(Ask::get(path).bearer(&token)).await;
            assert_eq!(reply.status, status, "{path}: {reply:?}");
            // Nobody needs to be known for that.
            let stranger = stage.ask(Ask::get(path)).await;
            assert_eq!(stranger.status, if genesys { 404 } else { 401 }, "{path}");
        }
        assert_eq!(stage.ask(Ask::get("/api/v2/x").bearer(&token)).await.status, 200);
    }
}

#[tokio::test]
async fn paths_that_could_be_read_two_ways_are_refused() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| {
        setting.genesys = true;
        setting.resource_server = Some(api.url("/"));
    })
    .await;
    let token = stage.token().await;
    for path in [
        "/api/../secret",
        "/api/v2/..",
        "/api/./x",
        "/api/.",
        "/api/%2e%2e/secret",
        "/api/%2E/x",
        "/api/.%2e/x",
        "/api/v2%2fusers",
        "/api/v2%2Fusers",
        "/api/%5c..%5cx",
        "/api\\..\\x",
        "/api/x%00.json",
        "/api/..;/x/../y",
        "//evil.test/../api/x",
    ] {
        let reply = stage.ask(Ask::get(path).bearer(&token)).await;
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
    }
    assert!(api.recorded().is_empty());
    // Odd, and yet there is one way to read it.
    for path in ["/api/v2/a%20b", "/api/..x/y..", "/api/@evil.test/", "/api/x;y=z", "/api//x"] {
        let reply = stage.ask(Ask::get(path).bearer(&token)).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(api.last().target(), path);
    }
}

/// Whatever the target says, the request goes to the configured server.
#[tokio::test]
async fn no_target_picks_another_server() {
    let (api, evil) = (Origin::content().await, Origin::content().await);
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    let token = stage.token().await;
    let (evil_at, api_at) = (evil.address, api.address);
    for target in [
        format!("http://{evil_at}/api/x"),
        format!("http://127.0.0.1@{evil_at}/api/x"),
        format!("//{evil_at}/api/x"),
        format!("/api/x?u=http://{evil_at}/"),
        format!("/@{evil_at}/api/x"),
        format!("http://localhost/{evil_at}/api/x"),
    ] {
        let reply = stage.ask(Ask::get(&target).bearer(&token)).await;
        assert!(matches!(reply.status, 200 | 400 | 421), "{target}: {reply:?}");
    }
    assert!(evil.recorded().is_empty());
    for request in api.recorded() {
        assert_eq!(request.all("host"), [api_at.to_string()]);
    }
}

#[tokio::test]
async fn any_other_bearer_gets_401() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    let token = stage.token().await;
    for ask in [
        Ask::get("/api/x"),
        Ask::get("/api/x").bearer("never-issued"),
        Ask::get("/api/x").bearer(&token[1..]),
        Ask::get("/api/x").bearer(&format!("{token}x")),
        Ask::get("/api/x").bearer(&token.to_uppercase()),
        Ask::get("/api/x").bearer(&token).bearer(&token),
        Ask::get("/api/x").basic("app", &token),
        Ask::get("/api/x").header("Authorization", &token),
        Ask::get("/api/x").header("Authorization", "Bearer"),
        Ask::get(&format!("/api/x?access_token={token}")),
    ] {
        let reply = stage.ask(ask.clone()).await;
        assert_eq!(reply.refusal(), (401, "invalid_token".to_owned(), true), "{ask:?}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    assert!(api.recorded().is_empty());
}

#[tokio::test]
async fn a_handed_out_token_is_good_past_its_own_expiry_while_it_is_used() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    let token = stage.token().await;
    let get = || Ask::get("/api/x").bearer(&token);
    assert_eq!(stage.ask(get()).await.status, 200);
    assert_eq!(api.last().all("authorization"), [format!("Bearer {token}")]);
    for _ in 0..4 {
        stage.clock.skip(Duration::from_secs(12 * 3600));
        assert_eq!(stage.ask(get()).await.status, 200);
        assert_ne!(api.last().all("authorization"), [format!("Bearer {token}")]);
    }
    stage.clock.skip(Duration::from_secs(24 * 3600 + 60));
    assert_eq!(stage.ask(get()).await.status, 401, "unused for a day");
}

/// An API that refuses what it refuses, and takes all else.
async fn picky(refused: impl Fn(&str) -> bool + Send + Sync + 'static) -> Origin {
    Origin::start(move |request| {
        let authorization = request.all("authorization").join(",");
        if refused(&authorization) || request.target() == "/api/forbidden" {
            answer("401 Unauthorized", "", r#"{"code":"bad.credentials"}"#)
        } else {
            answer("200 OK", "", "{}")
        }
    })
    .await
}

#[tokio::test]
async fn a_curable_401_is_cured_and_replayed_once_with_its_body() {
    let first = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = std::sync::Arc::clone(&first);
    let api = picky(move |shown| known.get().is_some_and(|token| shown.ends_with(token))).await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    let token = stage.token().await;
    first.set(token.clone()).expect("set once");
    let body = r#"{"name":"agent"}"#;
    let post = Ask::new("POST", "/api/x?y=1").bearer(&token).json(body).header("X-Own", "kept");
    assert_eq!(stage.ask(post).await.status, 200);
    let sent = api.recorded();
    assert_eq!(sent.len(), 2);
    for request in &sent {
        assert_eq!(request.request_line, "POST /api/x?y=1 HTTP/1.1");
        assert_eq!(String::from_utf8_lossy(&request.body), body);
        assert_eq!(request.all("x-own"), ["kept"]);
        assert_eq!(request.all("content-length"), [body.len().to_string()]);
    }
    assert_ne!(sent[0].all("authorization"), sent[1].all("authorization"));
    assert_eq!(stage.token_requests(), 2);
}

#[tokio::test]
async fn a_body_is_replayed_up_to_the_bound() {
    for (length, chunked, status) in
        [(1000, false, 200), (1000, true, 200), (1001, false, 401), (1001, true, 401)]
    {
        let first = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
        let known = std::sync::Arc::clone(&first);
        let api = picky(move |shown| known.get().is_some_and(|token| shown.ends_with(token))).await;
        let stage = Stage::open(|setting| {
            setting.resource_server = Some(api.url("/"));
            setting.gateway.replay_body = 1000;
        })
        .await;
        let token = stage.token().await;
        first.set(token.clone()).expect("set once");
        let body = "x".repeat(length);
        let post = || {
            let post = Ask::new("POST", "/api/x").bearer(&token);
            if chunked {
                let (one, two) = body.split_at(400);
                let framed = format!("190\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", two.len());
                let post = post.body("text/plain", framed.as_bytes());
                post.without("content-length").header("Transfer-Encoding", "chunked")
            } else {
                post.body("text/plain", body.as_bytes())
            }
        };
        let title = format!("{length} bytes, chunked: {chunked}");
        assert_eq!(stage.ask(post()).await.status, status, "{title}");
        let all_whole = api.recorded().iter().all(|request| request.body == body.as_bytes());
        assert!(all_whole, "{title}");
        // What could not be sent again was cured for the next request.
        assert_eq!(stage.ask(post()).await.status, 200, "{title}");
        assert_eq!(stage.token_requests(), 2, "{title}");
    }
}

/// Elsewhere: 401, refresh, 401 and so on; 147 requests in 45 s, or five a second for ever.
#[tokio::test]
async fn p14_a_401_for_want_of_permission_passes_with_one_renewal() {
    let api = picky(|_| false).await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    let token = stage.token().await;
    for _ in 0..10 {
        let reply = stage.ask(Ask::get("/api/forbidden").bearer(&token)).await;
        assert_eq!((reply.status, reply.text().as_str()), (401, r#"{"code":"bad.credentials"}"#));
        assert_eq!(reply.header("bellwether-error"), None, "it is the API's own");
        assert_eq!(stage.ask(Ask::get("/api/x").bearer(&token)).await.status, 200);
    }
    assert_eq!(stage.token_requests(), 2, "one forced renewal, then none for 30 s");
    let sent = api.recorded().len();
    assert!(sent <= 21 + 1, "{sent}: each once, and one replay");
}

#[tokio::test]
async fn permission_401_with_pauses_costs_ever_fewer_renewals() {
    let api = picky(|_| false).await;
    let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
    let token = stage.token().await;
    for _ in 0..40 {
        let reply = stage.ask(Ask::get("/api/forbidden").bearer(&token)).await;
        assert_eq!(reply.status, 401);
        stage.clock.skip(Duration::from_secs(10));
    }
    // At 0, 30, 90 and 210 s of 400.
    let forced = stage.token_requests() - 1;
    assert!((3..=4).contains(&forced), "{forced}");
}

#[tokio::test]
async fn a_429_rests_its_token_and_the_pool_goes_on() {
    let first = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = std::sync::Arc::clone(&first);
    let api = Origin::start(move |request| {
        let shown = request.all("authorization").join(",");
        if *known.get_or_init(|| shown.clone()) == shown {
            answer("429 Too Many Requests", "Retry-After: 30\r\n", "{}")
        } else {
            answer("200 OK", "", "{}")
        }
    })
    .await;
    let stage = Stage::configured(|setting| {
        setting.resource_server = Some(api.url("/"));
        setting.pool = 2;
        setting.quota = Some(Quota { requests: 300, per: Duration::from_secs(60) });
    })
    .await;
    // Both members must hold a token before the first one is sent.
    let polling = stage.handles[0].clone();
    while polling.held().iter().flatten().count() < 2 {
        polling.published(Duration::from_millis(20)).await;
    }
    for _ in 0..10 {
        let reply = stage.ask(Ask::get("/api/x").bearer(POLLER_KEY)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let resting = first.get().expect("one was refused").clone();
    let used = api.recorded();
    let used = used.iter().filter(|request| request.all("authorization") == [resting.as_str()]);
    assert_eq!(used.count(), 1, "it rests for 30 s");
}

#[tokio::test]
async fn where_every_token_rests_the_caller_is_told_for_how_long() {
    for quota in [None, Some(Quota { requests: 300, per: Duration::from_secs(60) })] {
        let api = Origin::start(|_| {
            answer("429 Too Many Requests", "Retry-After: 40\r\nX-Api: own\r\n", "{}")
        })
        .await;
        let stage = Stage::open(|setting| {
            setting.resource_server = Some(api.url("/"));
            setting.quota = quota;
        })
        .await;
        let token = stage.token().await;
        let own = stage.ask(Ask::get("/api/x").bearer(&token)).await;
        assert_eq!((own.status, own.header("x-api")), (429, Some("own")));
        assert_eq!(own.header("bellwether-error"), None);
        let began = Stopwatch::start();
        let ours = stage.ask(Ask::get("/api/x").bearer(&token)).await;
        assert_eq!(ours.status, 429);
        assert!(began.elapsed() < Duration::from_secs(2));
        let wait: u64 = ours.header("retry-after").expect("a time").parse().expect("seconds");
        assert!((38..=40).contains(&wait), "{wait}");
        if quota.is_some() {
            assert_eq!(ours.refusal(), (429, "temporarily_unavailable".to_owned(), true));
            assert_eq!(api.recorded().len(), 1, "a token that rests is not sent");
        }
    }
}

#[tokio::test]
async fn an_api_that_is_away_is_502() {
    let closed = Origin::start(|_| Vec::new()).await;
    let nobody = Origin::content().await;
    let away = nobody.url("/");
    drop(nobody);
    for url in [closed.url("/"), away] {
        let stage = Stage::open(|setting| setting.resource_server = Some(url)).await;
        let token = stage.token().await;
        let reply = stage.ask(Ask::get("/api/x").bearer(&token)).await;
        assert_eq!(reply.refusal(), (502, "temporarily_unavailable".to_owned(), true));
        assert!(reply.header("retry-after").is_some());
    }
    // Whether it was carried out is not known: nothing is sent twice.
    assert_eq!(closed.recorded().len(), 1);
}

/// While the authorization server is away, the held token goes on.
#[tokio::test]
async fn a_held_token_serves_while_login_is_away() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    stage.fault(Fault::lasting(Endpoint::Token, Effect::Close));
    stage.clock.skip(Duration::from_secs(3590));
    assert_eq!(stage.ask(Ask::get("/api/x").bearer(&token)).await.status, 200);
}
