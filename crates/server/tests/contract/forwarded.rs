//! Grants that cannot be shared are forwarded once, never cached, never retried.

use bellwether_simulation::Effect;

use crate::support::origin::answer;
use crate::support::{Ask, CLIENT, Origin, Stage};

const CODE: &str = "grant_type=authorization_code&code=c0de&redirect_uri=https%3A%2F%2Fapp.test%2Fcb\
                    &code_verifier=v3rifier&scope=read";

#[tokio::test]
async fn a_code_goes_through_as_it_came() {
    let body = r#"{"access_token":"of-the-code","token_type":"bearer","expires_in":60,"refresh_token":"r","id_token":"i"}"#;
    let server =
        Origin::start(move |_| answer("200 OK", "Content-Type: application/json\r\n", body)).await;
    let url = server.url("/oauth/token");
    let api = Origin::content().await;
    let stage = Stage::open(|setting| {
        setting.token_endpoint = Some(url);
        setting.resource_server = Some(api.url("/"));
    })
    .await;
    for count in 1..=2 {
        let reply = stage.ask(Ask::token(CLIENT, CODE)).await;
        assert_eq!((reply.status, reply.text()), (200, body.to_owned()));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(server.recorded().len(), count, "never cached");
    }
    let sent = server.last();
    let mut form: Vec<(String, String)> = form_urlencoded::parse(&sent.body).into_owned().collect();
    form.sort();
    let expected = [
        ("code", "c0de"),
        ("code_verifier", "v3rifier"),
        ("grant_type", "authorization_code"),
        ("redirect_uri", "https://app.test/cb"),
        ("scope", "read"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(sent.all("authorization").len(), 1);

    // The token is its caller's own: it goes to the API as it is.
    assert_eq!(stage.ask(Ask::get("/users/me").bearer("of-the-code")).await.status, 200);
    assert_eq!(api.last().all("authorization"), ["Bearer of-the-code"]);
}

#[tokio::test]
async fn an_unknown_grant_is_the_authorization_servers_to_refuse() {
    let stage = Stage::open(|_| {}).await;
    let reply = stage.ask(Ask::token(CLIENT, "grant_type=urn%3Ax%3Aunheard-of&x=y")).await;
    assert_eq!((reply.status, reply.error()), (400, "unsupported_grant_type".to_owned()));
    assert_eq!(stage.token_requests(), 1);
}

/// What the RFC has no word for is answered as for any other grant, after one request.
#[tokio::test]
async fn failures_are_told_like_any_others_and_nothing_is_retried() {
    let json = |status: u16, body: &str| Effect::Answer {
        status,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: body.as_bytes().to_vec(),
        processed: false,
    };
    let refused =
        r#"{"error":"invalid_client","error_description":"no s3cret-of-the-app \u001b[0m"}"#;
    let throttled = r#"{"error":"invalid_request","error_description":"rate limit exceeded"}"#;
    #[rustfmt::skip]
    let cases = [
        // effect,                        preset, status, error
        (Effect::status(500),             false,  503, "temporarily_unavailable"),
        (Effect::status(429),             false,  503, "temporarily_unavailable"),
        (json(400, throttled),            false,  503, "temporarily_unavailable"),
        (Effect::Close,                   false,  503, "temporarily_unavailable"),
        (json(302, ""),                   false,  502, "temporarily_unavailable"),
        (json(200, "<html>"),             false,  502, "temporarily_unavailable"),
        (json(401, refused),              false,  401, "invalid_client"),
        (json(401, refused),              true,   400, "invalid_client"),
        (json(400, r#"{"error":"invalid_grant"}"#), false, 400, "invalid_grant"),
    ];
    for (effect, genesys, status, error) in cases {
        let stage = Stage::open(|setting| setting.genesys = genesys).await;
        let title = format!("{effect:?} {genesys}");
        stage.login_answers(effect);
        let reply = stage.ask(Ask::token(CLIENT, CODE)).await;
        assert_eq!((reply.status, reply.error()), (status, error.to_owned()), "{title}");
        let passing = matches!(status, 502 | 503);
        assert_eq!(reply.header("retry-after").is_some(), passing, "{title}: {reply:?}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{title}");
        assert!(reply.header("bellwether-error").is_some() || !passing, "{title}");
        assert!(!reply.text().contains(CLIENT.1), "{title}: {reply:?}");
        assert!(!reply.text().contains("u001b"), "{title}: {reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{title}");
        assert_eq!(stage.token_requests(), 1, "{title}");
    }
}

/// A client's own assertion is good for one request: what it gave is nobody else's.
#[tokio::test]
async fn a_client_that_brings_an_assertion_is_never_answered_from_memory() {
    let body = r#"{"access_token":"t","token_type":"bearer","expires_in":60}"#;
    let server =
        Origin::start(move |_| answer("200 OK", "Content-Type: application/json\r\n", body)).await;
    let url = server.url("/oauth/token");
    let stage = Stage::open(|setting| setting.token_endpoint = Some(url)).await;
    let form =
        "grant_type=client_credentials&client_assertion_type=urn%3Ajwt&client_assertion=a.b.c";
    for count in 1..=2 {
        let reply = stage.ask(Ask::new("POST", "/oauth/token").form(form)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(server.recorded().len(), count);
    }
    let sent = server.last();
    let mut form: Vec<(String, String)> = form_urlencoded::parse(&sent.body).into_owned().collect();
    form.sort();
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["client_assertion", "client_assertion_type", "grant_type"]);
    assert!(sent.all("authorization").is_empty());
}
