//! What others got wrong where callers and APIs can see it; the rest is in the broker's `peers`.

use std::time::Duration;

use bellwether_simulation::{Effect, Endpoint, Fault, Latency, Reuse, Rotation};

use crate::support::{Ask, CLIENT, Setting, Stage};

fn strict(setting: &mut Setting) {
    setting.profile.rotation = Rotation::Strict;
    setting.profile.reuse = Reuse::RevokesFamily;
    setting.profile.token_latency = Latency::millis(150, 150);
}

/// Elsewhere: a token endpoint checks that a refresh token is good, and then uses it; two at once
/// both pass, and a refresh races a revocation.
#[tokio::test]
async fn p07_refresh_and_revocation_at_once_spend_a_token_once() {
    let stage = Stage::open(strict).await;
    let refresh = || stage.ask(Ask::refresh("first-refresh-token"));
    let revoke = || {
        let form = "token=first-refresh-token&token_type_hint=refresh_token";
        stage.ask(Ask::new("POST", "/oauth/revoke").basic(CLIENT.0, CLIENT.1).form(form))
    };
    let (one, two, revoked, three) = tokio::join!(refresh(), refresh(), revoke(), refresh());
    assert_eq!(revoked.status, 200);
    let pairs = [one, two, three].map(|reply| reply.value()["refresh_token"].clone());
    assert!(pairs[0].is_string() && pairs.iter().all(|pair| *pair == pairs[0]), "{pairs:?}");
    let totals = stage.lab.totals();
    let counted = (totals.refresh_requests, totals.refresh_reused, totals.families_revoked);
    assert_eq!(counted, (1, 0, 0));
}

/// Elsewhere: while login is away a token that has ended is injected all the same.
#[tokio::test]
async fn p09_no_token_is_injected_past_its_end() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    stage.fault(Fault::lasting(Endpoint::Token, Effect::Close));
    stage.clock.skip(Duration::from_secs(3601));
    let reply = stage.ask(Ask::get("/api/x").bearer(&token)).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(stage.lab.totals().api_requests, 0, "nothing went to the API");
}

/// Elsewhere: an error's text repeats the refresh token, and so do answers, dashboard and log.
#[tokio::test]
async fn p18_an_error_that_repeats_a_refresh_token_is_repeated_nowhere() {
    let stage = Stage::open(|_| {}).await;
    let body = r#"{"error":"invalid_grant","error_description":"first-refresh-token is not good",
        "first-refresh-token":"first-refresh-token"}"#;
    stage.login_answers(Effect::Answer {
        status: 400,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: body.as_bytes().to_vec(),
        processed: false,
    });
    let reply = stage.ask(Ask::refresh("first-refresh-token")).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"));
    assert!(!reply.text().contains("first-refresh"), "{reply:?}");
    for path in ["/metrics", "/v1/credentials"] {
        let shown = stage.ask_admin(Ask::get(path)).await.text();
        assert!(!shown.contains("first-refresh"), "{path}: {shown}");
    }
}
