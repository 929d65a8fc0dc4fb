//! The organisation over real sockets, asked by a plain HTTP client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether_lab::{Running, serve};
use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::{
    Client, Effect, Endpoint, Fault, Latency, Organisation, Profile, Request, Response,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A clock that a test sets, in seconds.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn set(&self, second: u64) {
        self.0.store(second, Ordering::Relaxed);
    }
}

async fn open(profile: Profile) -> (Running, Clock) {
    let profile = Profile { token_latency: Latency::NONE, api_latency: Latency::NONE, ..profile };
    let organisation = Organisation::new(profile.client(Client::new("app", "secret")), 1);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let clock = Clock::default();
    let second = Arc::clone(&clock.0);
    let now = Arc::new(move || {
        let second = second.load(Ordering::Relaxed);
        (Timestamp::from_secs(second), UnixTime::from_secs(second))
    });
    (serve(organisation, listener, now).expect("a listener"), clock)
}

struct Caller(SendRequest<Full<Bytes>>);

impl Caller {
    async fn connect(lab: &Running) -> Self {
        let stream = TcpStream::connect(lab.address()).await.expect("the lab listens");
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self(sender)
    }

    /// `Err` if no whole response came.
    async fn send(&mut self, request: &Request) -> Result<Response, hyper::Error> {
        let mut http = hyper::Request::builder()
            .method(request.method.as_str())
            .uri(&request.path)
            .header("host", "lab");
        for (name, value) in &request.headers {
            http = http.header(name, value);
        }
        let http = http.body(Full::from(request.body.clone())).expect("a request");
        let response = self.0.send_request(http).await?;
        let (head, body) = response.into_parts();
        let text =
            |value: &hyper::header::HeaderValue| value.to_str().expect("visible ASCII").to_owned();
        Ok(Response {
            status: head.status.as_u16(),
            headers: head
                .headers
                .iter()
                .map(|(key, value)| (key.to_string(), text(value)))
                .collect(),
            body: body.collect().await?.to_bytes().to_vec(),
        })
    }

    async fn ask(&mut self, request: &Request) -> Response {
        self.send(request).await.expect("a whole response")
    }

    async fn direct(&mut self, method: &str, path: &str, body: Value) -> Response {
        let mut request = Request::new(method, path);
        request.body = body.to_string().into_bytes();
        self.ask(&request).await
    }

    async fn login(&mut self) -> String {
        let response = self.ask(&Request::client_credentials("app", "secret")).await;
        assert_eq!(response.status, 200, "{}", response.value());
        response.text("access_token")
    }

    async fn poll(&mut self, token: &str) -> u16 {
        self.ask(&Request::get("/api/v2/users/7/presence", token)).await.status
    }
}

#[tokio::test]
async fn one_connection_logs_in_polls_and_reads_the_ledger() {
    let (lab, clock) = open(Profile::genesys()).await;
    let mut caller = Caller::connect(&lab).await;
    let token = caller.login().await;
    assert_eq!(caller.poll(&token).await, 200);
    clock.set(86_400);
    assert_eq!(caller.poll(&token).await, 401);

    let ledger = caller.ask(&Request::new("GET", "/lab/ledger?entries=1")).await.value();
    assert_eq!(ledger["token_requests"], 1);
    assert_eq!(ledger["status_401"], 1);
    let verdicts: Vec<_> = ledger["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["verdict"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(verdicts, ["issued", "accepted", "expired"]);
    assert!(!ledger.to_string().contains(&token), "the ledger holds a token");
    let totals = caller.ask(&Request::new("GET", "/lab/ledger")).await.value();
    assert_eq!(totals.get("entries"), None);
    assert_eq!(totals, json!(lab.totals()));
    assert_eq!(lab.ledger().entries().len(), 3, "directions are not in the ledger");
    lab.stop().await;
}

#[tokio::test]
async fn a_limited_token_gets_the_vendors_headers() {
    let (lab, _) = open(Profile::demo()).await;
    let mut caller = Caller::connect(&lab).await;
    let token = caller.login().await;
    for _ in 0..50 {
        assert_eq!(caller.poll(&token).await, 200);
    }
    let response = caller.ask(&Request::get("/api/v2/users/7/presence", &token)).await;
    assert_eq!((response.status, response.header_value("retry-after")), (429, Some("10")));
    assert!(response.header_value("ININ-Correlation-Id").is_some());
}

#[tokio::test]
async fn the_director_revokes_changes_secrets_and_issues_refresh_tokens() {
    let (lab, _) = open(Profile::genesys()).await;
    let mut caller = Caller::connect(&lab).await;
    let tokens = [caller.login().await, caller.login().await, caller.login().await];
    let revoked = caller.direct("POST", "/lab/revoke", json!({ "token": tokens[0] })).await;
    assert_eq!(revoked.value()["revoked"], 1);
    assert_eq!((caller.poll(&tokens[0]).await, caller.poll(&tokens[1]).await), (401, 200));
    let revoked = caller.direct("POST", "/lab/revoke", json!({ "client": "app" })).await;
    assert_eq!(revoked.value()["revoked"], 2);
    assert_eq!(caller.poll(&tokens[1]).await, 401);
    let nobody = Request::new("POST", "/lab/revoke");
    assert_eq!(caller.ask(&nobody).await.value()["revoked"], 0, "no body means all clients");

    let issued = caller.direct("POST", "/lab/refresh-token", json!({ "client": "app" })).await;
    let refresh = Request::refresh("app", "secret", &issued.text("refresh_token"));
    assert_eq!(caller.ask(&refresh).await.status, 200);
    assert_eq!(caller.ask(&refresh).await.status, 400, "strict: one use");
    assert_eq!(lab.totals().refresh_uses, 2);

    let change = json!({ "client": "app", "secret": "new" });
    assert_eq!(caller.direct("POST", "/lab/secret", change).await.status, 200);
    let old = caller.ask(&Request::client_credentials("app", "secret")).await;
    let new = caller.ask(&Request::client_credentials("app", "new")).await;
    assert_eq!((old.status, new.status), (400, 200));
}

#[tokio::test]
async fn a_direction_that_cannot_be_read_says_where_and_repeats_nothing() {
    let (lab, _) = open(Profile::genesys()).await;
    let mut caller = Caller::connect(&lab).await;
    #[rustfmt::skip]
    let cases = [
        ("POST", "/lab/secret",        json!({ "client": "app", "sekret": "hush" }),                      400),
        ("POST", "/lab/faults",        json!({ "endpoint": "token", "effect": "explode" }),               400),
        ("POST", "/lab/faults",        json!({ "endpoint": "token", "effect": { "status": 99 } }),        400),
        ("POST", "/lab/faults",        json!({ "endpoint": "moon", "effect": "close" }),                  400),
        ("POST", "/lab/refresh-token", json!({ "client": "nobody" }),                                     400),
        ("POST", "/lab/elsewhere",     json!({}),                                                         404),
        ("PUT",  "/lab/ledger",        json!({}),                                                         404),
    ];
    for (method, path, body, status) in cases {
        let response = caller.direct(method, path, body.clone()).await;
        assert_eq!(response.status, status, "{method} {path} {body}");
        assert!(!response.text("error").is_empty());
        assert!(!response.text("error").contains("hush"));
    }
}

#[tokio::test]
async fn faults_by_name_look_from_outside_as_they_should() {
    let (lab, _) = open(Profile::genesys()).await;
    #[rustfmt::skip]
    let cases = [
        // effect,                                                         seen, tokens issued
        (json!("lost_answer"),                                             None,      1),
        (json!("close"),                                                   None,      0),
        (json!({ "break_off_after_bytes": 20 }),                           None,      1),
        (json!({ "break_off_after_bytes": 0 }),                            None,      1),
        (json!({ "status": 500, "processed": true }),                      Some(500), 1),
        (json!({ "status": 503, "retry_after": "7", "body": "<p>no" }),    Some(503), 0),
        (json!({ "status": 200, "body": "" }),                             Some(200), 0),
        (json!("unauthorized"),                                            Some(401), 0),
        (json!({ "latency_ms": 1 }),                                       Some(200), 1),
    ];
    for (effect, expected, issued) in cases {
        let mut caller = Caller::connect(&lab).await;
        let before = lab.totals();
        let fault = json!({ "endpoint": "token", "effect": effect, "for_ms": 2000, "times": 1 });
        assert_eq!(caller.direct("POST", "/lab/faults", fault).await.status, 200);
        let seen = caller.send(&Request::client_credentials("app", "secret")).await;
        assert_eq!(seen.as_ref().ok().map(|response| response.status), expected, "{effect}");
        if let Some(retry_after) = effect.get("retry_after") {
            let response = seen.expect("a response");
            assert_eq!(response.header_value("retry-after"), retry_after.as_str());
            assert_eq!(response.body, b"<p>no");
        }
        let after = lab.totals();
        assert_eq!(after.tokens_issued - before.tokens_issued, issued, "{effect}");
        assert_eq!(after.unanswered - before.unanswered, u64::from(expected.is_none()), "{effect}");
    }
}

#[tokio::test]
async fn a_fault_begins_and_ends_by_the_labs_clock() {
    let (lab, clock) = open(Profile::genesys()).await;
    let mut caller = Caller::connect(&lab).await;
    let fault =
        json!({ "endpoint": "token", "effect": { "status": 502 }, "in_ms": 5000, "for_ms": 2000 });
    caller.direct("POST", "/lab/faults", fault).await;
    let mut seen = Vec::new();
    for second in [4, 5, 6, 7] {
        clock.set(second);
        seen.push(caller.ask(&Request::client_credentials("app", "secret")).await.status);
    }
    assert_eq!(seen, [200, 502, 502, 200]);

    lab.with(|organisation, _| {
        organisation.add_fault(Fault::lasting(Endpoint::Api, Effect::AlwaysUnauthorized));
    });
    let token = caller.login().await;
    assert_eq!(caller.poll(&token).await, 401);
    caller.direct("DELETE", "/lab/faults", json!({})).await;
    assert_eq!(caller.poll(&token).await, 200);
}

#[tokio::test]
async fn who_stalls_or_is_slow_keeps_nobody_else_waiting() {
    let (lab, _) = open(Profile::genesys()).await;
    let mut slow = TcpStream::connect(lab.address()).await.expect("the lab listens");
    slow.write_all(b"POST /oauth/token HTTP/1.1\r\nHost: lab\r\nContent-Le").await.expect("sent");

    let mut caller = Caller::connect(&lab).await;
    let token = caller.login().await;
    let stall = json!({ "endpoint": "api", "effect": "stall_after_processing", "times": 1 });
    caller.direct("POST", "/lab/faults", stall).await;
    let mut stalled = Caller::connect(&lab).await;
    let silence = async { stalled.poll(&token).await };
    let others = async {
        while lab.totals().api_requests == 0 {
            tokio::task::yield_now().await;
        }
        caller.poll(&token).await
    };
    tokio::select! {
        status = silence => panic!("the stalled poll was answered: {status}"),
        status = others => assert_eq!(status, 200),
    }
    assert_eq!(lab.totals().unanswered, 1);
}

#[tokio::test]
async fn latency_is_waited_for_and_many_wait_together() {
    let (lab, _) = open(Profile::genesys()).await;
    let latency = Duration::from_millis(200);
    lab.with(|organisation, _| {
        organisation.profile_mut().token_latency = Latency { least: latency, most: latency };
        organisation.profile_mut().login_limit = None;
    });
    // Twenty logins one after the other would take 4 s.
    let logins = async {
        let mut logins = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let mut caller = Caller::connect(&lab).await;
            logins.spawn(async move { caller.login().await });
        }
        logins.join_all().await
    };
    let too_early = tokio::time::sleep(latency / 2);
    tokio::pin!(too_early, logins);
    tokio::select! {
        biased;
        _ = &mut logins => panic!("answered before the latency was over"),
        () = &mut too_early => {}
    }
    let tokens = tokio::time::timeout(Duration::from_secs(2), logins).await.expect("together");
    assert_eq!(tokens.len(), 20);
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_refused_and_any_content_type_is_read() {
    let (lab, _) = open(Profile::genesys()).await;
    let mut caller = Caller::connect(&lab).await;
    let mut large = Request::new("POST", "/oauth/token");
    large.body = vec![b'a'; (1 << 20) + 1];
    // The lab may close before all of it is sent.
    let status = caller.send(&large).await.map(|response| response.status);
    assert!(matches!(status, Ok(413) | Err(_)), "{status:?}");

    let mut caller = Caller::connect(&lab).await;
    let mut odd = Request::new("POST", "/oauth/token").header("content-type", "text/plain");
    odd.body = b"grant_type=client_credentials&client_id=app&client_secret=secret".to_vec();
    assert_eq!(caller.ask(&odd).await.status, 200);
}

#[tokio::test]
async fn a_stopped_lab_closes_every_connection() {
    let (lab, _) = open(Profile::genesys()).await;
    let address = lab.address();
    let mut open = TcpStream::connect(address).await.expect("the lab listens");
    open.write_all(b"GET /api/v2/x HTTP/1.1\r\nHost: lab\r\n\r\n").await.expect("sent");
    let mut byte = [0];
    open.read_exact(&mut byte).await.expect("an answer begins");
    lab.stop().await;
    let mut rest = Vec::new();
    // Closed or reset: either way it ends.
    let _ = open.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(address).await.is_err());
}
