//! Refresh made idempotent: a refresh token that many share is spent once.

use std::time::Duration;

use bellwether_simulation::{Reuse, Rotation};

use crate::support::{Ask, Reply, Setting, Stage};

fn strict(setting: &mut Setting) {
    setting.profile.rotation = Rotation::Strict;
    setting.profile.reuse = Reuse::RevokesFamily;
}

fn pair(reply: &Reply) -> (String, String) {
    let refresh_token = reply.value()["refresh_token"].as_str().expect("one").to_owned();
    (reply.token(), refresh_token)
}

async fn refresh(stage: &Stage, refresh_token: &str) -> (String, String) {
    pair(&stage.ask(Ask::refresh(refresh_token)).await)
}

#[tokio::test]
async fn a_refresh_answers_with_a_pair() {
    let stage = Stage::open(strict).await;
    let reply = stage.ask(Ask::refresh("first-refresh-token")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let body = reply.value();
    assert_eq!(body["token_type"], "Bearer");
    assert!((3598..=3600).contains(&body["expires_in"].as_u64().expect("seconds")));
    assert_ne!(body["refresh_token"], "first-refresh-token");
}

#[tokio::test]
async fn late_ones_get_the_same_pair_and_then_the_newest_of_the_family() {
    let stage = Stage::open(strict).await;
    let first = refresh(&stage, "first-refresh-token").await;
    stage.clock.skip(Duration::from_secs(300));
    assert_eq!(refresh(&stage, "first-refresh-token").await, first);
    let second = refresh(&stage, &first.1).await;
    assert_ne!(second, first);
    assert_eq!(refresh(&stage, "first-refresh-token").await, second, "the newest");
    assert_eq!(refresh(&stage, &first.1).await, second);
    let totals = stage.lab.totals();
    assert_eq!((totals.refresh_requests, totals.refresh_reused), (2, 0));
}

#[tokio::test]
async fn what_is_left_of_a_late_pairs_life_is_told() {
    let stage = Stage::open(strict).await;
    stage.ask(Ask::refresh("first-refresh-token")).await;
    stage.clock.skip(Duration::from_secs(300));
    let late = stage.ask(Ask::refresh("first-refresh-token")).await;
    let expires_in = late.value()["expires_in"].as_u64().expect("seconds");
    assert!((3295..=3300).contains(&expires_in), "{expires_in}");
}

#[tokio::test]
async fn a_spent_token_is_invalid_grant_later_and_never_sent_on() {
    let stage = Stage::open(strict).await;
    let first = refresh(&stage, "first-refresh-token").await;
    stage.clock.skip(Duration::from_secs(601));
    let spent = stage.ask(Ask::refresh("first-refresh-token")).await;
    assert_eq!(spent.refusal(), (400, "invalid_grant".to_owned(), true));
    assert_eq!(stage.lab.totals().refresh_requests, 1);
    // Its successor is as good as ever.
    refresh(&stage, &first.1).await;
    assert_eq!(stage.lab.totals().refresh_requests, 2);
}

#[tokio::test]
async fn a_public_client_has_a_minute() {
    let stage = Stage::open(|setting| {
        strict(setting);
        let phone = bellwether_simulation::Client::public("phone").refresh_token("phones-token");
        setting.profile.clients.push(phone);
    })
    .await;
    let ask = || {
        let form = "grant_type=refresh_token&client_id=phone&refresh_token=phones-token";
        Ask::new("POST", "/oauth/token").form(form)
    };
    let first = pair(&stage.ask(ask()).await);
    stage.clock.skip(Duration::from_secs(55));
    assert_eq!(pair(&stage.ask(ask()).await), first);
    stage.clock.skip(Duration::from_secs(10));
    assert_eq!(stage.ask(ask()).await.refusal(), (400, "invalid_grant".to_owned(), true));
    assert_eq!(stage.lab.totals().refresh_requests, 1);
}

#[tokio::test]
async fn client_authentication_is_checked_each_time() {
    let stage = Stage::open(strict).await;
    refresh(&stage, "first-refresh-token").await;
    let form = "grant_type=refresh_token&refresh_token=first-refresh-token";
    for client in [("app", "wrong"), ("app", "")] {
        let reply = stage.ask(Ask::token(client, form)).await;
        assert_eq!(reply.refusal(), (401, "invalid_client".to_owned(), true), "{client:?}");
        assert!(reply.header("www-authenticate").is_some());
    }
    let totals = stage.lab.totals();
    assert_eq!((totals.refresh_uses, totals.refresh_reused), (1, 0));
    let under_genesys = Stage::open(|setting| {
        strict(setting);
        setting.genesys = true;
    })
    .await;
    refresh(&under_genesys, "first-refresh-token").await;
    let reply = under_genesys.ask(Ask::token(("app", "wrong"), form)).await;
    assert_eq!(reply.refusal(), (400, "invalid_client".to_owned(), true));
    assert_eq!(reply.header("www-authenticate"), None);
}

#[tokio::test]
async fn another_client_gets_nothing_by_a_token_that_is_not_its_own() {
    let stage = Stage::open(strict).await;
    let first = refresh(&stage, "first-refresh-token").await;
    let form = "grant_type=refresh_token&refresh_token=first-refresh-token";
    let reply = stage.ask(Ask::token(("other", "s3cret-of-the-other"), form)).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(!reply.text().contains(&first.0) && !reply.text().contains(&first.1));
}

#[tokio::test]
async fn an_unknown_token_is_sent_on_once() {
    let stage = Stage::open(strict).await;
    for _ in 0..3 {
        let reply = stage.ask(Ask::refresh("never-seen")).await;
        assert_eq!(reply.refusal(), (400, "invalid_grant".to_owned(), true));
    }
    assert_eq!(stage.lab.totals().refresh_requests, 1);
}

#[tokio::test]
async fn the_pairs_survive_a_restart() {
    let mut kept = None;
    let stage = Stage::open(|setting| {
        strict(setting);
        let clock = std::sync::Arc::clone(&setting.clock) as std::sync::Arc<_>;
        let store = std::sync::Arc::new(bellwether_broker::store::MemoryStore::new(clock));
        let keyring = bellwether_broker::store::Keyring::ephemeral();
        kept = Some((store.clone(), keyring.clone(), std::sync::Arc::clone(&setting.clock)));
        setting.store = Some((store, keyring));
    })
    .await;
    let first = refresh(&stage, "first-refresh-token").await;
    let login = stage.token().await;
    let url: url::Url = stage.lab.url("/oauth/token").parse().expect("a URL");
    let (store, keyring, clock) = kept.expect("what was kept");
    let again = Stage::open(|setting| {
        setting.store = Some((store, keyring));
        setting.clock = clock;
        setting.token_endpoint = Some(url);
    })
    .await;
    assert_eq!(refresh(&again, "first-refresh-token").await, first);
    assert_eq!(again.token().await, login);
    assert_eq!(stage.token_requests(), 2, "a restart asks for nothing");
}

#[tokio::test]
async fn a_callers_refresh_token_is_spent_only_when_a_caller_presents_it() {
    let stage = Stage::open(strict).await;
    refresh(&stage, "first-refresh-token").await;
    stage.clock.skip(Duration::from_secs(7200));
    stage.token().await;
    assert_eq!(stage.lab.totals().refresh_requests, 1);
}
