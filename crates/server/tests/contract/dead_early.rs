//! How callers say that a token died before its end.

use std::time::Duration;

use crate::support::{Ask, CLIENT, POLLER_KEY, Stage};

fn no_cache() -> Ask {
    Ask::login().header("Cache-Control", "no-cache")
}

fn revoke(client: (&str, &str), token: &str) -> Ask {
    let form = format!("token={token}&token_type_hint=access_token");
    Ask::new("POST", "/oauth/revoke").basic(client.0, client.1).form(&form)
}

fn rejected(token: &str) -> Ask {
    let body = format!(r#"{{"access_token":"{token}"}}"#);
    Ask::new("POST", "/bellwether/v1/credentials/polling/rejected").bearer(POLLER_KEY).json(&body)
}

#[tokio::test]
async fn no_cache_renews_at_most_once_in_10_s_and_no_young_token() {
    let stage = Stage::open(|_| {}).await;
    let first = stage.token().await;
    assert_eq!(stage.ask(no_cache()).await.token(), first, "it is younger than 10 s");
    stage.clock.skip(Duration::from_secs(11));
    assert_eq!(stage.token().await, first, "nobody said anything");
    let second = stage.ask(no_cache()).await.token();
    assert_ne!(second, first);
    stage.clock.skip(Duration::from_secs(5));
    assert_eq!(stage.ask(no_cache()).await.token(), second);
    stage.clock.skip(Duration::from_secs(6));
    let directives = Ask::login().header("Cache-Control", "max-age=0, No-Cache");
    assert_ne!(stage.ask(directives).await.token(), second);
    assert_eq!(stage.token_requests(), 3);
}

#[tokio::test]
async fn a_crowd_that_says_no_cache_is_one_renewal() {
    let stage = Stage::open(crate::support::Setting::slow_login).await;
    let first = stage.token().await;
    stage.clock.skip(Duration::from_secs(11));
    let asked: Vec<_> = (0..100)
        .map(|_| tokio::spawn(crate::support::http::ask(stage.gateway, no_cache())))
        .collect();
    for reply in asked {
        assert_ne!(reply.await.expect("no panic").token(), first);
    }
    assert_eq!(stage.token_requests(), 2);
}

#[tokio::test]
async fn a_revoked_token_is_renewed_once_however_many_say_so() {
    let stage = Stage::open(|_| {}).await;
    let first = stage.token().await;
    for _ in 0..3 {
        let reply = stage.ask(revoke(CLIENT, &first)).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{reply:?}");
    }
    let second = stage.token().await;
    assert_ne!(second, first);
    assert_eq!(stage.token_requests(), 2);
    // Others may live on it still: nothing was revoked upstream.
    assert_eq!(stage.lab.totals().live_tokens, 2);
}

#[tokio::test]
async fn nobody_revokes_what_is_not_their_own() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    stage.ask(Ask::token(("other", "s3cret-of-the-other"), "grant_type=client_credentials")).await;
    for client in [("other", "s3cret-of-the-other"), ("app", "wrong")] {
        stage.ask(revoke(client, &token)).await;
        assert_eq!(stage.token().await, token, "{client:?}");
    }
    assert_eq!(stage.token_requests(), 2);
    // RFC 7009 §2.2: a token that nobody knows is revoked already.
    assert_eq!(stage.ask(revoke(CLIENT, "never-seen")).await.status, 200);
    let nothing = Ask::new("POST", "/oauth/revoke").basic(CLIENT.0, CLIENT.1).form("x=y");
    assert_eq!(stage.ask(nothing).await.refusal(), (400, "invalid_request".to_owned(), true));
}

#[tokio::test]
async fn a_rejected_token_is_renewed_only_while_it_is_held() {
    let stage = Stage::configured(|_| {}).await;
    let first = stage.ask(Ask::rest("polling/token")).await;
    let reply = stage.ask(rejected(&first.token())).await;
    let second = reply.token();
    assert_ne!(second, first.token());
    assert!(reply.value()["generation"].as_u64() > first.value()["generation"].as_u64());
    let requests = stage.token_requests();
    for _ in 0..5 {
        assert_eq!(stage.ask(rejected(&first.token())).await.token(), second);
    }
    assert_eq!(stage.ask(rejected("never-seen")).await.token(), second);
    assert_eq!(stage.token_requests(), requests, "the one that was refused is not held any more");
}

#[tokio::test]
async fn a_crowd_that_rejects_one_token_is_one_renewal() {
    let stage = Stage::configured(crate::support::Setting::slow_login).await;
    let first = stage.ask(Ask::rest("polling/token")).await.token();
    stage.until_held("second").await;
    let requests = stage.token_requests();
    let asked: Vec<_> = (0..100)
        .map(|_| tokio::spawn(crate::support::http::ask(stage.gateway, rejected(&first))))
        .collect();
    for reply in asked {
        assert_ne!(reply.await.expect("no panic").token(), first);
    }
    assert_eq!(stage.token_requests(), requests + 1);
}

#[tokio::test]
async fn a_rejection_is_a_json_body_with_one_member() {
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    let requests = stage.token_requests();
    let post =
        || Ask::new("POST", "/bellwether/v1/credentials/polling/rejected").bearer(POLLER_KEY);
    for ask in [
        post().form("access_token=x"),
        post().body("text/plain", br#"{"access_token":"x"}"#),
        post().json("{}"),
        post().json("[]"),
        post().json(r#"{"access_token":1}"#),
        post().json(r#"{"access_token":"a","more":1}"#),
        post().json("nonsense"),
    ] {
        assert_eq!(stage.ask(ask).await.refusal(), (400, "invalid_request".to_owned(), true));
    }
    let get = stage.ask(Ask::rest("polling/rejected")).await;
    assert_eq!(get.status, 405);
    assert_eq!(stage.token_requests().max(requests), stage.token_requests());
}

/// Callers that can say nothing are helped by a check, one for all, before a token is handed out.
#[tokio::test]
async fn a_token_without_a_sign_of_life_is_checked_before_it_is_handed_out() {
    let stage = Stage::open(|setting| setting.verify = Some("/api/v2/tokens/me")).await;
    let first = stage.token().await;
    stage.revoke_tokens();
    stage.clock.skip(Duration::from_secs(31));
    let asked: Vec<_> = (0..50)
        .map(|_| tokio::spawn(crate::support::http::ask(stage.gateway, Ask::login())))
        .collect();
    for reply in asked {
        assert_ne!(reply.await.expect("no panic").token(), first);
    }
    assert_eq!((stage.token_requests(), stage.lab.totals().api_requests), (2, 1));
    // It lives, and a check counts for 30 s.
    stage.clock.skip(Duration::from_secs(31));
    for _ in 0..5 {
        stage.token().await;
    }
    assert_eq!((stage.token_requests(), stage.lab.totals().api_requests), (2, 2));
}
