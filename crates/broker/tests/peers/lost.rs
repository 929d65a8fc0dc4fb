//! A request without an answer, and an answer that says nothing.

use bellwether_broker::CredentialSettings;
use bellwether_broker::lifecycle::State;
use bellwether_broker::provider::Rotation as Class;
use bellwether_simulation::{Effect, Rotation};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{Line, World, millis, secs};
use crate::{answers, pair, refreshing, renewed, scripted, settled, strict};

/// Elsewhere: an entry "refresh under way" that nobody takes back; the connection is dead until a
/// restart.
#[tokio::test(start_paused = true)]
async fn p03_a_refresh_that_never_ends_panics_or_is_abandoned_holds_nobody() {
    // The server says nothing, and neither does the way to it.
    let world = World::new(strict());
    let (script, settings) = scripted([pair(1, ""), Line::Silence, pair(2, "")]);
    let handle = world.add(settings).await;
    handle.token().await.expect("the first answer is good");
    handle.renew();
    settled(&handle, State::InDoubt).await;
    // When the token has ended there is nothing left to lose.
    sleep(secs(600)).await;
    settled(&handle, State::Fresh).await;
    assert_eq!(script.came().len(), 3);

    // It panics.
    let world = World::new(strict());
    let handle = world.add(refreshing(&world, Class::Strict, None)).await;
    world.transport.panic_next(1);
    handle.token().await.expect("nothing is left to lose, so it is tried again at once");
    assert_eq!(world.token_requests(), 1);

    // Whoever asked goes away.
    world.fail_next(1, Effect::Latency(secs(2)));
    let settings: CredentialSettings = refreshing(&world, Class::Strict, None);
    let key = bellwether_broker::store::Key::credential("abandoned", 0).expect("a good name");
    let handle = world.add(CredentialSettings { key, ..settings }).await;
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let handle = handle.clone();
        callers.spawn(async move { handle.token().await });
    }
    sleep(secs(1)).await;
    callers.shutdown().await;
    sleep(secs(2)).await;
    assert!(handle.current().is_some(), "its answer was kept");
    assert_eq!(world.totals().refresh_uses, 1);
}

/// In doubt at once, no second use while the token is good, and the server's family lives.
async fn is_doubt(effect: Effect) {
    let title = format!("{effect:?}");
    let world = World::new(strict());
    let handle = world.add(refreshing(&world, Class::Strict, None)).await;
    handle.token().await.expect("the seed is good");
    world.fail_next(1, effect);
    handle.renew();
    settled(&handle, State::InDoubt).await;
    let asked = world.token_requests();
    sleep(secs(500)).await;
    handle.token().await.expect("the token before it serves");
    assert_eq!(handle.status().state, State::InDoubt, "{title}");
    assert!(handle.last_error().is_some(), "{title}: it says why");
    let totals = world.totals();
    assert_eq!((totals.token_requests, totals.refresh_uses), (asked, 1), "{title}");
    assert_eq!(totals.families_revoked, 0, "{title}");
}

/// Elsewhere: the server answers 500 and has spent the refresh token all the same; it is sent again.
#[tokio::test(start_paused = true)]
async fn p04_a_500_that_spent_the_refresh_token_is_doubt_and_no_reason_to_repeat() {
    for status in [500, 502, 503] {
        is_doubt(answers(status, r#"{"error":"server_error"}"#, true)).await;
        is_doubt(answers(status, "<html>sorry</html>", true)).await;
    }
}

/// Elsewhere: something in between gives up (499, 504) after the server rotated; locked out for good.
#[tokio::test(start_paused = true)]
async fn p05_a_gateway_that_gives_up_is_doubt_and_the_answer_is_had_where_the_server_allows() {
    let gives_up = || {
        [499, 504]
            .map(|status| answers(status, "", true))
            .into_iter()
            .chain([Effect::LostAnswer, Effect::Stall { processed: true }])
            .chain([Effect::BreakOff { after_bytes: 10 }])
    };
    for effect in gives_up() {
        is_doubt(effect).await;
    }
    for effect in gives_up() {
        let title = format!("{effect:?}");
        let window = secs(60);
        let rotation = Rotation::SamePair { window };
        let world = World::new(bellwether_simulation::Profile { rotation, ..strict() });
        let handle = world.add(refreshing(&world, Class::SamePair, Some(window))).await;
        handle.token().await.expect("the seed is good");
        world.fail_next(1, effect);
        renewed(&handle).await;
        renewed(&handle).await;
        assert_eq!(world.totals().families_revoked, 0, "{title}");
    }
}

/// Elsewhere: a deadline of 5 s, and the retry a minute later, outside the 30 s in which the server
/// takes a spent token; from then on every hook sent the dead one again.
#[tokio::test(start_paused = true)]
async fn p06_a_retry_comes_within_the_window_or_not_at_all_and_a_refused_token_never_again() {
    let window = secs(30);
    let profile =
        || bellwether_simulation::Profile { rotation: Rotation::SamePair { window }, ..strict() };

    // No answer within the request's deadline: the retry is in time.
    let world = World::new(profile());
    let handle = world.add(refreshing(&world, Class::SamePair, Some(window))).await;
    handle.token().await.expect("the seed is good");
    world.fail_next(1, Effect::Stall { processed: true });
    renewed(&handle).await;
    assert_eq!(world.totals().refresh_uses, 2, "the request, and its repetition");
    assert_eq!(world.totals().refresh_reused, 0);

    // The server is away until the window is over: it is not sent while there is something to lose.
    let world = World::new(profile());
    let handle = world.add(refreshing(&world, Class::SamePair, Some(window))).await;
    let token = handle.token().await.expect("the seed is good");
    world.fail_next(1, Effect::LostAnswer);
    world.fail(secs(60), Effect::status(503));
    handle.renew();
    sleep(secs(65)).await;
    assert_eq!(handle.status().state, State::InDoubt);
    let asked = world.token_requests();
    let left = token.expires_in(world.now()).expect("a known lifetime");
    sleep(left - secs(1)).await;
    assert_eq!(world.token_requests(), asked, "nothing is sent while the token is good");

    // Then once; and what is refused is never sent again, by whoever asks.
    sleep(secs(5)).await;
    assert_eq!(handle.status().state, State::NeedsReauth);
    assert_eq!(world.token_requests(), asked + 1);
    for _ in 0..100 {
        handle.token().await.expect_err("somebody has to authorize");
        handle.renew();
        sleep(secs(600)).await;
    }
    let another = world.another_broker(2);
    let settings = handle.settings().to_settings();
    another.add(settings).await.handle.token().await.expect_err("the row says so");
    sleep(millis(10)).await;
    assert_eq!(world.token_requests(), asked + 1);
}
