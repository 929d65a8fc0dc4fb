//! Before an API's limit: callers in turn, tokens that rest, and limits that answers tell of.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether_broker::Handle;
use bellwether_broker::lifecycle::{CallerId, Cause, Quota};
use bellwether_broker::store::Clock;
use bellwether_simulation::Profile;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use support::{World, millis, pool, secs};
use tokio::task::JoinSet;
use tokio::time::sleep;

const QUOTA: Quota = Quota { requests: 10, per: secs(1) };
const NOISY: CallerId = CallerId(1);
const QUIET: CallerId = CallerId(2);

async fn full(world: &World, members: u16, quota: Option<Quota>) -> Handle {
    let mut settings = world.settings();
    settings.pool = members;
    settings.quota = quota;
    let handle = world.add(settings).await;
    while handle.held().iter().any(Option::is_none) {
        handle.published(secs(1)).await;
    }
    handle
}

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        let name = HeaderName::try_from(*name).expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    lines.iter().map(field).collect()
}

#[tokio::test(start_paused = true)]
async fn a_noisy_caller_starves_nobody_and_is_told_when_to_come_again() {
    let world = World::new(Profile::plain());
    let handle = full(&world, 1, Some(QUOTA)).await;
    let mut calls = JoinSet::new();
    for number in 0..6_000_u64 {
        let caller = if number % 200 == 100 { QUIET } else { NOISY };
        let (handle, asked) = (handle.clone(), world.now());
        let clock = Arc::clone(&world.clock);
        calls.spawn(async move {
            let spent = handle.spend_for(caller, secs(14)).await;
            (caller, clock.now().since(asked), spent.map(drop))
        });
        sleep(millis(5)).await;
    }
    let calls = calls.join_all().await;
    let of = |wanted| calls.iter().filter(move |(caller, ..)| *caller == wanted);
    assert!(of(QUIET).all(|(_, waited, spent)| spent.is_ok() && *waited <= millis(1_400)));
    assert!(calls.iter().all(|(_, waited, _)| *waited <= secs(15)));
    let served = calls.iter().filter(|(_, _, spent)| spent.is_ok()).count();
    assert!((370..=410).contains(&served), "10 in 1.1 s, for 30 s and what waited: {served}");
    for none in of(NOISY).filter_map(|(_, _, spent)| spent.as_ref().err()) {
        assert_eq!(none.cause, Cause::Throttled);
        let again = none.retry_after.expect("when to come again");
        assert!((secs(13)..secs(17)).contains(&again), "{again:?}");
    }
}

/// Each of 1,000 goes away in the middle of its waiting; whoever stays is served as if alone.
#[tokio::test(start_paused = true)]
async fn who_goes_away_takes_nothing_with_it() {
    let world = World::new(Profile::plain());
    let handle = full(&world, 1, Some(QUOTA)).await;
    for _ in 0..10 {
        handle.spend(Duration::ZERO).await.expect("room");
    }
    let mut going = JoinSet::new();
    for _ in 0..100 {
        let handle = handle.clone();
        going.spawn(async move { tokio::time::timeout(millis(900), handle.spend(secs(14))).await });
    }
    let began = world.now();
    sleep(millis(1)).await;
    let staying = handle.spend_for(QUIET, secs(14)).await;
    staying.expect("room");
    assert!(world.now().since(began) <= millis(1_200), "{:?}", world.now().since(began));
    assert!(going.join_all().await.iter().all(Result::is_err), "there was no room for them");
    assert_eq!(handle.budget_left(), Some(9), "they took none");
}

/// Of what many wait for, no more is spent than there is, whatever wakes them.
#[tokio::test(start_paused = true)]
async fn no_span_holds_more_than_the_quota_however_many_wait() {
    let world = World::new(Profile::plain());
    let handle = full(&world, 2, Some(QUOTA)).await;
    let mut calls = JoinSet::new();
    for number in 0..400_u64 {
        let (handle, clock) = (handle.clone(), Arc::clone(&world.clock));
        calls.spawn(async move {
            sleep(millis(number * 13 % 700)).await;
            let token = handle.spend_for(CallerId(number % 7), secs(60)).await.expect("room");
            (token.member(), clock.now())
        });
    }
    let spent = calls.join_all().await;
    for member in 0..2 {
        let mut times: Vec<_> =
            spent.iter().filter(|spent| spent.0 == member).map(|spent| spent.1).collect();
        times.sort_unstable();
        assert_eq!(times.len(), 200);
        assert!(times.windows(11).all(|span| span[10].since(span[0]) >= secs(1)), "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_answers_tell_is_kept_to_where_nothing_was_configured() {
    let world = World::new(Profile::plain());
    let handle = full(&world, 1, None).await;
    let token = handle.spend(Duration::ZERO).await.expect("no limit is known");
    assert_eq!((handle.budget_left(), handle.has_room()), (None, false));
    let heard =
        |lines: &[(&str, &str)]| handle.heard(&token, world.now(), StatusCode::OK, &fields(lines));
    assert_eq!(heard(&[("content-type", "application/json"), ("server", "x")]), None);
    let told = [("ratelimit", r#""default";r=2;t=30"#)];
    assert_eq!(heard(&told).map(|limit| limit.remaining), Some(2));
    assert_eq!(handle.budget_left(), Some(2));
    for _ in 0..2 {
        handle.spend(Duration::ZERO).await.expect("room");
    }
    let none = handle.spend(secs(14)).await.expect_err("nothing is left");
    assert_eq!(none.cause, Cause::Throttled);
    assert!((secs(30)..=secs(31)).contains(&none.retry_after.expect("when there is room")));
    let began = world.now();
    handle.spend(secs(40)).await.expect("room");
    assert!((secs(30)..=secs(31)).contains(&world.now().since(began)));
    // Of some resources alone: nothing holds every request back.
    assert_eq!(heard(&told).map(|limit| limit.remaining), Some(2));
    assert_eq!(heard(&[("content-type", "application/json")]), None);
    assert_eq!((handle.budget_left(), handle.has_room()), (None, true));
}

#[tokio::test(start_paused = true)]
async fn retry_after_holds_where_no_limit_is_known() {
    let world = World::new(Profile::plain());
    let handle = full(&world, 2, None).await;
    let token = handle.spend(Duration::ZERO).await.expect("no limit is known");
    handle.throttled(&token, secs(20));
    for _ in 0..100 {
        let other = handle.spend(Duration::ZERO).await.expect("the other has room");
        assert_ne!(other.member(), token.member());
    }
}

/// 50 workers over 20 tokens that all die at once, as the library is used: no replay, and a cure is
/// waited for no longer than a second.
#[tokio::test(start_paused = true)]
async fn a_mass_revocation_costs_few_401s() {
    let quota = Quota { requests: 300, per: secs(60) };
    let world = Arc::new(World::new(Profile::plain()));
    let handle = world.add(pool(world.settings(), 20, quota)).await;
    while handle.held().iter().any(Option::is_none) {
        handle.published(secs(1)).await;
    }
    let (good, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for number in 0..50_u64 {
        let (world, handle) = (Arc::clone(&world), handle.clone());
        let (good, refused) = (Arc::clone(&good), Arc::clone(&refused));
        workers.spawn(async move {
            sleep(millis(number * 20)).await;
            for _ in 0..40 {
                let token = handle.spend(secs(14)).await.expect("room");
                let (sent_at, status) = world.call(&token, millis(40)).await;
                if status == 401 {
                    refused.fetch_add(1, Ordering::Relaxed);
                    let cure = handle.refused(&token, sent_at);
                    let _ = tokio::time::timeout(secs(1), cure).await;
                } else {
                    good.fetch_add(1, Ordering::Relaxed);
                    handle.accepted(&token, sent_at);
                }
                sleep(millis(900)).await;
            }
        });
    }
    sleep(secs(5)).await;
    let now = world.now();
    assert_eq!(world.organisation().revoke_tokens(now, None), 20);
    workers.join_all().await;
    let (good, refused) = (good.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    assert_eq!(good + refused, 2_000);
    assert!(refused <= 40, "{refused} of 2,000 were refused");
}
