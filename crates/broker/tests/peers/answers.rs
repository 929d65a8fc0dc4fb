//! Answers that are odd.

use std::time::Duration;

use bellwether_broker::Refusal;
use bellwether_broker::lifecycle::State;
use bellwether_broker::provider::Rotation as Class;
use bellwether_simulation::Profile;
use tokio::time::sleep;

use crate::support::{Line, World, millis, secs};
use crate::{answers, pair, refreshing, renewed, scripted, settled, strict};

/// Elsewhere: a 200 without a body is taken for success, and nothing is ever tried again.
#[tokio::test(start_paused = true)]
async fn p09_an_empty_200_is_doubt_and_the_token_before_it_goes_on() {
    for body in ["", " ", "{}", "null", "[]", "<html></html>", r#"{"access_token":""}"#] {
        let world = World::new(strict());
        let handle = world.add(refreshing(&world, Class::Strict, None)).await;
        let token = handle.token().await.expect("the seed is good");
        world.fail_next(1, answers(200, body, true));
        handle.renew();
        settled(&handle, State::InDoubt).await;
        let same = handle.token().await.expect("the token before it");
        assert_eq!(same.access_token(), token.access_token(), "{body:?}");
        sleep(secs(300)).await;
        assert_eq!(world.totals().refresh_uses, 1, "{body:?}");
    }
}

/// Elsewhere: an `expires_in` with a point fails the parse, and the new refresh token is thrown away
/// with it; probing how to authenticate sends the old one twice; errors repeat the body.
#[tokio::test(start_paused = true)]
async fn p10_an_odd_field_costs_no_refresh_token_and_nothing_is_sent_twice() {
    let odd = [
        r#""expires_in":3599.5"#,
        r#""expires_in":"3600""#,
        r#""expires_in":1e400"#,
        r#""expires_in":-1"#,
        r#""expires_in":null"#,
        r#""expires_in":[]"#,
        r#""expires_in":{"seconds":3600}"#,
        r#""scope":7"#,
        r#""scope":["a","b"]"#,
        r#""id_token":"not.a.jwt""#,
        r#""token_type":"bearer""#,
    ];
    for field in odd {
        let body = format!(
            r#"{{"access_token":"AT-1","token_type":"Bearer",{field},"refresh_token":"RT-1"}}"#
        );
        let world = World::new(strict());
        let (script, settings) = scripted([Line::Answer(200, body), pair(2, "")]);
        let handle = world.add(settings).await;
        sleep(secs(2)).await;
        handle.renew();
        sleep(secs(10)).await;
        let sent = script.refresh_tokens();
        assert_eq!(&sent[..2], ["RT-0", "RT-1"], "{field}");
    }
    // Refused for the way it authenticates: nothing is probed with a refresh token.
    let world = World::new(strict());
    let body = r#"{"error":"invalid_client","error_description":"RT-0 came with a bad secret"}"#;
    let (script, settings) = scripted([Line::Answer(401, body.to_owned())]);
    let handle = world.add(settings).await;
    settled(&handle, State::Misconfigured).await;
    assert_eq!(script.came().len(), 1);
    let told = handle.last_error().expect("why").to_string();
    assert!(!told.contains("RT-0"), "{told}");
}

/// Elsewhere: an answer without a refresh token overwrites the stored one with nothing.
#[tokio::test(start_paused = true)]
async fn p12_an_answer_without_a_refresh_token_keeps_the_one_at_hand() {
    for absent in ["", r#","refresh_token":null"#, r#","refresh_token":"""#] {
        let world = World::new(strict());
        let good = r#","refresh_token":"RT-1""#;
        let lines = [pair(1, good), pair(2, absent), pair(3, absent), pair(4, "")];
        let (script, settings) = scripted(lines);
        let handle = world.add(settings.clone()).await;
        for _ in 0..2 {
            sleep(secs(2)).await;
            renewed(&handle).await;
        }
        world.broker.stop().await;
        let handle = world.another_broker(2).add(settings).await.handle;
        sleep(secs(2)).await;
        renewed(&handle).await;
        assert_eq!(script.refresh_tokens(), ["RT-0", "RT-1", "RT-1", "RT-1"], "{absent}");
    }
}

/// Elsewhere: the server hands out the same access token until it has ended, and a client that
/// wants a newer one asks without pause.
#[tokio::test(start_paused = true)]
async fn p16_a_server_that_gives_the_same_token_again_is_not_asked_without_pause() {
    let world = World::new(Profile {
        access_token_lifetime: secs(3600),
        reissue_live_token: true,
        ..Profile::plain()
    });
    let handle = world.warm().await;
    let began = world.now();
    while world.now().since(began) < secs(4 * 3600) {
        handle.token().await.expect("a token");
        sleep(millis(500)).await;
    }
    // What is left of its life shrinks by a third each time, down to a second.
    let lives = 4;
    assert!(world.token_requests() <= lives * 25, "{}", world.token_requests());
    let closest = world.arrivals(began).windows(2).map(|two| two[1] - two[0]).min();
    assert!(closest >= Some(secs(1)), "{closest:?}");
}

/// Elsewhere: a fresh token is refused for a moment, until all of the API know it.
#[tokio::test(start_paused = true)]
async fn p17_a_token_that_the_api_does_not_know_yet_starts_no_storm() {
    let world = World::new(Profile { propagation: secs(3), ..Profile::plain() });
    let handle = world.warm().await;
    sleep(secs(60)).await;
    let token = handle.token().await.expect("a token");
    let (sent_at, status) = world.call(&token, Duration::from_millis(5)).await;
    assert_eq!(status, 200);
    handle.accepted(&token, sent_at);
    handle.renew();
    handle.published(secs(5)).await;
    let began = world.now();
    let asked = world.token_requests();
    let (mut refused, mut cured) = (0, 0);
    while world.now().since(began) < secs(30) {
        let token = handle.token().await.expect("a token");
        let (sent_at, status) = world.call(&token, Duration::from_millis(5)).await;
        if status == 200 {
            handle.accepted(&token, sent_at);
        } else {
            refused += 1;
            if let Refusal::Cure(before) = handle.refused(&token, sent_at).await
                && world.call(&before, Duration::from_millis(5)).await.1 == 200
            {
                cured += 1;
            }
        }
        sleep(millis(100)).await;
    }
    assert!(refused > 0, "the API has to get to know it");
    assert_eq!(cured, refused, "the one before serves meanwhile");
    assert_eq!(world.token_requests(), asked, "nothing is renewed for that");
    let token = handle.token().await.expect("a token");
    assert_eq!(world.call(&token, Duration::ZERO).await.1, 200);
}

/// A token that was asked for otherwise stands in for nothing.
#[tokio::test(start_paused = true)]
async fn p17_after_a_change_of_scope_the_token_before_it_serves_nobody() {
    let world = World::new(Profile { propagation: secs(3), ..Profile::plain() });
    let handle = world.warm().await;
    sleep(secs(60)).await;
    let first = handle.token().await.expect("a token");
    let (sent_at, _) = world.call(&first, Duration::from_millis(5)).await;
    handle.accepted(&first, sent_at);
    handle.renew();
    handle.published(secs(5)).await;
    let mut settings = world.settings();
    settings.scope = "other".parse().expect("a scope");
    handle.replace(settings).await;
    let token = handle.token().await.expect("a token");
    let (sent_at, status) = world.call(&token, Duration::from_millis(5)).await;
    assert_eq!(status, 401, "the API does not know it yet");
    if let Refusal::Cure(cure) = handle.refused(&token, sent_at).await {
        assert_ne!(cure.access_token(), first.access_token());
    }
}
