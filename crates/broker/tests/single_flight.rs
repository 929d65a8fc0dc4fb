//! However many ask, one renewal is one request: cold, expired, refused, slow, abandoned.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_broker::lifecycle::{Cause, Quota, State};
use bellwether_broker::store::Clock as _;
use bellwether_broker::{Handle, NoToken, RenewalError, Token};
use bellwether_simulation::{Effect, Latency, Profile};
use support::{World, client, distinct, millis, pool, secs};
use tokio::task::JoinSet;
use tokio::time::sleep;

const CALLERS: usize = 10_000;

fn profile() -> Profile {
    Profile { token_latency: Latency::millis(50, 50), ..Profile::plain() }
}

/// Everybody asks at once; what each got, and how long the slowest waited.
async fn crowd(world: &World, handle: &Handle) -> (Vec<Result<Arc<Token>, NoToken>>, Duration) {
    let start = world.now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let handle = handle.clone();
        callers.spawn(async move { handle.token().await });
    }
    let answers = callers.join_all().await;
    (answers, world.now().since(start))
}

/// All of them got the same token.
fn same_token(answers: Vec<Result<Arc<Token>, NoToken>>) -> Arc<Token> {
    let mut tokens = answers.into_iter().map(|answer| answer.expect("a token"));
    let first = tokens.next().expect("somebody asked");
    assert!(tokens.all(|token| Arc::ptr_eq(&token, &first)), "one token for all");
    first
}

#[tokio::test(start_paused = true)]
async fn a_cold_crowd_is_one_request_and_waits_one_round_trip() {
    let world = World::new(profile());
    let handle = world.credential().await;
    let (answers, slowest) = crowd(&world, &handle).await;
    let token = same_token(answers);
    assert_eq!(world.token_requests(), 1);
    assert!(slowest <= millis(55), "{slowest:?}");
    assert_eq!(token.expires_in(world.now()), Some(secs(3600) - slowest));
}

/// In real time, where callers, scheduler and renewal truly run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_on_several_threads_is_one_request() {
    for seed in 0..20 {
        let profile = Profile { token_latency: Latency::millis(0, 20), ..Profile::plain() };
        let world = World::seeded(profile, seed);
        let handle = world.credential().await;
        let mut callers = JoinSet::new();
        for _ in 0..500 {
            let handle = handle.clone();
            callers.spawn(async move { handle.token().await });
        }
        same_token(callers.join_all().await);
        assert_eq!(world.token_requests(), 1, "seed {seed}");

        // A restart on the same store, asked before it has read what is there.
        let broker = world.another_broker(seed);
        let another = broker.add(world.settings()).await.handle;
        another.token().await.expect("the stored one");
        broker.stop().await;
        assert_eq!(world.token_requests(), 1, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_after_the_end_of_a_token_is_one_request() {
    let world = World::new(profile());
    let handle = world.warm().await;
    let before = handle.token().await.expect("held");
    // The machine sleeps past the end of the token, so that no renewal came ahead of it.
    world.clock.suspend(secs(4000));
    let (answers, slowest) = crowd(&world, &handle).await;
    let token = same_token(answers);
    assert!(token.generation() > before.generation() && slowest <= millis(55), "{slowest:?}");
    assert_eq!(world.token_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_one_request_and_one_error_for_all() {
    let world = World::new(profile());
    let settings = world.settings();
    let wrong = bellwether_broker::CredentialSettings { client: client("wrong"), ..settings };
    let handle = world.add(wrong).await;
    let (answers, slowest) = crowd(&world, &handle).await;
    assert_eq!(world.token_requests(), 1);
    assert!(slowest <= millis(55), "{slowest:?}");
    let errors: Vec<Arc<RenewalError>> = answers
        .into_iter()
        .map(|answer| {
            let none = answer.expect_err("the secret is wrong");
            assert_eq!(none.cause, Cause::Misconfigured);
            none.error.expect("what the server said")
        })
        .collect();
    assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])), "one error for all");
    let refused = errors[0].token_error().expect("the server answered");
    assert_eq!((refused.kind(), refused.status()), ("invalid_client", 401));
    assert_eq!(handle.status().state, State::Misconfigured);

    // Whoever asks between two probes is told so at once and asks nobody.
    let (answers, at_once) = crowd(&world, &handle).await;
    assert!(answers.iter().all(Result::is_err) && at_once < millis(1), "{at_once:?}");
    assert_eq!(world.token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_passing_fault_holds_all_and_the_first_attempt_after_it_serves_them() {
    let throttled = Effect::Answer {
        status: 429,
        retry_after: Some("2".to_owned()),
        content_type: "application/json".to_owned(),
        body: Vec::new(),
        processed: false,
    };
    for (name, effect) in [("500", Effect::status(500)), ("429", throttled)] {
        let world = World::new(profile());
        let start = world.now();
        world.fail(secs(3), effect);
        let handle = world.credential().await;
        let (answers, slowest) = crowd(&world, &handle).await;
        same_token(answers);
        let arrivals = world.arrivals(start);
        assert!(arrivals.len() <= 6, "{name}: {arrivals:?}");
        let first_after = arrivals.iter().find(|at| **at >= secs(3)).expect("it is tried again");
        assert_eq!(arrivals.last(), Some(first_after), "{name}: {arrivals:?}");
        assert_eq!(slowest, *first_after + millis(50), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_that_go_away_do_not_take_the_renewal_with_them() {
    let world = World::new(profile());
    let handle = world.credential().await;
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let handle = handle.clone();
        callers.spawn(async move { handle.token().await });
    }
    sleep(millis(20)).await;
    callers.shutdown().await;
    assert!(handle.current().is_none(), "the request is still under way");
    sleep(millis(40)).await;
    assert!(handle.current().is_some(), "its answer was kept");
    assert_eq!(world.token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_panics_lets_go_and_is_tried_again() {
    let world = World::new(profile());
    world.transport.panic_next(2);
    let handle = world.credential().await;
    let (answers, slowest) = crowd(&world, &handle).await;
    same_token(answers);
    assert_eq!(world.token_requests(), 1);
    assert!(slowest < secs(3), "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_nobody_holds_any_more_ends() {
    let World { broker, transport, organisation, clock, store, .. } = World::new(profile());
    let settings = support::settings(support::server(Arc::clone(&transport) as _));
    let handle = broker.add(settings).await.handle;
    drop(broker);
    handle.token().await.expect("a handle alone keeps it going");
    drop(handle);
    sleep(secs(24 * 3600)).await;
    let requests = organisation.lock().expect("nobody panicked").totals(clock.now()).token_requests;
    assert_eq!(requests, 1, "nothing is renewed for nobody");
    assert_eq!(Arc::strong_count(&store), 1, "the scheduler let go of everything");
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_waited_for_and_a_silent_one_only_so_long() {
    let world = World::new(Profile { token_latency: Latency::millis(9_000, 9_000), ..profile() });
    let handle = world.credential().await;
    let (answers, slowest) = crowd(&world, &handle).await;
    same_token(answers);
    assert_eq!((world.token_requests(), slowest.as_secs()), (1, 9));

    // Never an answer: each is told so in time for an SDK that gives up after 16 s.
    let world = World::new(profile());
    world.fail(secs(3600), Effect::Stall { processed: false });
    let handle = world.credential().await;
    let (answers, slowest) = crowd(&world, &handle).await;
    assert!(answers.iter().all(Result::is_err));
    assert!(slowest <= secs(15), "{slowest:?}");
    assert!(world.token_requests() <= 2);
}

const POOL: u16 = 42;
const QUOTA: Quota = Quota { requests: 50, per: Duration::from_secs(10) };

#[tokio::test(start_paused = true)]
async fn a_pool_of_42_is_42_requests_and_stays_within_both_limits_for_ten_minutes() {
    // At this scale tokens live 15 s, the vendor keeps 45 of them alive, and each may be used 50
    // times in 10 s: 42 of them allow 210 requests a second.
    let profile = Profile { ledger_entries: 0, ..Profile::demo() };
    let world = Arc::new(World::new(profile));
    let settings = world.settings();
    let allowance = bellwether_broker::lifecycle::Allowance { per_second: 20.0, burst: 60 };
    let server = bellwether_broker::AuthorizationServer { allowance, ..world.server() };
    let settings = bellwether_broker::CredentialSettings {
        authorization_server: Arc::new(server),
        ..settings
    };
    let handle = world.add(pool(settings, POOL, QUOTA)).await;
    while handle.held().iter().any(Option::is_none) {
        handle.published(secs(1)).await;
    }
    assert_eq!(world.token_requests(), u64::from(POOL));
    assert_eq!(handle.counters().token_requests.load(Ordering::Relaxed), u32::from(POOL));

    let mut calls = JoinSet::new();
    let mut refused: Vec<u16> = Vec::new();
    for number in 0..600 * 200_u64 {
        let (world, handle) = (Arc::clone(&world), handle.clone());
        calls.spawn(async move {
            let token = handle.spend(secs(5)).await.expect("there is room within 5 s");
            // Requests do not arrive in the order they left.
            let (_, status) = world.call(&token, millis(number * 7 % 23)).await;
            status
        });
        sleep(millis(5)).await;
        while let Some(done) = calls.try_join_next() {
            refused.extend(Some(done.expect("no call panics")).filter(|status| *status != 200));
        }
    }
    refused.extend(calls.join_all().await.into_iter().filter(|status| *status != 200));
    assert!(refused.is_empty(), "every call was answered 200: {refused:?}");
    let totals = world.totals();
    assert_eq!(totals.api_accepted, 600 * 200);
    assert_eq!((totals.status_401, totals.status_429, totals.api_evicted), (0, 0, 0));
    // 42 tokens that live 15 s are renewed every 7 to 9 s.
    assert!((42 * 66..42 * 90).contains(&totals.tokens_issued), "{}", totals.tokens_issued);
}

#[tokio::test(start_paused = true)]
async fn a_spent_pool_makes_callers_wait_and_tells_those_who_will_not() {
    let world = World::new(Profile::plain());
    let handle = world.add(pool(world.settings(), 2, QUOTA)).await;
    while handle.held().iter().any(Option::is_none) {
        handle.published(secs(1)).await;
    }
    let start = world.now();
    let mut members = Vec::new();
    for _ in 0..100 {
        members.push(handle.spend(Duration::ZERO).await.expect("room").member());
    }
    assert_eq!(members.iter().filter(|member| **member == 0).count(), 50, "they take turns");
    assert_eq!(handle.budget_left(), Some(0));
    assert_eq!(world.now(), start, "nobody waited");

    let none = handle.spend(secs(5)).await.expect_err("no room within 5 s");
    assert_eq!(none.cause, Cause::Throttled);
    let retry_after = none.retry_after.expect("when there is room");
    assert!((secs(10)..secs(11)).contains(&retry_after), "{retry_after:?}");
    assert_eq!(world.now(), start, "told at once");

    let token = handle.spend(secs(30)).await.expect("room when the window has passed");
    let waited = world.now().since(start);
    assert!(token.member() < 2 && (secs(10)..secs(11)).contains(&waited), "{waited:?}");
    assert_eq!(world.token_requests(), 2, "no token was requested for it");
    assert_eq!(distinct(members), 2);
}
