//! Token requests that could be read two ways, or not at all: refused here, never sent on.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::http::FORM;
use crate::support::{Ask, CLIENT, Stage};

const GOOD: &str = "grant_type=client_credentials";

fn basic() -> Ask {
    Ask::new("POST", "/oauth/token").basic(CLIENT.0, CLIENT.1)
}

fn bare() -> Ask {
    Ask::new("POST", "/oauth/token")
}

fn shown(authorization: &str) -> Ask {
    bare().header("Authorization", authorization).form(GOOD)
}

fn pair(pair: &[u8]) -> Ask {
    shown(&format!("Basic {}", STANDARD.encode(pair)))
}

#[rustfmt::skip]
fn corpus() -> Vec<(&'static str, Ask, u16, &'static str)> {
    let in_body = "client_id=app&client_secret=s3cret-of-the-app";
    let target = |target: &str| Ask::new("POST", target).basic(CLIENT.0, CLIENT.1).form(GOOD);
    let many: String = (0..70).map(|n| format!("&p{n}=v")).collect();
    let long = format!("{GOOD}&p={}", "x".repeat(70_000));
    vec![
        // Parameters come once.
        ("two grants",                       basic().form("grant_type=client_credentials&grant_type=refresh_token"), 400, "invalid_request"),
        ("the same grant twice",             basic().form("grant_type=client_credentials&grant_type=client_credentials"), 400, "invalid_request"),
        ("the second name encoded",          basic().form("grant_type=client_credentials&grant%5ftype=password"), 400, "invalid_request"),
        ("two scopes",                       basic().form("grant_type=client_credentials&scope=a&scope=b"), 400, "invalid_request"),
        ("a scope and an empty one",         basic().form("grant_type=client_credentials&scope=a&scope="), 400, "invalid_request"),
        ("two client ids",                   bare().form("grant_type=client_credentials&client_id=app&client_id=other&client_secret=x"), 400, "invalid_request"),
        ("two client secrets",               bare().form("grant_type=client_credentials&client_id=app&client_secret=a&client_secret=b"), 400, "invalid_request"),
        ("two refresh tokens",               basic().form("grant_type=refresh_token&refresh_token=a&refresh_token=b"), 400, "invalid_request"),
        ("a vendor's own parameter twice",   basic().form("grant_type=client_credentials&tenant=a&tenant=b"), 400, "invalid_request"),
        ("two nameless parameters",          basic().form("grant_type=client_credentials&=a&=b"), 400, "invalid_request"),
        // A client authenticates one way.
        ("header and body",                  basic().form(&format!("{GOOD}&{in_body}")), 400, "invalid_request"),
        ("header, and a secret in the body", basic().form(&format!("{GOOD}&client_secret=s3cret-of-the-app")), 400, "invalid_request"),
        ("an assertion beside a secret",     bare().form(&format!("{GOOD}&{in_body}&client_assertion=x&client_assertion_type=y")), 400, "invalid_request"),
        ("header, and another id",           basic().form(&format!("{GOOD}&client_id=other")), 400, "invalid_request"),
        ("header, and the id in capitals",   basic().form(&format!("{GOOD}&client_id=APP")), 400, "invalid_request"),
        ("two headers",                      basic().basic(CLIENT.0, CLIENT.1).form(GOOD), 400, "invalid_request"),
        ("two headers of two kinds",         basic().bearer("x").form(GOOD), 400, "invalid_request"),
        ("a bearer token",                   shown("Bearer x"), 400, "invalid_request"),
        ("a bearer token, and a body",       bare().bearer("x").form(&format!("{GOOD}&{in_body}")), 400, "invalid_request"),
        ("an assertion beside the header",   basic().form(&format!("{GOOD}&client_assertion=x&client_assertion_type=y")), 400, "invalid_request"),
        ("a scheme alone",                   shown("Basic"), 400, "invalid_request"),
        ("no base64",                        shown("Basic !!!!"), 400, "invalid_request"),
        ("an empty pair",                    shown("Basic "), 400, "invalid_request"),
        ("no colon",                         pair(b"app"), 400, "invalid_request"),
        ("no client id",                     pair(b":secret"), 400, "invalid_request"),
        ("no UTF-8",                         pair(b"app:\xff\xfe"), 400, "invalid_request"),
        ("a line end in the secret",         pair(b"app:a\r\nb"), 400, "invalid_request"),
        ("a NUL in the secret",              pair(b"app:a\0b"), 400, "invalid_request"),
        ("an encoded line end in it",        pair(b"app:a%0d%0ab"), 400, "invalid_request"),
        ("no authentication",                bare().form(GOOD), 401, "invalid_client"),
        ("a secret without an id",           bare().form(&format!("{GOOD}&client_secret=x")), 401, "invalid_client"),
        ("an empty client id",               bare().form(&format!("{GOOD}&client_id=&client_secret=x")), 401, "invalid_client"),
        // What it asks for must be said, in a form.
        ("no grant",                         basic().form("scope=a"), 400, "invalid_request"),
        ("an empty grant",                   basic().form("grant_type="), 400, "invalid_request"),
        ("an empty body",                    basic().form(""), 400, "invalid_request"),
        ("no content type",                  basic().form(GOOD).without("content-type"), 400, "invalid_request"),
        ("JSON",                             basic().json(r#"{"grant_type":"client_credentials"}"#), 400, "invalid_request"),
        ("a form that says it is JSON",      basic().json(GOOD), 400, "invalid_request"),
        ("a form that says it is text",      basic().body("text/plain", GOOD.as_bytes()), 400, "invalid_request"),
        ("two content types",                basic().form(GOOD).header("Content-Type", "application/json"), 400, "invalid_request"),
        ("a multipart form",                 basic().body("multipart/form-data; boundary=x", b"--x--"), 400, "invalid_request"),
        ("no UTF-8 in the body",             basic().body(FORM, b"grant_type=client_credentials&x=\xff"), 400, "invalid_request"),
        ("no UTF-8 behind the escapes",      basic().form(&format!("{GOOD}&x=%ff%fe")), 400, "invalid_request"),
        ("an escape that is none",           basic().form(&format!("{GOOD}&x=%zz")), 400, "invalid_request"),
        ("an escape that breaks off",        basic().form(&format!("{GOOD}&x=%4")), 400, "invalid_request"),
        ("an encoded line end",              basic().form(&format!("{GOOD}&x=%0d%0aSet-Cookie:x")), 400, "invalid_request"),
        ("an encoded NUL",                   basic().form(&format!("{GOOD}&x=a%00b")), 400, "invalid_request"),
        ("a scope with a quote",             basic().form(&format!("{GOOD}&scope=%22")), 400, "invalid_scope"),
        ("a scope with an umlaut",           basic().form(&format!("{GOOD}&scope=%C3%BC")), 400, "invalid_scope"),
        ("a refresh without its token",      basic().form("grant_type=refresh_token"), 400, "invalid_request"),
        ("a refresh with an empty token",    basic().form("grant_type=refresh_token&refresh_token="), 400, "invalid_request"),
        ("seventy parameters",               basic().form(&format!("{GOOD}{many}")), 400, "invalid_request"),
        ("seventy thousand bytes",           basic().form(&long), 413, "invalid_request"),
        // Addresses are logged.
        ("the grant in the address",         target("/oauth/token?grant_type=client_credentials"), 400, "invalid_request"),
        ("the secret in the address",        target("/oauth/token?client_id=app&client_secret=s3cret-of-the-app"), 400, "invalid_request"),
        ("a token in the address",           target("/oauth/token?access_token=x"), 400, "invalid_request"),
    ]
}

#[tokio::test]
async fn what_could_be_read_two_ways_is_refused_here() {
    let stage = Stage::open(|_| {}).await;
    let corpus = corpus();
    assert!(corpus.len() >= 40);
    let mut wrong = Vec::new();
    for (title, ask, status, error) in corpus {
        let reply = stage.ask(ask).await;
        let expected = (status, error.to_owned(), true);
        if reply.refusal() != expected || reply.header("cache-control") != Some("no-store") {
            wrong.push(format!("{title}: {reply:?}"));
        }
        let challenge = reply.header("www-authenticate").is_some();
        assert_eq!(challenge, status == 401, "{title}: {reply:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(stage.token_requests(), 0, "nothing of it was sent on");
}

#[tokio::test]
async fn under_the_preset_genesys_none_of_it_is_401() {
    let stage = Stage::open(|setting| setting.genesys = true).await;
    for (title, ask, status, error) in corpus() {
        let reply = stage.ask(ask).await;
        let status = if status == 401 { 400 } else { status };
        assert_eq!(reply.refusal(), (status, error.to_owned(), true), "{title}");
        assert_eq!(reply.header("www-authenticate"), None, "{title}");
    }
}

#[tokio::test]
async fn secrets_in_the_address_are_refused_at_revocation_too() {
    let stage = Stage::open(|_| {}).await;
    let ask = Ask::new("POST", "/oauth/revoke?token=x").basic(CLIENT.0, CLIENT.1).form("token=x");
    assert_eq!(stage.ask(ask).await.refusal(), (400, "invalid_request".to_owned(), true));
}

#[tokio::test]
async fn the_token_endpoint_takes_post_alone() {
    let stage = Stage::open(|_| {}).await;
    for path in ["/oauth/token", "/login/oauth/token", "/oauth/revoke"] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let ask = Ask::new(method, path).basic(CLIENT.0, CLIENT.1);
            let reply = stage.ask(ask).await;
            assert_eq!(
                (reply.status, reply.header("allow")),
                (405, Some("POST")),
                "{method} {path}"
            );
            assert!(reply.header("bellwether-error").is_some());
        }
    }
    assert_eq!(stage.token_requests(), 0);
}
