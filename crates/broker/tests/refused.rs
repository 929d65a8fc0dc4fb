//! When the API refuses a token: cured once for all who met it, and never a loop.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_broker::lifecycle::{State, Timestamp};
use bellwether_broker::{AuthorizationServer, CredentialSettings, Handle, Refusal, Token};
use bellwether_simulation::{Effect, Endpoint, Fault, Latency, Profile};
use support::{World, distinct, millis, secs};
use tokio::task::JoinSet;
use tokio::time::sleep;

fn profile() -> Profile {
    Profile {
        token_latency: Latency::millis(50, 50),
        api_latency: Latency::millis(20, 20),
        ledger_entries: 100_000,
        ..Profile::plain()
    }
}

fn refuse_everything(world: &World) {
    let fault = Fault::lasting(Endpoint::Api, Effect::AlwaysUnauthorized);
    world.organisation().add_fault(fault);
}

/// Polls once: a refused request is replayed with the cure, as a resource server's client does.
async fn poll(world: &World, handle: &Handle) -> u16 {
    let token = handle.token().await.expect("a token is held");
    let (sent_at, status) = world.call(&token, Duration::ZERO).await;
    if status != 401 {
        handle.accepted(&token, sent_at);
        return status;
    }
    let Refusal::Cure(newer) = handle.refused(&token, sent_at).await else { return 401 };
    let (sent_at, status) = world.call(&newer, Duration::ZERO).await;
    match status {
        401 => handle.replay_refused(&newer),
        _ => handle.accepted(&newer, sent_at),
    }
    status
}

#[tokio::test(start_paused = true)]
async fn a_thousand_late_refusals_of_one_token_are_one_renewal() {
    let world = Arc::new(World::new(profile()));
    let handle = world.warm().await;
    sleep(secs(60)).await;
    let before = world.token_requests();
    let old = handle.token().await.expect("held");
    let sent_at = world.now();
    world.organisation().revoke_tokens(sent_at, None);
    let mut callers = JoinSet::new();
    for number in 0..1000 {
        let (world, handle, old) = (Arc::clone(&world), handle.clone(), Arc::clone(&old));
        callers.spawn(async move {
            // The 401s come back spread over half a second, long after the cure.
            let (_, status) = world.call(&old, millis(number / 2)).await;
            assert_eq!(status, 401);
            let Refusal::Cure(newer) = handle.refused(&old, sent_at).await else {
                panic!("a newer token cures it");
            };
            let (sent_at, status) = world.call(&newer, Duration::ZERO).await;
            handle.accepted(&newer, sent_at);
            (newer.generation(), status)
        });
    }
    let cured = callers.join_all().await;
    assert!(cured.iter().all(|(_, status)| *status == 200), "every replay is taken");
    assert_eq!(distinct(cured), 1, "all got the same token");
    assert_eq!(world.token_requests(), before + 1);
    assert_eq!(handle.counters().forced.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_replaced_meanwhile_is_not_renewed_for() {
    let world = World::new(profile());
    let handle = world.warm().await;
    let old = handle.token().await.expect("held");
    let sent_at = world.now();
    sleep(secs(30)).await;
    handle.renew();
    handle.published(secs(5)).await;
    let before = world.token_requests();
    for _ in 0..1000 {
        assert!(matches!(handle.refused(&old, sent_at).await, Refusal::Cure(_)));
    }
    assert_eq!(world.token_requests(), before);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_stands_if_the_api_took_the_token_since() {
    let world = World::new(profile());
    let handle = world.warm().await;
    let token = handle.token().await.expect("held");
    sleep(secs(30)).await;
    let refused_at = world.now();
    sleep(millis(5)).await;
    let (sent_at, status) = world.call(&token, Duration::ZERO).await;
    assert_eq!(status, 200);
    handle.accepted(&token, sent_at);
    assert!(matches!(handle.refused(&token, refused_at).await, Refusal::Stands));
    assert_eq!(world.token_requests(), 1);

    // What was sent after that says something new.
    sleep(millis(5)).await;
    assert!(matches!(handle.refused(&token, world.now()).await, Refusal::Cure(_)));
    assert_eq!(world.token_requests(), 2);
}

/// A request is sent, another one overtakes it and is taken, and the token dies between the two.
async fn overtaken(world: &World, handle: &Handle) -> (Arc<Token>, Timestamp) {
    let token = handle.token().await.expect("held");
    let refused_at = world.now();
    sleep(millis(5)).await;
    let (sent_at, status) = world.call(&token, Duration::ZERO).await;
    assert_eq!(status, 200);
    handle.accepted(&token, sent_at);
    world.organisation().revoke_tokens(world.now(), None);
    (token, refused_at)
}

/// Whether a refusal is cured, and how long that took to find out.
async fn judged(
    world: &World,
    handle: &Handle,
    token: &Token,
    sent_at: Timestamp,
) -> (bool, Duration) {
    let begun = world.now();
    let refusal = handle.refused(token, sent_at).await;
    (matches!(refusal, Refusal::Cure(_)), world.now().since(begun))
}

#[tokio::test(start_paused = true)]
async fn who_was_overtaken_hears_what_the_next_request_comes_to() {
    let world = Arc::new(World::new(profile()));
    let handle = world.warm().await;
    for _ in 0..3 {
        sleep(secs(5)).await;
        let before = world.token_requests();
        let (token, refused_at) = overtaken(&world, &handle).await;
        // Somebody else's request is sent a moment later, and refused.
        let (others, next) = (Arc::clone(&world), handle.clone());
        let other = tokio::spawn(async move {
            sleep(millis(3)).await;
            poll(&others, &next).await
        });
        let (is_cured, waited) = judged(&world, &handle, &token, refused_at).await;
        assert!(is_cured && waited <= millis(100), "{waited:?}");
        assert_eq!(other.await.expect("no panic"), 200);
        assert_eq!(
            world.token_requests(),
            before + 1,
            "one renewal for both, and no pause after it"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_overtaken_and_hears_nothing_stands_and_nobody_pays_for_it() {
    let world = Arc::new(World::new(profile()));
    let handle = world.warm().await;
    for _ in 0..3 {
        sleep(secs(5)).await;
        let (token, refused_at) = overtaken(&world, &handle).await;
        let (is_cured, waited) = judged(&world, &handle, &token, refused_at).await;
        assert!(!is_cured && waited <= millis(200), "{waited:?}");
        // The next request finds it dead, and is cured at once.
        assert_eq!(poll(&world, &handle).await, 200);
    }
}

/// The token that replaced another was revoked together with it, before anybody used it.
#[tokio::test(start_paused = true)]
async fn a_stand_in_that_is_dead_too_is_no_end() {
    let world = World::new(profile());
    let handle = world.warm().await;
    assert_eq!(poll(&world, &handle).await, 200);
    sleep(secs(30)).await;
    handle.renew();
    handle.published(secs(5)).await;
    world.organisation().revoke_tokens(world.now(), None);
    let fresh = handle.token().await.expect("held");
    let Refusal::Cure(stand_in) = handle.refused(&fresh, world.now()).await else {
        panic!("a stand-in")
    };
    assert!(stand_in.generation() < fresh.generation());
    let (_, status) = world.call(&stand_in, Duration::ZERO).await;
    assert_eq!(status, 401);
    let Refusal::Cure(newer) = handle.stand_in_refused(&stand_in, &fresh, world.now()).await else {
        panic!("a newer token cures it")
    };
    let (_, status) = world.call(&newer, Duration::ZERO).await;
    assert_eq!((status, newer.generation() > fresh.generation()), (200, true));
}

#[tokio::test(start_paused = true)]
async fn an_api_that_always_refuses_is_renewed_for_ever_more_rarely() {
    let world = Arc::new(World::new(profile()));
    let handle = world.warm().await;
    sleep(secs(100)).await;
    refuse_everything(&world);
    let start = world.now();
    let mut callers = JoinSet::new();
    for number in 0..20 {
        let (world, handle) = (Arc::clone(&world), handle.clone());
        callers.spawn(async move {
            sleep(millis(number * 50)).await;
            for _ in 0..1500 {
                assert_eq!(poll(&world, &handle).await, 401);
                sleep(secs(1)).await;
            }
        });
    }
    callers.join_all().await;
    let arrivals = world.arrivals(start);
    let gaps: Vec<u64> = arrivals.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(gaps.iter().all(|gap| *gap >= 30), "{gaps:?}");
    assert!(gaps.windows(2).all(|pair| pair[1] + 1 >= pair[0]), "falling: {gaps:?}");
    assert!((4..=7).contains(&arrivals.len()), "{arrivals:?}");
    assert_eq!(handle.status().state, State::Fresh, "401s pass through, tokens are held");
}

/// A missing permission refuses one path, and the others' success cures nothing.
#[tokio::test(start_paused = true)]
async fn one_path_that_always_refuses_among_others_that_work_is_no_loop() {
    let world = Arc::new(World::new(profile()));
    let handle = world.warm().await;
    sleep(secs(100)).await;
    let start = world.now();
    let mut callers = JoinSet::new();
    for number in 0..5 {
        let (world, handle) = (Arc::clone(&world), handle.clone());
        callers.spawn(async move {
            sleep(millis(number * 41)).await;
            for _ in 0..1200 {
                assert_eq!(poll(&world, &handle).await, 200);
                sleep(millis(500)).await;
            }
        });
    }
    let forbidden = handle.clone();
    callers.spawn(async move {
        for _ in 0..900 {
            let token = forbidden.token().await.expect("a token is held");
            let sent_at = world.now();
            sleep(millis(20)).await;
            if let Refusal::Cure(newer) = forbidden.refused(&token, sent_at).await {
                sleep(millis(200)).await;
                forbidden.replay_refused(&newer);
            }
            sleep(millis(500)).await;
        }
        let arrivals = world.arrivals(start);
        let gaps: Vec<u64> =
            arrivals.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert!(arrivals.len() <= 6 && gaps.iter().all(|gap| *gap >= 30), "{gaps:?}");
    });
    callers.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn no_cache_renews_an_old_token_once_in_ten_seconds_and_a_young_one_never() {
    let world = World::new(profile());
    let handle = world.warm().await;
    #[rustfmt::skip]
    let story = [
        // seconds later, requests in all
        (0, 1), (9, 1), (2, 2), (0, 2), (5, 2), (4, 2), (2, 3), (60, 4), (1, 4),
    ];
    for (step, (later, expected)) in story.into_iter().enumerate() {
        sleep(secs(later)).await;
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let handle = handle.clone();
            callers.spawn(async move { handle.no_cache().await.expect("a token").generation() });
        }
        assert_eq!(distinct(callers.join_all().await), 1, "step {step}");
        assert_eq!(world.token_requests(), expected, "step {step}");
    }

    // While renewal fails, what is held is better than nothing.
    sleep(secs(60)).await;
    world.fail(secs(60), Effect::status(503));
    let asked_at = world.now();
    handle.no_cache().await.expect("the held token");
    assert!(world.now().since(asked_at) < secs(1), "{:?}", world.now().since(asked_at));
}

fn verified(world: &World) -> CredentialSettings {
    let verify = Some("http://127.0.0.1:1/api/v2/tokens/me".parse().expect("a URL"));
    let server = AuthorizationServer { verify, ..world.server() };
    CredentialSettings { authorization_server: Arc::new(server), ..world.settings() }
}

/// 200 callers of the token endpoint at once; the generations they got, and the slowest's wait.
async fn hand_out_to_all(world: &World, handle: &Handle) -> (Vec<u64>, Duration) {
    let start = world.now();
    let mut callers = JoinSet::new();
    for _ in 0..200 {
        let handle = handle.clone();
        callers.spawn(async move { handle.hand_out().await.expect("a token").generation() });
    }
    (callers.join_all().await, world.now().since(start))
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_is_found_by_one_check_and_handed_to_nobody() {
    let world = World::new(profile());
    let handle = world.add(verified(&world)).await;
    let (first, _) = hand_out_to_all(&world, &handle).await;
    assert_eq!((distinct(first), world.totals().api_requests), (1, 0), "just issued: no doubt");

    sleep(secs(40)).await;
    hand_out_to_all(&world, &handle).await;
    hand_out_to_all(&world, &handle).await;
    assert_eq!(world.totals().api_requests, 1, "one check, and its result counts for a while");

    sleep(secs(40)).await;
    world.organisation().revoke_tokens(world.now(), None);
    let (generations, slowest) = hand_out_to_all(&world, &handle).await;
    assert!(generations.iter().all(|generation| *generation == 2), "{generations:?}");
    assert_eq!((world.totals().api_requests, world.token_requests()), (2, 2));
    assert!(slowest <= millis(80), "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_tells_nothing_is_not_made_again_by_each_caller() {
    // Nothing can be reached: the check fails at once, and the token is handed out as it is.
    let world = World::new(profile());
    let handle = world.add(verified(&world)).await;
    hand_out_to_all(&world, &handle).await;
    sleep(secs(40)).await;
    world.transport.set_unreachable(true);
    let (_, slowest) = hand_out_to_all(&world, &handle).await;
    assert!(slowest < millis(1), "{slowest:?}");

    // It hangs: all wait for one check, and no longer than a caller can.
    world.transport.set_unreachable(false);
    sleep(secs(40)).await;
    let stall = Fault::lasting(Endpoint::Api, Effect::Stall { processed: false });
    world.organisation().add_fault(stall);
    let before = world.totals().api_requests;
    let (_, slowest) = hand_out_to_all(&world, &handle).await;
    assert!(slowest <= secs(5), "{slowest:?}");
    assert_eq!(world.totals().api_requests, before + 1);

    // It says 401 whatever the token: damped like any other refusal.
    world.organisation().clear_faults();
    refuse_everything(&world);
    let (before, start) = (world.totals().api_requests, world.now());
    for _ in 0..30 {
        sleep(secs(10)).await;
        hand_out_to_all(&world, &handle).await;
    }
    let (checks, renewals) = (world.totals().api_requests - before, world.arrivals(start).len());
    assert!(checks <= 11 && renewals <= 4, "{checks} checks, {renewals} renewals");
}
