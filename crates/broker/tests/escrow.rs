//! An escrow that fails at first, behind a store that is away: the answer is nowhere but in memory.

mod support;

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bellwether_broker::oauth::Secret;
use bellwether_broker::provider::Rotation as Class;
use bellwether_broker::store::{
    Clock, Escrow, HolderId, Key, Keyring, MemoryEscrow, MemoryStore, Row, Store, StoreError,
    StoreFuture,
};
use bellwether_broker::{AuthorizationServer, Broker, CredentialSettings, Environment, Obtain};
use bellwether_simulation::{Effect, Profile, Reuse, Rotation};
use support::{CLIENT, FlakyStore, Works, World, secs};
use tokio::time::sleep;

/// Refuses so many appends, and takes so many seconds for one.
#[derive(Debug)]
struct Refusing {
    escrow: MemoryEscrow,
    left: AtomicU32,
    takes: AtomicU32,
}

impl Escrow for Refusing {
    fn reserve(&self, key: &Key, needed: Vec<Row>) -> StoreFuture<'_, ()> {
        self.escrow.reserve(key, needed)
    }

    fn append(&self, key: &Key, record: Row) -> StoreFuture<'_, ()> {
        let is_left = |left: u32| left.checked_sub(1);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_ok() {
            let why = "the disk does not answer".to_owned();
            return Box::pin(ready(Err(StoreError::Unavailable { why })));
        }
        let takes = secs(self.takes.load(Ordering::Relaxed).into());
        let (escrow, key) = (self.escrow.clone(), key.clone());
        Box::pin(async move {
            sleep(takes).await;
            escrow.append(&key, record).await
        })
    }

    fn records(&self, key: &Key) -> StoreFuture<'_, Vec<Row>> {
        self.escrow.records(key)
    }

    fn remove(&self, key: &Key) -> StoreFuture<'_, ()> {
        self.escrow.remove(key)
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_kept_late_begins_the_same_generation() {
    let profile = Profile {
        access_token_lifetime: secs(600),
        rotation: Rotation::Strict,
        reuse: Reuse::RevokesFamily,
        ..Profile::plain()
    };
    let world = World::new(profile);
    let store = Arc::new(FlakyStore::over(&world.store));
    let escrow = Arc::new(Refusing {
        escrow: world.escrow.clone(),
        left: AtomicU32::new(0),
        takes: AtomicU32::new(0),
    });
    let broker = Broker::start(Environment {
        clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
        store: Arc::clone(&store) as Arc<dyn Store>,
        escrow: Arc::clone(&escrow) as Arc<dyn Escrow>,
        keyring: Keyring::from_bytes(&[7; Keyring::KEY_LEN]),
        seed: 2,
    });
    let seed = world.organisation().issue_refresh_token(world.now(), CLIENT).map(Secret::from);
    let settings = CredentialSettings { obtain: Obtain::RefreshToken { seed }, ..world.settings() };
    let key = settings.key.clone().with_member(0);
    let handle = broker.add(settings).await.handle;
    let before = handle.token().await.expect("the seed is good");

    sleep(secs(100)).await;
    world.fail_next(1, Effect::Latency(secs(2)));
    handle.renew();
    sleep(secs(1)).await;
    store.set(Works::Reading);
    escrow.left.store(2, Ordering::Relaxed);
    sleep(secs(20)).await;
    let token = handle.token().await.expect("what the escrow has is given");
    assert_ne!(token.access_token(), before.access_token());

    store.set(Works::Fully);
    sleep(secs(20)).await;
    let row = world.store.load(&key).await.expect("a store").expect("a row").generation;
    let kept = world.escrow.records(&key).await.expect("an escrow");
    let generations: Vec<u64> = kept.iter().map(|record| record.generation).collect();
    assert_eq!((row, generations), (2, vec![1, 2]));
    assert_eq!(world.token_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_disk_is_slow_is_not_overtaken() {
    let profile = Profile {
        access_token_lifetime: secs(600),
        rotation: Rotation::Strict,
        reuse: Reuse::RevokesFamily,
        ..Profile::plain()
    };
    let world = World::new(profile);
    let escrow = Arc::new(Refusing {
        escrow: world.escrow.clone(),
        left: AtomicU32::new(0),
        takes: AtomicU32::new(0),
    });
    let slow = Broker::start(Environment {
        clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
        store: Arc::clone(&world.store) as Arc<dyn Store>,
        escrow: Arc::clone(&escrow) as Arc<dyn Escrow>,
        keyring: Keyring::from_bytes(&[7; Keyring::KEY_LEN]),
        seed: 2,
    });
    let seed = world.organisation().issue_refresh_token(world.now(), CLIENT).map(Secret::from);
    let settings = CredentialSettings { obtain: Obtain::RefreshToken { seed }, ..world.settings() };
    let handle = slow.add(settings.clone()).await.handle;
    handle.token().await.expect("the seed is good");
    // An hour later nothing is left to lose: whoever finds an intent alone tries at once.
    escrow.takes.store(90, Ordering::Relaxed);
    world.transport.set_unreachable(true);
    sleep(secs(700)).await;
    world.transport.set_unreachable(false);
    sleep(secs(10)).await;
    let other = world.another_broker(3).add(settings).await.handle;
    sleep(secs(150)).await;

    let token = other.token().await.expect("the grant lives");
    assert_eq!(handle.token().await.expect("the grant lives").access_token(), token.access_token());
    assert_eq!(world.token_requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn failures_do_not_thin_out_the_refresh_token_that_was_kept_before_them() {
    let profile = Profile {
        access_token_lifetime: secs(600),
        rotation: Rotation::UntilAcknowledged,
        reuse: Reuse::RevokesFamily,
        ..Profile::plain()
    };
    let world = World::new(profile);
    let seed = world.organisation().issue_refresh_token(world.now(), CLIENT).map(Secret::from);
    let server = AuthorizationServer { rotation: Class::UntilAcknowledged, ..world.server() };
    let settings = CredentialSettings {
        authorization_server: Arc::new(server),
        obtain: Obtain::RefreshToken { seed },
        ..world.settings()
    };
    let key = settings.key.clone().with_member(0);
    let handle = world.add(settings.clone()).await;
    handle.token().await.expect("the seed is good");
    let backup = world.store.load(&key).await.expect("a store").expect("a row");

    sleep(secs(100)).await;
    handle.renew();
    sleep(secs(10)).await;
    let token = handle.token().await.expect("a healthy server");
    // With its use the refresh token of before is spent for good.
    let (_, status) = world.call(&token, secs(0)).await;
    assert_eq!(status, 200);
    world.fail_next(40, Effect::status(503));
    handle.renew();
    sleep(secs(120)).await;
    assert!(world.escrow.records(&key).await.expect("an escrow").len() > 16);
    world.broker.stop().await;

    // The store is what it was in the backup.
    let restored = Arc::new(MemoryStore::new(Arc::clone(&world.clock) as Arc<dyn Clock>));
    let holder = HolderId::from_u128(9);
    let lease = restored.acquire(&key, holder, secs(1)).await.expect("a store").lease();
    let lease = lease.expect("nobody else is there");
    restored.save(&key, lease.fence, backup).await.expect("a store");
    restored.release(&key, lease.fence).await.expect("a store");
    world.organisation().clear_faults();
    let broker = world.broker_over(restored as Arc<dyn Store>, 3);
    let handle = broker.add(settings).await.handle;
    sleep(secs(1200)).await;
    handle.token().await.expect("the grant lives");
    assert_eq!(world.totals().families_revoked, 0);
}
