//! 200 callers and a server that refuses: the requests it sees can be counted on the fingers.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_broker::lifecycle::{Cause, State, Timestamp};
use bellwether_broker::oauth::Secret;
use bellwether_broker::provider::Rotation;
use bellwether_broker::{AuthorizationServer, CredentialSettings, Handle, Obtain};
use bellwether_simulation::{Effect, Latency, Profile};
use support::{CLIENT, SECRET, World, client, millis, secs};
use tokio::task::JoinSet;
use tokio::time::sleep;

const CALLERS: u64 = 200;

/// How callers come again after an error.
#[derive(Clone, Copy, Debug)]
enum Retry {
    /// Every 100 ms.
    InStep,
    /// Every 50 to 150 ms, each with an interval of its own.
    OutOfStep,
}

impl Retry {
    fn pause(self, caller: u64) -> Duration {
        match self {
            Self::InStep => millis(100),
            Self::OutOfStep => millis(50 + caller * 37 % 101),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Storm {
    status: u16,
    retry_after: Option<u64>,
    outage: Duration,
    /// How long each answer takes, good or bad.
    latency: Duration,
    retry: Retry,
    /// Nobody holds a token; or everybody held one, and it has run out.
    cold: bool,
}

impl Storm {
    fn effect(self) -> Effect {
        Effect::Answer {
            status: self.status,
            retry_after: self.retry_after.map(|seconds| seconds.to_string()),
            content_type: "application/json".to_owned(),
            body: br#"{"error":"temporarily_unavailable"}"#.to_vec(),
            processed: false,
        }
    }

    /// Runs it; when requests arrived since the outage began, and how long the slowest waited.
    async fn run(self) -> (Vec<Duration>, Duration) {
        let token_latency = Latency { least: self.latency, most: self.latency };
        let world = World::new(Profile { token_latency, ..Profile::plain() });
        let handle = if self.cold {
            world.fail(self.outage, self.effect());
            world.credential().await
        } else {
            let handle = world.warm().await;
            world.clock.suspend(secs(3700));
            world.fail(self.outage, self.effect());
            handle
        };
        let start = world.now();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (handle, pause) = (handle.clone(), self.retry.pause(caller));
            callers.spawn(async move {
                while handle.token().await.is_err() {
                    sleep(pause).await;
                }
            });
        }
        callers.join_all().await;
        (world.arrivals(start), world.now().since(start))
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_a_handful_of_requests_and_ends_for_all_at_once() {
    let mut table = String::new();
    for outage in [secs(2), secs(10)] {
        for (status, retry_after) in [(500, None), (429, None), (429, Some(2)), (503, Some(2))] {
            for latency in [millis(50), millis(2)] {
                for retry in [Retry::InStep, Retry::OutOfStep] {
                    for cold in [true, false] {
                        let storm = Storm { status, retry_after, outage, latency, retry, cold };
                        let (arrivals, slowest) = storm.run().await;
                        judge(storm, &arrivals, slowest);
                        table += &format!(
                            "{:>3} s of {status}, Retry-After {:<7}, {:>2} ms, {:<9}, {}: \
                             {} requests, slowest {:>5} ms\n",
                            outage.as_secs(),
                            format!("{retry_after:?}"),
                            latency.as_millis(),
                            format!("{retry:?}"),
                            if cold { "cold   " } else { "expired" },
                            arrivals.len(),
                            slowest.as_millis(),
                        );
                    }
                }
            }
        }
    }
    println!("{table}");
}

fn judge(storm: Storm, arrivals: &[Duration], slowest: Duration) {
    let most = if storm.outage == secs(2) { 5 } else { 8 };
    assert!(arrivals.len() <= most, "{storm:?}: {arrivals:?}");
    let gaps = arrivals.windows(2).map(|pair| pair[1] - pair[0]);
    if let Some(seconds) = storm.retry_after {
        let shortest = gaps.clone().min().unwrap_or(Duration::MAX);
        assert!(shortest >= storm.latency + secs(seconds), "{storm:?}: {arrivals:?}");
    }
    // The first attempt after the outage serves everybody, and it comes within one back-off.
    let after = arrivals.iter().filter(|at| **at >= storm.outage);
    let after: Vec<&Duration> = after.collect();
    assert_eq!(after.len(), 1, "{storm:?}: {arrivals:?}");
    assert!(*after[0] <= storm.outage + secs(5), "{storm:?}: {arrivals:?}");
    assert!(slowest <= *after[0] + storm.latency + millis(150), "{storm:?}: {slowest:?}");
}

/// Asks once in ten seconds for so long; how often in vain.
async fn ask_on(world: &World, handle: &Handle, lasts: Duration) -> u64 {
    let (end, mut in_vain) = (world.now() + lasts, 0);
    while world.now() < end {
        in_vain += u64::from(handle.token().await.is_err());
        sleep(secs(10)).await;
    }
    in_vain
}

const HOUR: Duration = secs(3600);
const DAY: Duration = secs(24 * 3600);

async fn with_wrong_secret(world: &World) -> Handle {
    world.add(CredentialSettings { client: client("wrong"), ..world.settings() }).await
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_probed_ever_more_rarely_for_a_day_and_heals_when_the_server_has_it() {
    let world = World::new(Profile::plain());
    let start = world.now();
    let handle = with_wrong_secret(&world).await;
    ask_on(&world, &handle, DAY).await;
    let arrivals = world.arrivals(start);
    assert!((144..=155).contains(&arrivals.len()), "{}", arrivals.len());
    let gaps: Vec<Duration> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.windows(2).take(9).all(|pair| pair[1] > pair[0]), "falling: {gaps:?}");
    assert!(gaps[10..].iter().all(|gap| *gap >= secs(600)), "{gaps:?}");
    assert_eq!(handle.status().state, State::Misconfigured);

    world.organisation().set_client_secret(CLIENT, "wrong");
    ask_on(&world, &handle, secs(620)).await;
    assert_eq!(handle.status().state, State::Fresh);
    assert!(handle.current().is_some());
    assert_eq!(world.token_requests(), arrivals.len() as u64 + 1, "the next probe did it");
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_is_tried_at_once() {
    let world = World::new(Profile { token_latency: Latency::millis(50, 50), ..Profile::plain() });
    let handle = with_wrong_secret(&world).await;
    ask_on(&world, &handle, HOUR).await;
    let (before, asked_at) = (world.token_requests(), world.now());
    handle.replace(CredentialSettings { client: client(SECRET), ..world.settings() }).await;
    handle.token().await.expect("the secret is right now");
    assert_eq!(world.token_requests(), before + 1);
    assert!(world.now().since(asked_at) <= millis(60));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_day_is_one_request_for_each_renewal_and_nobody_waits() {
    let lifetime = secs(300);
    let world = World::new(Profile {
        access_token_lifetime: lifetime,
        token_latency: Latency::millis(50, 300),
        ..Profile::plain()
    });
    let start = world.now();
    let handle = world.warm().await;
    let waited = || handle.counters().waited.load(Ordering::Relaxed);
    assert_eq!(waited(), 1);
    let shortest = shortest_life(&world, &handle, start + DAY).await;
    assert_eq!(waited(), 1, "nobody but the first");
    // The last minute of a life is never seen.
    assert!(shortest > secs(60), "{shortest:?}");

    let gaps: Vec<Duration> =
        world.arrivals(start).windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Renewed 10 to 30 % before the last minute: every 168 to 216 s.
    let expected = secs(167)..secs(217);
    assert!(gaps.iter().all(|gap| expected.contains(gap)), "{gaps:?}");
    assert_eq!(handle.generation(), world.token_requests());
    println!("{} token requests in a day", world.token_requests());
}

/// Looks at the held token every 5 s; the least that was ever left of it.
async fn shortest_life(world: &World, handle: &Handle, end: Timestamp) -> Duration {
    let mut shortest = Duration::MAX;
    while world.now() < end {
        let token = handle.token().await.expect("always held");
        shortest = shortest.min(token.expires_in(world.now()).expect("a known lifetime"));
        sleep(secs(5)).await;
    }
    shortest
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_ends_before_the_token_does_is_seen_by_nobody() {
    let world = Arc::new(World::new(Profile {
        access_token_lifetime: secs(300),
        token_latency: Latency::millis(50, 50),
        ..Profile::plain()
    }));
    let handle = world.warm().await;
    sleep(secs(150)).await;
    world.fail(secs(100), Effect::status(500));
    let end = world.now() + secs(120);
    let shortest = shortest_life(&world, &handle, end).await;
    assert_eq!(handle.counters().waited.load(Ordering::Relaxed), 1);
    assert!(shortest >= secs(35), "{shortest:?}");
    assert_eq!(handle.status().state, State::Fresh);
}

#[tokio::test(start_paused = true)]
async fn eight_brokers_with_a_wrong_secret_probe_as_one() {
    let world = World::new(Profile::plain());
    let start = world.now();
    let wrong = CredentialSettings { client: client("wrong"), ..world.settings() };
    let mut handles = Vec::new();
    for seed in 0..8 {
        handles.push(world.another_broker(seed).add(wrong.clone()).await.handle);
        sleep(secs(7)).await;
    }
    sleep(DAY).await;
    let arrivals = world.arrivals(start);
    assert!(arrivals.len() <= 175, "{}", arrivals.len());
    let last = &arrivals[arrivals.len() - 100..];
    let gaps: Vec<Duration> = last.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= secs(590)), "{gaps:?}");

    world.organisation().set_client_secret(CLIENT, "wrong");
    let before = world.token_requests();
    sleep(secs(1210)).await;
    assert!(handles.iter().all(|handle| handle.status().state == State::Fresh));
    assert_eq!(world.token_requests(), before + 1, "one finds out for all");
}

/// A command that is started again and again, or a rollout, in the middle of an outage.
#[tokio::test(start_paused = true)]
async fn brokers_that_start_during_an_outage_share_what_others_met() {
    #[rustfmt::skip]
    let cases = [
        // status, Retry-After, how long it lasts, requests at most until all are served
        (429,      Some("30"),  millis(4000),      2),
        (500,      None,        millis(4000),      6),
    ];
    for (status, retry_after, lasts, most) in cases {
        let world =
            World::new(Profile { token_latency: Latency::millis(50, 50), ..Profile::plain() });
        let start = world.now();
        world.fail(
            lasts,
            Effect::Answer {
                status,
                retry_after: retry_after.map(str::to_owned),
                content_type: "application/json".to_owned(),
                body: b"{}".to_vec(),
                processed: false,
            },
        );
        let mut waiting = JoinSet::new();
        for seed in 0..20 {
            let (broker, settings) = (world.another_broker(seed), world.settings());
            waiting.spawn(async move {
                let handle = broker.add(settings).await.handle;
                while handle.token().await.is_err() {
                    sleep(secs(1)).await;
                }
            });
            sleep(millis(150)).await;
        }
        waiting.join_all().await;
        let arrivals = world.arrivals(start);
        assert!(arrivals.len() <= most, "{status}: {arrivals:?}");
        if retry_after.is_some() {
            assert!(arrivals[1] >= secs(30), "{status}: {arrivals:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_started_every_second_with_a_wrong_secret_is_no_storm() {
    let world = World::new(Profile::plain());
    let wrong = CredentialSettings { client: client("wrong"), ..world.settings() };
    for seed in 0..60 {
        let broker = world.another_broker(seed);
        let none = broker.add(wrong.clone()).await.handle.token().await.expect_err("refused");
        assert_eq!(none.cause, Cause::Misconfigured);
        broker.stop().await;
        sleep(secs(1)).await;
    }
    assert!(world.token_requests() <= 12, "{}", world.token_requests());

    // With another secret there is nothing to share.
    let right = world.another_broker(99).add(world.settings()).await.handle;
    right.token().await.expect("the right secret");
}

/// An answer of 5xx leaves doubt about a refresh token; that does not hurry anybody.
#[tokio::test(start_paused = true)]
async fn retry_after_holds_in_doubt_too() {
    let world = World::new(Profile::plain());
    let seed = world.organisation().issue_refresh_token(world.now(), CLIENT).map(Secret::from);
    let server = AuthorizationServer { rotation: Rotation::None, ..world.server() };
    let settings = CredentialSettings {
        authorization_server: Arc::new(server),
        obtain: Obtain::RefreshToken { seed },
        ..world.settings()
    };
    let start = world.now();
    world.fail_next(
        1,
        Effect::Answer {
            status: 503,
            retry_after: Some("60".to_owned()),
            content_type: "application/json".to_owned(),
            body: b"{}".to_vec(),
            processed: false,
        },
    );
    let handle = world.add(settings).await;
    let none = handle.token().await.expect_err("longer than a caller waits");
    assert_eq!((none.cause, handle.status().state), (Cause::InDoubt, State::InDoubt));
    assert!(none.retry_after >= Some(secs(59)), "{none:?}");
    handle.published(secs(120)).await;
    assert_eq!(world.now().since(start).as_secs(), 60);
    assert_eq!(world.token_requests(), 2);
}
