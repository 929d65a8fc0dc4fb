//! A grant is put in or taken out from outside of a renewal, and every process takes notice.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bellwether_broker::lifecycle::{Cause, State};
use bellwether_broker::oauth::{Secret, TokenResponse, TokenType};
use bellwether_broker::store::{
    Acquired, Clock, Fence, HolderId, Key, Keyring, Kind, MemoryStore, Origin, Row, Saved, Store,
    StoreError, StoreFuture,
};
use bellwether_broker::{
    Broker, CredentialSettings, CustodyError, Environment, Handle, NewGrant, Obtain,
};
use bellwether_simulation::{Effect, Profile, Rotation};
use support::{CLIENT, World, millis, secs};
use tokio::time::sleep;

fn world() -> World {
    World::new(Profile { rotation: Rotation::Strict, ..Profile::plain() })
}

/// A refresh token that the organisation has just issued.
fn issued(world: &World) -> Secret {
    let now = world.now();
    let token = world.organisation().issue_refresh_token(now, CLIENT);
    Secret::from(token.expect("a known client"))
}

fn settings(world: &World, seed: Option<Secret>) -> CredentialSettings {
    CredentialSettings { obtain: Obtain::RefreshToken { seed }, ..world.settings() }
}

async fn import(world: &World, token: Secret) {
    let custody = world.broker.custody(settings(world, None), secs(1)).await.expect("a store");
    custody.deposit(NewGrant::Imported(token)).await.expect("a store");
}

async fn settled(handle: &Handle, state: State) {
    for _ in 0..1000 {
        if handle.status().state == state {
            return;
        }
        sleep(millis(100)).await;
    }
    panic!("it is {:?}, not {state}", handle.status());
}

#[tokio::test(start_paused = true)]
async fn without_a_grant_nothing_is_sent_until_somebody_logs_in() {
    let world = world();
    let handle = world.add(settings(&world, None)).await;
    let none = handle.token().await.expect_err("nothing to ask with");
    assert_eq!(none.cause, Cause::Reauthorize);
    assert_eq!(handle.status().state, State::NeedsReauth);
    sleep(secs(3600)).await;
    assert_eq!(world.token_requests(), 0);

    import(&world, issued(&world)).await;
    handle.grant_replaced();
    handle.token().await.expect("the new grant is used");
    assert_eq!(world.token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_process_notices_by_itself() {
    let world = world();
    let other = world.another_broker(2);
    let handle = other.add(settings(&world, None)).await.handle;
    settled(&handle, State::NeedsReauth).await;
    import(&world, issued(&world)).await;
    settled(&handle, State::Fresh).await;
    assert_eq!(world.token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_login_brought_is_taken_over_without_a_request() {
    let world = world();
    let (here, there) = (world.add(settings(&world, None)).await, world.another_broker(2));
    let there = there.add(settings(&world, None)).await.handle;
    settled(&here, State::NeedsReauth).await;
    let response = TokenResponse {
        access_token: "from-the-login".into(),
        token_type: TokenType::Bearer,
        expires_in: Some(secs(600)),
        refresh_token: Some(issued(&world)),
        scope: None,
    };
    let custody = world.broker.custody(settings(&world, None), secs(1)).await.expect("a store");
    let grant = NewGrant::Issued { response, sent_at: world.now() };
    let token = custody.deposit(grant).await.expect("a store").expect("an access token");
    assert_eq!(token.access_token(), &"from-the-login".into());
    for handle in [&here, &there] {
        settled(handle, State::Fresh).await;
        let token = handle.token().await.expect("it was adopted");
        assert_eq!(token.access_token(), &"from-the-login".into());
    }
    assert_eq!(world.token_requests(), 0);
}

/// A newer grant ends a refusal, and a token in doubt.
#[tokio::test(start_paused = true)]
async fn a_new_grant_ends_refusal_and_doubt() {
    for is_lost in [false, true] {
        let world = world();
        import(&world, issued(&world)).await;
        if is_lost {
            // Its answer is lost each time.
            world.fail(secs(60), Effect::LostAnswer);
        } else {
            world.organisation().revoke_refresh_tokens(None);
        }
        let handle = world.add(settings(&world, None)).await;
        let expected = if is_lost { State::InDoubt } else { State::NeedsReauth };
        settled(&handle, expected).await;
        world.organisation().clear_faults();
        import(&world, issued(&world)).await;
        handle.grant_replaced();
        let token = handle.token().await.expect("the new grant is used");
        assert_eq!(world.call(&token, millis(1)).await.1, 200);
        assert_eq!(world.totals().refresh_uses, 1, "none was sent twice");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_logout_nobody_gets_a_token_and_nothing_is_sent() {
    for has_seed in [false, true] {
        let world = world();
        let seed = has_seed.then(|| issued(&world));
        if !has_seed {
            import(&world, issued(&world)).await;
        }
        let handle = world.add(settings(&world, seed.clone())).await;
        handle.token().await.expect("a grant");
        let other = world.another_broker(2).add(settings(&world, seed.clone())).await.handle;
        other.token().await.expect("the same");

        let custody = world.broker.custody(settings(&world, seed.clone()), secs(1)).await;
        let custody = custody.expect("a store");
        assert!(custody.refresh_token().is_some() && custody.access_token().is_some());
        custody.clear().await.expect("a store");
        handle.grant_ended().await;
        let requests = world.token_requests();
        let none = handle.token().await.expect_err("it was given back");
        assert_eq!(none.cause, Cause::Reauthorize);
        // Another process stops when its access token ends; nothing is in doubt for it.
        sleep(secs(3 * 3600)).await;
        assert_eq!(other.status().state, State::NeedsReauth);
        assert_eq!(world.token_requests(), requests);
        let custody = world.broker.custody(settings(&world, seed.clone()), secs(1)).await;
        let custody = custody.expect("a store");
        assert!(custody.refresh_token().is_none() && custody.access_token().is_none());
        custody.release().await.expect("a store");

        import(&world, issued(&world)).await;
        settled(&handle, State::Fresh).await;
        settled(&other, State::Fresh).await;
        assert_eq!(world.token_requests(), requests + 1, "one for both");
    }
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time() {
    let world = world();
    let first = world.broker.custody(settings(&world, None), secs(1)).await.expect("a store");
    let second = world.broker.custody(settings(&world, None), secs(1)).await;
    assert!(matches!(second, Err(CustodyError::Busy)), "{second:?}");
    sleep(secs(60)).await;
    let second = world.broker.custody(settings(&world, None), secs(1)).await.expect("it ran out");
    let late = first.deposit(NewGrant::Imported("late".into())).await;
    assert!(matches!(late, Err(CustodyError::Superseded)), "{late:?}");
    second.deposit(NewGrant::Imported("in time".into())).await.expect("a store");
}

/// Under way means: the server may have rotated the token that would be replaced.
#[tokio::test(start_paused = true)]
async fn a_renewal_under_way_ends_first() {
    let world = world();
    import(&world, issued(&world)).await;
    world.fail(secs(60), Effect::Latency(secs(5)));
    let handle = world.add(settings(&world, None)).await;
    sleep(secs(1)).await;
    let before = world.now();
    let custody = world.broker.custody(settings(&world, None), secs(15)).await.expect("a store");
    assert!(world.now().since(before) >= secs(4), "it waited");
    assert!(custody.access_token().is_some(), "what the renewal brought");
    custody.release().await.expect("a store");
    handle.token().await.expect("it was renewed");
}

/// A store that takes so many rows and then no more.
#[derive(Debug)]
struct Filling {
    store: Arc<MemoryStore>,
    room: AtomicU32,
}

impl Store for Filling {
    fn load(&self, key: &Key) -> StoreFuture<'_, Option<Row>> {
        self.store.load(key)
    }

    fn acquire(&self, key: &Key, holder: HolderId, ttl: Duration) -> StoreFuture<'_, Acquired> {
        self.store.acquire(key, holder, ttl)
    }

    fn release(&self, key: &Key, fence: Fence) -> StoreFuture<'_, ()> {
        self.store.release(key, fence)
    }

    fn save(&self, key: &Key, fence: Fence, row: Row) -> StoreFuture<'_, Saved> {
        let left = self.room.load(Ordering::Relaxed);
        if left == 0 {
            let full = StoreError::Full { why: "for a test".to_owned() };
            return Box::pin(async { Err(full) });
        }
        self.room.store(left - 1, Ordering::Relaxed);
        self.store.save(key, fence, row)
    }

    fn remove(&self, key: &Key, fence: Fence) -> StoreFuture<'_, Saved> {
        self.store.remove(key, fence)
    }

    fn list(&self, kind: &Kind) -> StoreFuture<'_, Vec<(Key, Row)>> {
        self.store.list(kind)
    }

    fn origin(&self) -> StoreFuture<'_, Origin> {
        self.store.origin()
    }

    fn durable(&self) -> bool {
        self.store.durable()
    }
}

/// The refresh token to give back is the one that the server issued last, wherever it is.
#[tokio::test(start_paused = true)]
async fn what_only_the_escrow_has_is_in_custody_too() {
    let world = world();
    let first = issued(&world);
    import(&world, first.clone()).await;
    // Room for the intent, and none for the answer.
    let filling = Arc::new(Filling { store: Arc::clone(&world.store), room: AtomicU32::new(1) });
    let ended = Broker::start(Environment {
        clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
        store: filling,
        escrow: Arc::new(world.escrow.clone()),
        keyring: Keyring::from_bytes(&[7; Keyring::KEY_LEN]),
        seed: 3,
    });
    let handle = ended.add(settings(&world, None)).await.handle;
    let token = handle.token().await.expect("it is in the escrow, and so is published");
    ended.stop().await;

    let custody = world.broker.custody(settings(&world, None), secs(60)).await.expect("a store");
    assert_ne!(custody.refresh_token(), Some(first), "the server has spent that one");
    assert_eq!(custody.access_token(), Some(token.access_token()));
    custody.clear().await.expect("a store");
    let custody = world.broker.custody(settings(&world, None), secs(60)).await.expect("a store");
    assert!(custody.refresh_token().is_none() && custody.access_token().is_none());
}
