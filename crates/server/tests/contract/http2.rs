//! HTTP/2 on the gateway, by prior knowledge: the same surfaces, and the same answers.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};

use crate::support::http2::{Http2, request};
use crate::support::{Ask, CLIENT, Origin, POLLER_KEY, Stage, origin};

fn login(authority: &str) -> Request<Full<Bytes>> {
    use base64::Engine;
    let pair =
        base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", CLIENT.0, CLIENT.1));
    Request::post(format!("http://{authority}/oauth/token"))
        .header("authorization", format!("Basic {pair}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from_static(b"grant_type=client_credentials")))
        .expect("a request")
}

#[tokio::test]
async fn every_surface_answers_as_it_does_over_http_1() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    let caller = Http2::to(stage.gateway).await;
    for (path, expected) in [
        ("/bellwether/v1/credentials/polling/token", 200),
        ("/bellwether/v1/credentials/polling/authorization", 204),
        ("/bellwether/v1/credentials/other/token", 404),
        ("/api/v2/users/me", 200),
        ("/oauth/token", 405),
    ] {
        let plain = stage.ask(Ask::get(path).bearer(POLLER_KEY)).await;
        let url = format!("http://localhost{path}");
        let (status, body) = caller.ask(request("GET", &url, POLLER_KEY, "")).await;
        assert_eq!((status, plain.status), (expected, expected), "{path}");
        // What is left of a token may be a second less.
        if expected != 200 {
            assert_eq!(body, plain.body, "{path}");
        }
    }
    let response = caller.begin(request("GET", "http://localhost/api/x", POLLER_KEY, "")).await;
    assert_eq!(response.expect("an answer").version(), Version::HTTP_2);
}

/// One connection, many callers' threads: each gets the one token.
#[tokio::test]
async fn a_hundred_requests_at_once_are_one_renewal() {
    let stage = Stage::open(crate::support::Setting::slow_login).await;
    let caller = Http2::to(stage.gateway).await;
    let all: Vec<_> = (0..100).map(|_| caller.ask(login("localhost"))).collect();
    let answers = futures_util::future::join_all(all).await;
    let token = |body: &Bytes| {
        let value: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        value["access_token"].as_str().expect("a token").to_owned()
    };
    let first = token(&answers[0].1);
    for (status, body) in &answers {
        assert_eq!((*status, token(body)), (200, first.clone()));
    }
    assert_eq!(stage.token_requests(), 1);
}

#[tokio::test]
async fn the_authority_counts_as_host_and_another_host_beside_it_is_refused() {
    let stage =
        Stage::configured(|setting| setting.gateway.hosts = vec!["gw.test".to_owned()]).await;
    stage.until_held("polling").await;
    #[rustfmt::skip]
    let cases = [
        // :authority,       Host,               status
        ("localhost",        None,               200),
        ("127.0.0.1:8484",   None,               200),
        ("gw.test",          None,               200),
        ("gw.test",          Some("GW.test"),    200),
        ("evil.test",        None,               421),
        ("evil.test",        Some("localhost"),  421),
        ("localhost",        Some("evil.test"),  421),
        ("localhost",        Some("127.0.0.1"),  421),
    ];
    for (authority, host, expected) in cases {
        for (listener, path) in
            [(stage.gateway, "/bellwether/v1/credentials/polling/token"), (stage.admin, "/healthz")]
        {
            let caller = Http2::to(listener).await;
            let mut asked = request("GET", &format!("http://{authority}{path}"), POLLER_KEY, "");
            if let Some(host) = host {
                asked.headers_mut().insert("host", host.parse().expect("a value"));
            }
            let expected =
                if listener == stage.admin && authority == "gw.test" { 421 } else { expected };
            let (status, _) = caller.ask(asked).await;
            assert_eq!(status, expected, "{authority} {host:?} {path}");
        }
    }
}

#[tokio::test]
async fn an_api_sees_http_1_with_its_own_host_and_no_cookie() {
    let api = Origin::content().await;
    let url = api.url("/");
    let stage = Stage::configured(|setting| setting.resource_server = Some(url)).await;
    stage.until_held("polling").await;
    let caller = Http2::to(stage.gateway).await;
    let mut asked = request("GET", "http://localhost/api/x?a=b", POLLER_KEY, "");
    for crumb in ["a=1", "b=2"] {
        asked.headers_mut().append("cookie", crumb.parse().expect("a value"));
    }
    assert_eq!(caller.ask(asked).await.0, 200);
    let seen = api.last();
    assert_eq!(seen.request_line, "GET /api/x?a=b HTTP/1.1");
    assert_eq!(seen.all("host"), [api.address.to_string()]);
    assert_eq!(seen.all("authorization").len(), 1);
    assert!(seen.all("cookie").is_empty(), "{seen:?}");
}

/// Windows are small; bodies flow all the same.
#[tokio::test]
async fn a_large_body_goes_up_and_comes_down() {
    let api = Origin::start(|seen| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len());
        [head.as_bytes(), &seen.body].concat()
    })
    .await;
    let url = api.url("/");
    let stage = Stage::configured(|setting| setting.resource_server = Some(url)).await;
    stage.until_held("polling").await;
    let caller = Http2::to(stage.gateway).await;
    let body: Vec<u8> = (0..3 << 20).map(|index: u32| (index % 251) as u8).collect();
    let asked = request("POST", "http://localhost/api/x", POLLER_KEY, body.clone());
    let (status, back) = caller.ask(asked).await;
    assert_eq!(status, 200);
    assert!(back == body, "{} bytes came back", back.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_lets_a_stream_finish_and_takes_no_other() {
    use std::sync::{Arc, Mutex};
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let told = Mutex::new(told);
    let arrived = Arc::new(tokio::sync::Notify::new());
    let sign = Arc::clone(&arrived);
    let api = Origin::start(move |_| {
        sign.notify_one();
        tokio::task::block_in_place(|| told.lock().expect("no panic").recv().expect("a sign"));
        origin::answer("200 OK", "", "late")
    })
    .await;
    let url = api.url("/");
    let mut stage = Stage::configured(|setting| setting.resource_server = Some(url)).await;
    stage.until_held("polling").await;
    let caller = Http2::to(stage.gateway).await;
    let asked = request("GET", "http://localhost/api/slow", POLLER_KEY, "");
    let begun = tokio::spawn(caller.begin(asked));
    arrived.notified().await;
    let stopping = tokio::spawn(async move { stage.stop().await });
    // The goodbye is sent at once; no stream is taken any more.
    let refused = async {
        loop {
            let asked = request("GET", "http://localhost/oauth/token", POLLER_KEY, "");
            if caller.begin(asked).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("no further stream");
    assert!(!stopping.is_finished(), "it waits for the stream");
    go_on.send(()).expect("it waits");
    let response = begun.await.expect("no panic").expect("an answer");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(body, "late");
    stopping.await.expect("no panic");
    assert!(caller.carried.await.is_ok());
}
