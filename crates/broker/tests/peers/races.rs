//! Two who renew the same grant.

use std::time::Duration;

use bellwether_broker::Refusal;
use bellwether_broker::lifecycle::State;
use bellwether_broker::provider::Rotation as Class;
use bellwether_simulation::{Effect, Latency, Profile};
use tokio::time::sleep;

use crate::support::{World, millis, secs};
use crate::{WINDOW, answers, lenient, refreshing, renewed, settled, strict};

/// Elsewhere: a lock of 2 s that nobody renews; a slow server, and a second holder spends the same
/// refresh token.
#[tokio::test(start_paused = true)]
async fn p01_a_slow_server_lets_no_second_holder_in() {
    for seconds in [1_u64, 3, 5, 9] {
        let latency = Latency::millis(seconds * 1000, seconds * 1000);
        let world = World::new(Profile { token_latency: latency, ..strict() });
        let settings = refreshing(&world, Class::Strict, None);
        let first = world.add(settings.clone()).await;
        first.token().await.expect("the seed is good");
        let mut others = Vec::new();
        for seed in 2..10 {
            let broker = world.another_broker(seed);
            let handle = broker.add(settings.clone()).await.handle;
            others.push((broker, handle));
        }
        first.renew();
        for (_, other) in &others {
            sleep(millis(50)).await;
            other.renew();
        }
        sleep(secs(30)).await;
        for (_, other) in &others {
            assert_eq!(
                (other.status().state, other.generation()),
                (State::Fresh, 2),
                "{seconds} s"
            );
        }
        let totals = world.totals();
        assert_eq!((totals.refresh_requests, totals.refresh_uses), (2, 1), "{seconds} s");
    }
}

/// Whoever lost a race gets this, though the winner's token is good.
const REFUSALS: [(u16, &str); 5] = [
    (400, r#"{"error":"invalid_grant"}"#),
    (401, r#"{"error":"invalid_grant"}"#),
    (400, r#"{"error":"invalid_request"}"#),
    (401, r#"{"error":"invalid_client"}"#),
    (500, r#"{"error":"server_error"}"#),
];

/// The first holder is asleep in the middle of its request for so long that a second one comes.
/// `lost` shapes the first one's answer, `won` the second one's. Both handles, a minute later.
async fn race(
    world: &World,
    lost: Option<Effect>,
    won: Option<Effect>,
) -> [bellwether_broker::Handle; 2] {
    let settings = refreshing(world, Class::NewPair, Some(WINDOW));
    let first = world.add(settings.clone()).await;
    first.token().await.expect("the seed is good");
    sleep(secs(100)).await;
    let other = world.another_broker(2);
    let second = other.add(settings).await.handle;
    world.fail_next(1, Effect::Latency(secs(9)));
    if let Some(lost) = lost {
        world.fail_next(1, lost);
    }
    first.renew();
    sleep(secs(1)).await;
    // By the store's clock its lease has run out; its timers stood still.
    world.clock.suspend(secs(25));
    if let Some(won) = won {
        world.fail_next(1, won);
    }
    second.renew();
    settled(&second, State::InDoubt).await;
    assert_eq!(
        world.token_requests(),
        2,
        "it knows of the first one's request, and waits a moment"
    );
    second.renew();
    sleep(secs(60)).await;
    assert!(world.token_requests() > 2, "both have asked");
    [first, second]
}

/// Elsewhere: the loser of a race clears what is stored, and with it the winner's new token.
#[tokio::test(start_paused = true)]
async fn p02_the_loser_of_a_race_destroys_nothing() {
    for (status, body) in REFUSALS {
        let world = World::new(lenient());
        let handles = race(&world, Some(answers(status, body, false)), None).await;
        for handle in &handles {
            settled(handle, State::Fresh).await;
            renewed(handle).await;
        }
        let totals = world.totals();
        assert_eq!((totals.refresh_reused, totals.families_revoked), (0, 0), "{status} {body}");
    }
}

/// Elsewhere: two refreshes at once fail with 400, 401 and 500 in any mix, sometimes both.
#[tokio::test(start_paused = true)]
async fn p08_an_error_after_a_possible_race_ends_nothing() {
    for (status, body) in REFUSALS {
        // The first one's answer is good, and comes after the second was refused.
        let world = World::new(lenient());
        let handles = race(&world, None, Some(answers(status, body, false))).await;
        for handle in &handles {
            settled(handle, State::Fresh).await;
            renewed(handle).await;
        }
        assert_eq!(world.totals().families_revoked, 0, "{status} {body}");
    }
}

/// Elsewhere: a refresh ends the access token before it, and processes that each refresh ahead of
/// time end each other's for ever.
#[tokio::test(start_paused = true)]
async fn p15_where_a_refresh_ends_the_token_before_it_processes_cure_it_from_each_other() {
    let world = World::new(Profile { refresh_ends_access_token: true, ..strict() });
    let settings = refreshing(&world, Class::Strict, None);
    let mut processes = Vec::new();
    for seed in 2..10 {
        let broker = world.another_broker(seed);
        let handle = broker.add(settings.clone()).await.handle;
        handle.token().await.expect("a token");
        processes.push((broker, handle));
    }
    let began = world.now();
    let mut failures = 0;
    while world.now().since(began) < secs(3600) {
        for (_, handle) in &processes {
            let token = handle.token().await.expect("a token");
            let (sent_at, status) = world.call(&token, Duration::from_millis(5)).await;
            if status == 200 {
                handle.accepted(&token, sent_at);
                continue;
            }
            let Refusal::Cure(newer) = handle.refused(&token, sent_at).await else {
                failures += 1;
                continue;
            };
            failures += u32::from(world.call(&newer, Duration::from_millis(5)).await.1 != 200);
        }
        sleep(secs(5)).await;
    }
    assert_eq!(failures, 0, "each refused request is cured");
    let totals = world.totals();
    // Ten-minute tokens, renewed after seven to eight of them.
    assert!(totals.refresh_requests <= 12, "{totals:?}");
    assert_eq!((totals.refresh_uses, totals.families_revoked), (1, 0));
}
