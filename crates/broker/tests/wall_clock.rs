//! Clocks that are set, and machines that sleep: no storm, and no token past its end.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_broker::lifecycle::State;
use bellwether_simulation::{Effect, Latency, Profile};
use support::{World, distinct, millis, secs};
use tokio::task::JoinSet;
use tokio::time::sleep;

const TEN_YEARS: i64 = 10 * 365 * 24 * 3600;
const LIFETIME: Duration = secs(300);

fn profile() -> Profile {
    Profile {
        access_token_lifetime: LIFETIME,
        token_latency: Latency::millis(50, 50),
        ..Profile::plain()
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_changes_nothing() {
    for by in [TEN_YEARS, -TEN_YEARS, 3600, -3600] {
        let world = World::new(profile());
        let handle = world.warm().await;
        let (start, mut asked) = (world.now(), 0);
        for second in 0..3600 {
            // Set back and forth, as two quarrelling time servers would.
            if second % 600 == 60 {
                world.clock.set_wall_by(by);
            }
            if second % 600 == 360 {
                world.clock.set_wall_by(-by);
            }
            let token = handle.token().await.expect("a token");
            let left = token.expires_in(world.now()).expect("a known lifetime");
            assert!(left > secs(60) && left <= LIFETIME, "set by {by} s: {left:?} left");
            let (_, status) = world.call(&token, Duration::ZERO).await;
            assert_eq!(status, 200, "set by {by} s");
            asked += 1;
            sleep(secs(1)).await;
        }
        // As many as without any change: each lives 168 to 216 s.
        let requests = world.token_requests();
        assert!((16..=23).contains(&requests), "set by {by} s: {requests} in {asked} s");
        assert_eq!(handle.counters().waited.load(Ordering::Relaxed), 1);
        assert!(world.now().since(start) >= secs(3600));
    }
}

/// A stored token belongs to the same boot, whatever the wall says.
#[tokio::test(start_paused = true)]
async fn a_broker_that_starts_after_the_wall_was_set_takes_what_is_stored_for_what_it_is() {
    for by in [TEN_YEARS, -TEN_YEARS] {
        let world = World::new(profile());
        world.warm().await;
        sleep(secs(30)).await;
        world.clock.set_wall_by(by);
        let handle = world.another_broker(2).add(world.settings()).await.handle;
        let token = handle.token().await.expect("the stored one");
        let left = token.expires_in(world.now()).expect("a known lifetime");
        assert!((secs(269)..=secs(270)).contains(&left), "{left:?}");
        assert_eq!(world.token_requests(), 1, "set by {by} s");

        // And what has ended is not served, however early the wall says it is.
        sleep(secs(400)).await;
        world.clock.set_wall_by(-by);
        let late = world.another_broker(3).add(world.settings()).await.handle;
        let token = late.token().await.expect("a new one");
        assert!(token.held().is_alive(world.now()));
        let (_, status) = world.call(&token, Duration::ZERO).await;
        assert_eq!(status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_wakes_serves_no_ended_token_and_asks_once() {
    for asleep in [secs(250), secs(301), secs(8 * 3600), secs(400 * 24 * 3600)] {
        let world = Arc::new(World::new(profile()));
        let handle = world.warm().await;
        sleep(secs(5)).await;
        world.clock.suspend(asleep);
        let before = world.token_requests();
        // All ask in the instant after it wakes, before any timer has run.
        let mut callers = JoinSet::new();
        for _ in 0..1000 {
            let (world, handle) = (Arc::clone(&world), handle.clone());
            callers.spawn(async move {
                let token = handle.token().await.expect("a token");
                assert!(token.held().is_alive(world.now()));
                token.generation()
            });
        }
        assert_eq!(distinct(callers.join_all().await), 1);
        // Timers stood still too; still it is renewed within seconds although nobody asks.
        sleep(secs(6)).await;
        assert_eq!(world.token_requests(), before + 1, "asleep for {asleep:?}");
        let held = handle.current().expect("held");
        assert!(held.expires_in(world.now()) > Some(secs(250)), "asleep for {asleep:?}");
    }
}

/// The machine falls asleep with a request on the way, and in the middle of a back-off.
#[tokio::test(start_paused = true)]
async fn a_sleep_in_the_middle_of_something_ends_it_well() {
    // The answer is there when it wakes, and is as old as its request.
    let world = World::new(profile());
    let handle = world.credential().await;
    sleep(millis(10)).await;
    world.clock.suspend(secs(200));
    let token = handle.token().await.expect("a token");
    let left = token.expires_in(world.now()).expect("a known lifetime");
    assert!(left < secs(101), "counted from when the request was sent: {left:?}");
    sleep(secs(10)).await;
    assert_eq!(world.token_requests(), 2, "it was due");

    // A long Retry-After is over when it wakes.
    let world = World::new(profile());
    world.fail_next(
        1,
        Effect::Answer {
            status: 429,
            retry_after: Some("3600".to_owned()),
            content_type: "application/json".to_owned(),
            body: Vec::new(),
            processed: false,
        },
    );
    let handle = world.credential().await;
    sleep(secs(10)).await;
    assert_eq!(handle.status().state, State::BackingOff);
    world.clock.suspend(secs(3600));
    sleep(secs(6)).await;
    assert_eq!(handle.status().state, State::Fresh);
    assert_eq!(world.token_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_naps_are_no_storm() {
    let world = World::new(profile());
    let handle = world.warm().await;
    for nap in 0..500 {
        world.clock.suspend(secs(1 + nap * 7 % 400));
        handle.token().await.expect("a token");
        sleep(secs(7)).await;
    }
    let requests = world.token_requests();
    assert!(requests <= 501, "{requests}");
}
