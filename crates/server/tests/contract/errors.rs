//! What a caller gets where no token can be had.

use std::time::Duration;

use bellwether_simulation::Effect;
use tokio::net::TcpListener;

use crate::support::{Ask, CLIENT, POLLER_KEY, Reply, Stage, Stopwatch};

fn answer(status: u16, body: &str) -> Effect {
    Effect::Answer {
        status,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: body.as_bytes().to_vec(),
        processed: false,
    }
}

fn later(status: u16, seconds: &str) -> Effect {
    Effect::Answer {
        status,
        retry_after: Some(seconds.to_owned()),
        content_type: "text/plain".to_owned(),
        body: b"busy".to_vec(),
        processed: false,
    }
}

/// The refusals of the authorization server, told on at once.
#[tokio::test]
async fn a_refusal_is_told_as_the_authorization_server_said_it() {
    let error = |code: &str| format!(r#"{{"error":"{code}","error_description":"because"}}"#);
    #[rustfmt::skip]
    let cases = [
        // status, body,                           status here, error,                  challenge
        (401, error("invalid_client"),             401, "invalid_client",         true),
        (400, error("invalid_client"),             400, "invalid_client",         false),
        (403, error("unauthorized_client"),        403, "unauthorized_client",    false),
        (400, error("unauthorized_client"),        400, "unauthorized_client",    false),
        (400, error("invalid_scope"),              400, "invalid_scope",          false),
        (400, error("unsupported_grant_type"),     400, "unsupported_grant_type", false),
        (400, error("invalid_request"),            400, "invalid_request",        false),
        (400, error("invalid_grant"),              400, "invalid_grant",          false),
        (403, error("access_denied"),              403, "access_denied",          false),
        (422, error("vendor.own_code"),            422, "vendor.own_code",        false),
    ];
    for (status, body, status_here, error, challenge) in cases {
        for genesys in [false, true] {
            let stage = Stage::open(|setting| setting.genesys = genesys).await;
            stage.login_answers(answer(status, &body));
            let began = Stopwatch::start();
            let reply = stage.login().await;
            let status_here = if genesys { 400 } else { status_here };
            assert_eq!(reply.refusal(), (status_here, error.to_owned(), true), "{body}");
            let challenged = reply.header("www-authenticate").is_some();
            assert_eq!(challenged, challenge && !genesys, "{body}");
            assert_eq!(reply.value()["error_description"], "because", "{body}");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            assert!(began.elapsed() < Duration::from_secs(2), "{body}");
        }
    }
}

#[tokio::test]
async fn a_description_is_cleaned_of_what_must_not_be_repeated() {
    let stage = Stage::open(|_| {}).await;
    let body = format!(
        r#"{{"error":"invalid_client","error_description":"\u001b[31mno client {} \r\n<b>\" \\ {}"}}"#,
        CLIENT.1,
        "x".repeat(5000)
    );
    stage.login_answers(answer(401, &body));
    let reply = stage.login().await;
    assert_eq!(reply.error(), "invalid_client");
    let value = reply.value();
    let description = value["error_description"].as_str().expect("a description");
    assert!(!description.contains(CLIENT.1), "{description}");
    assert!(description.len() <= 256, "{} bytes", description.len());
    // RFC 6749 §5.2
    let allowed = |c: char| matches!(c, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
    assert!(description.chars().all(allowed), "{description:?}");
}

/// Where waiting may help, and where it cannot: never longer than 15 s, at once where possible.
#[tokio::test]
async fn what_may_pass_is_503_and_what_makes_no_sense_502_within_15_s() {
    let disguised = r#"{"error":"invalid_request","error_description":"rate limit exceeded"}"#;
    let denied =
        r#"{"error":"access_denied","error_description":"Rate limit exceeded, slow down"}"#;
    let at_once = Some(Duration::from_secs(3));
    #[rustfmt::skip]
    let cases: Vec<(&str, Effect, u16, u64, Option<Duration>)> = vec![
        // what the server does,  ,                          status, Retry-After at least, how soon
        ("500",                    Effect::status(500),         503, 1,   None),
        ("503 with Retry-After",   later(503, "30"),            503, 28,  at_once),
        ("504 in HTML",            answer(504, "<html>"),       503, 1,   None),
        ("429",                    Effect::status(429),         503, 1,   None),
        ("429 with Retry-After",   later(429, "60"),            503, 58,  at_once),
        ("400 in disguise",        answer(400, disguised),      503, 1,   None),
        ("403 in disguise",        answer(403, denied),         503, 1,   None),
        ("closes",                 Effect::Close,               503, 1,   None),
        ("says nothing",           Effect::Stall { processed: false }, 503, 1, None),
        ("301",                    answer(301, ""),             502, 1,   at_once),
        ("307",                    answer(307, ""),             502, 1,   at_once),
        ("200 in HTML",            answer(200, "<html>"),       502, 1,   None),
        ("200 and nothing",        answer(200, ""),             502, 1,   None),
        ("200 without a token",    answer(200, "{}"),           502, 1,   None),
        ("a token with a space",   answer(200, r#"{"access_token":"a b","token_type":"bearer"}"#), 502, 1, None),
        ("a token of another type", answer(200, r#"{"access_token":"a","token_type":"mac"}"#), 502, 1, at_once),
    ];
    let mut asked = Vec::new();
    for (title, effect, status, retry_after, soon) in cases {
        for genesys in [false, true] {
            let stage = Stage::open(|setting| setting.genesys = genesys).await;
            stage.login_answers(effect.clone());
            asked.push(tokio::spawn(async move {
                let (began, reply) = (Stopwatch::start(), stage.login().await);
                let told = told(title, &reply, status, retry_after);
                (told, title, began.elapsed(), soon, stage.token_requests())
            }));
        }
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = nobody.local_addr().expect("an address").port();
    drop(nobody);
    asked.push(tokio::spawn(async move {
        let stage = Stage::open(|setting| {
            let url = format!("http://127.0.0.1:{port}/oauth/token");
            setting.token_endpoint = url.parse().ok();
        })
        .await;
        let (began, reply) = (Stopwatch::start(), stage.login().await);
        let told = told("nobody listens", &reply, 503, 1);
        (told, "nobody listens", began.elapsed(), None, stage.token_requests())
    }));
    let mut wrong = Vec::new();
    for asked in asked {
        let (told, title, elapsed, soon, requests) = asked.await.expect("no panic");
        wrong.extend(told);
        let most = soon.unwrap_or(Duration::from_secs(15));
        if elapsed > most {
            wrong.push(format!("{title}: took {elapsed:?}"));
        }
        if requests > 10 {
            wrong.push(format!("{title}: {requests} token requests"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn told(title: &str, reply: &Reply, status: u16, retry_after: u64) -> Option<String> {
    let expected = (status, "temporarily_unavailable".to_owned(), true);
    let wait = reply.header("retry-after").and_then(|wait| wait.parse::<u64>().ok());
    let good = reply.refusal() == expected
        && wait.is_some_and(|wait| wait >= retry_after)
        && reply.header("cache-control") == Some("no-store");
    (!good).then(|| format!("{title}: {reply:?}"))
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let stage = Stage::open(|_| {}).await;
    let elsewhere = crate::support::Origin::content().await;
    let target = elsewhere.url("/oauth/token");
    let thief = crate::support::Origin::start(move |_| {
        let headers = format!("Location: {target}\r\n");
        crate::support::origin::answer("307 Temporary Redirect", &headers, "")
    })
    .await;
    let url = thief.url("/oauth/token");
    drop(stage);
    let stage = Stage::open(|setting| setting.token_endpoint = Some(url)).await;
    let reply = stage.login().await;
    assert_eq!(reply.refusal(), (502, "temporarily_unavailable".to_owned(), true));
    assert_eq!(thief.recorded().len(), 1);
    assert!(elsewhere.recorded().is_empty());
}

/// A caller that waits is served as soon as the server is back.
#[tokio::test]
async fn a_caller_is_held_while_the_next_attempt_is_due() {
    let stage = Stage::open(|_| {}).await;
    stage.fault(bellwether_simulation::Fault::next(
        2,
        bellwether_simulation::Endpoint::Token,
        Effect::status(503),
    ));
    let began = Stopwatch::start();
    assert_eq!(stage.login().await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(stage.token_requests(), 3);
}

#[tokio::test]
async fn the_callers_own_mistakes_cost_no_token_request_twice() {
    let stage = Stage::open(|_| {}).await;
    let wrong = || Ask::token(("app", "wrong"), "grant_type=client_credentials");
    for _ in 0..5 {
        assert_eq!(stage.ask(wrong()).await.status, 401);
    }
    assert_eq!(stage.token_requests(), 1, "a known refusal is told from memory");
}

/// Makes a request of the token held.
type Made = Box<dyn Fn(&str) -> Ask + Send>;

/// An authorization server that takes requests and says nothing: every path answers in time.
#[tokio::test]
async fn nothing_hangs() {
    let grant = "grant_type=client_credentials";
    let code = "grant_type=authorization_code&code=x";
    let rejected = |token: &str| {
        Ask::new("POST", "/bellwether/v1/credentials/polling/rejected")
            .bearer(POLLER_KEY)
            .json(&format!(r#"{{"access_token":"{token}"}}"#))
    };
    #[rustfmt::skip]
    let cases: Vec<(&str, bool, Made)> = vec![
        // what is asked,     configured, request
        ("a login",            false, Box::new(move |_| Ask::token(("other", "s3cret-of-the-other"), grant))),
        ("a renewal",          false, Box::new(|_| Ask::login())),
        ("no-cache",           false, Box::new(|_| Ask::login().header("Cache-Control", "no-cache"))),
        ("a refresh",          false, Box::new(|_| Ask::refresh("first-refresh-token"))),
        ("a code",             false, Box::new(move |_| Ask::token(CLIENT, code))),
        ("the API",            false, Box::new(|token| Ask::get("/api/x").bearer(token))),
        ("a token",            true,  Box::new(|_| Ask::rest("polling/token"))),
        ("an authorization",   true,  Box::new(|_| Ask::rest("polling/authorization"))),
        ("a rejection",        true,  Box::new(rejected)),
        ("the API by key",     true,  Box::new(|_| Ask::get("/api/x").bearer(POLLER_KEY))),
    ];
    let mut asked = Vec::new();
    for (title, configured, ask) in cases {
        asked.push(tokio::spawn(async move {
            let stage = if configured {
                Stage::configured(|_| {}).await
            } else {
                Stage::open(|_| {}).await
            };
            let token = if configured {
                stage.ask(Ask::rest("polling/token")).await.token()
            } else {
                stage.token().await
            };
            stage.login_answers(Effect::Stall { processed: false });
            stage.clock.skip(Duration::from_secs(3700));
            let watch = Stopwatch::start();
            let reply = stage.ask(ask(&token)).await;
            (title, watch.elapsed(), told(title, &reply, 503, 1))
        }));
    }
    let mut wrong = Vec::new();
    for asked in asked {
        let (title, elapsed, told) = asked.await.expect("no panic");
        wrong.extend(told);
        if elapsed > Duration::from_secs(15) {
            wrong.push(format!("{title}: took {elapsed:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is held and good is not held back by a server that says nothing.
#[tokio::test]
async fn a_good_token_waits_for_nobody() {
    let stage = Stage::open(|setting| setting.verify = Some("/api/v2/tokens/me")).await;
    let token = stage.token().await;
    let stall = || Effect::Stall { processed: false };
    stage.login_answers(stall());
    stage.fault(bellwether_simulation::Fault::lasting(
        bellwether_simulation::Endpoint::Api,
        stall(),
    ));
    stage.clock.skip(Duration::from_secs(60));
    let watch = Stopwatch::start();
    assert_eq!(stage.token().await, token, "the check tells nothing");
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    let forced = stage.ask(Ask::login().header("Cache-Control", "no-cache")).await;
    assert_eq!(forced.token(), token);
    assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
}
