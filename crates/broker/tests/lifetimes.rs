//! From a token's issue to its end, and from a client's first use to its being forgotten.

mod support;

use std::time::Duration;

use bellwether_broker::lifecycle::{Cause, Quota, State};
use bellwether_broker::store::{Key, Keyring, Kind, Store};
use bellwether_broker::{CredentialSettings, News, WHILE_USED};
use bellwether_simulation::{Effect, ExpiresIn, Latency, Profile};
use support::{World, distinct, millis, pool, secs};
use tokio::time::sleep;

const HOUR: Duration = secs(3600);

fn profile() -> Profile {
    Profile {
        access_token_lifetime: secs(300),
        token_latency: Latency::millis(50, 50),
        ..Profile::plain()
    }
}

/// The server is down from the middle of a token's life until long after it.
#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_a_token_serves_it_to_its_end_and_no_further() {
    let world = World::new(profile());
    let handle = world.warm().await;
    let issued = world.now() - millis(50);
    sleep(secs(140)).await;
    world.fail(secs(300), Effect::status(503));
    while world.now() < issued + secs(299) {
        let asked_at = world.now();
        let token = handle.hand_out().await.expect("held to its end");
        let left = token.expires_in(world.now()).expect("a known lifetime");
        assert_eq!(left, (issued + secs(300)).since(world.now()), "the true remainder");
        // It waits for a better one at most until the renewal under way counts as failing.
        assert!(world.now().since(asked_at) <= secs(2), "{left:?} left");
        sleep(secs(1)).await;
    }
    sleep(secs(2)).await;
    assert!(handle.current().is_none(), "it has ended");
    let asked_at = world.now();
    let none = handle.hand_out().await.expect_err("nothing to hand out");
    assert_eq!(none.cause, Cause::Passing);
    assert!(none.retry_after.is_some() && world.now().since(asked_at) <= secs(15));

    // Once the server is back it is fresh within one back-off.
    sleep(world.now().until(issued + secs(440))).await;
    sleep(secs(6)).await;
    assert_eq!(handle.status().state, State::Fresh);
}

#[tokio::test(start_paused = true)]
async fn every_lifetime_is_handed_out_within_its_floor() {
    #[rustfmt::skip]
    let cases = [
        // expires_in, never handed out with this or less, token requests in an hour at most
        (3600, 60, 3),
        (300,  60, 23),
        (180,  60, 44),
        (179,  59, 45),
        (60,   20, 130),
        (15,   5,  530),
        (3,    1,  2700),
    ];
    for (seconds, floor, most) in cases {
        let world = World::new(Profile { access_token_lifetime: secs(seconds), ..profile() });
        let handle = world.credential().await;
        let start = world.now();
        let mut step = 0;
        while world.now() < start + HOUR {
            let token = handle.hand_out().await.expect("a token");
            let left = token.expires_in(world.now()).expect("a known lifetime");
            assert!(left > secs(floor), "{seconds} s: {left:?} left");
            step += 1;
            sleep(millis(300 + step % 700)).await;
        }
        let requests = world.token_requests();
        assert!(requests <= most, "{seconds} s: {requests} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_lifetime_is_served_as_such_and_renewed_after_an_hour() {
    let world = World::new(Profile { expires_in: ExpiresIn::Omitted, ..profile() });
    let handle = world.warm().await;
    let token = handle.hand_out().await.expect("a token");
    assert_eq!((token.expires_in(world.now()), token.expires_at()), (None, None));
    sleep(HOUR * 24).await;
    let requests = world.token_requests();
    assert!((24..=36).contains(&requests), "{requests}");
}

/// `expires_in: 0`, and a lifetime shorter than the way to the caller.
#[tokio::test(start_paused = true)]
async fn a_lifetime_of_nothing_is_no_storm() {
    for claimed in [0, 1] {
        let world = World::new(Profile { expires_in: ExpiresIn::Claimed(claimed), ..profile() });
        let handle = world.credential().await;
        let start = world.now();
        while world.now() < start + secs(600) {
            let token = handle.token().await.expect("who waits for it is given it");
            assert!(token.expires_in(world.now()) <= Some(secs(claimed)));
            sleep(millis(10)).await;
        }
        let requests = world.token_requests();
        assert!(requests <= 601, "expires_in {claimed}: {requests} in 600 s");
    }
}

fn brought(world: &World) -> CredentialSettings {
    let digest = Keyring::from_bytes(&[7; Keyring::KEY_LEN]).digest("client", b"polling");
    CredentialSettings { key: Key::client(&digest), demand: WHILE_USED, ..world.settings() }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_nobody_asks_for_is_renewed_for_a_day_and_forgotten() {
    let world = World::new(profile());
    let handle = world.add(brought(&world)).await;
    for _ in 0..10 {
        handle.token().await.expect("a token");
        sleep(HOUR).await;
    }
    let rows = async || world.store.list(&Kind::CLIENT).await.expect("a store").len();
    assert_eq!(rows().await, 1);

    // A broker that starts meanwhile goes on with it.
    let another = world.another_broker(2);
    let remembered = another.remembered_clients().await.expect("a store");
    assert_eq!(remembered.len(), 1);
    assert_eq!(remembered[0].client, brought(&world).client);
    another.stop().await;

    sleep(HOUR * 22).await;
    let before = world.token_requests();
    sleep(HOUR / 2).await;
    assert!(world.token_requests() > before, "still within the day");
    let mut news = world.broker.news();
    sleep(HOUR * 2).await;
    let before = world.token_requests();
    sleep(HOUR * 48).await;
    assert_eq!(world.token_requests(), before, "nothing is renewed for nobody");
    assert_eq!(rows().await, 0, "and nothing of it is kept");
    let mut forgotten = false;
    while let Ok(told) = news.try_recv() {
        forgotten |= matches!(told, News::Forgotten { name } if name == "polling");
    }
    assert!(forgotten);
    assert!(handle.token().await.is_err());
}

/// A pool is restored as it was: 40 tokens are not requested anew at each rollout. Nobody knows what
/// they were spent on just before, so that each is spent again at the limit's own pace.
#[tokio::test(start_paused = true)]
async fn a_pool_outlives_a_restart_without_a_request() {
    let quota = Quota { requests: 50, per: secs(10) };
    let world = World::new(Profile { live_tokens_per_client: Some(45), ..Profile::plain() });
    let settings = pool(world.settings(), 40, quota);
    let first = world.add(settings.clone()).await;
    while first.held().iter().any(Option::is_none) {
        first.published(secs(1)).await;
    }
    world.broker.stop().await;
    let before = world.token_requests();
    assert_eq!(before, 40);

    sleep(secs(60)).await;
    let handle = world.another_broker(2).add(settings).await.handle;
    let (mut members, began) = (Vec::new(), world.now());
    for _ in 0..400 {
        let token = handle.spend(secs(1)).await.expect("room");
        let (_, status) = world.call(&token, Duration::ZERO).await;
        assert_eq!(status, 200);
        members.push(token.member());
    }
    assert_eq!((distinct(members), world.token_requests()), (40, before));
    assert!((1..=3).contains(&world.now().since(began).as_secs()), "200 a second");
}
