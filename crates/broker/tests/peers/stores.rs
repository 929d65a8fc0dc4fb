//! A store that fails behind a good answer, and locks that outlive whoever took them.

use std::sync::Arc;

use bellwether_broker::lifecycle::State;
use bellwether_broker::provider::Rotation as Class;
use bellwether_broker::store::Store;
use bellwether_simulation::Effect;
use tokio::time::sleep;

use crate::support::{FlakyStore, Works, World, secs};
use crate::{refreshing, renewed, strict};

/// Elsewhere: the store fails after a good answer, and the new refresh token is dropped; a caller
/// that goes away takes the exchange with it.
#[tokio::test(start_paused = true)]
async fn p11_a_store_that_fails_after_a_good_answer_loses_no_refresh_token() {
    for (works, restarts) in [
        (Works::Reading, false),
        (Works::Reading, true),
        (Works::NotAtAll, false),
        (Works::NotAtAll, true),
    ] {
        let world = World::new(strict());
        let store = Arc::new(FlakyStore::over(&world.store));
        let broker = world.broker_over(Arc::clone(&store) as Arc<dyn Store>, 2);
        let settings = refreshing(&world, Class::Strict, None);
        let mut handle = broker.add(settings.clone()).await.handle;
        let before = handle.token().await.expect("the seed is good");

        sleep(secs(100)).await;
        // The store goes while the request is under way.
        world.fail_next(1, Effect::Latency(secs(2)));
        handle.renew();
        sleep(secs(1)).await;
        store.set(works);
        sleep(secs(3)).await;
        let token = handle.token().await.expect("the escrow has it");
        assert_ne!(token.access_token(), before.access_token(), "{works:?}");
        assert_eq!(world.totals().refresh_requests, 2);

        if restarts {
            broker.stop().await;
            let again = world.broker_over(Arc::clone(&store) as Arc<dyn Store>, 3);
            handle = again.add(settings.clone()).await.handle;
        }
        // An hour later it is back; the token of ten minutes has ended meanwhile.
        sleep(secs(120)).await;
        store.set(Works::Fully);
        sleep(secs(10)).await;
        renewed(&handle).await;
        renewed(&handle).await;
        assert_eq!(handle.status().state, State::Fresh);
        assert_eq!(broker.invariant_violations(), 0);
        let totals = world.totals();
        let counted = (totals.refresh_uses, totals.refresh_reused, totals.families_revoked);
        assert_eq!(counted, (1, 0, 0), "{works:?}, restarted: {restarts}");
    }
}

/// Elsewhere: a lock of the database session stays behind when its process is killed, and nobody
/// renews any more. The same with a real kill is in `processes`.
#[tokio::test(start_paused = true)]
async fn p13_a_holder_that_vanishes_strands_no_lock() {
    let world = World::new(crate::lenient());
    let settings = refreshing(&world, Class::NewPair, Some(crate::WINDOW));
    let store = Arc::new(FlakyStore::over(&world.store));
    let doomed = world.broker_over(Arc::clone(&store) as Arc<dyn Store>, 2);
    let handle = doomed.add(settings.clone()).await.handle;
    handle.token().await.expect("the seed is good");
    world.fail_next(1, Effect::Stall { processed: true });
    handle.renew();
    sleep(secs(1)).await;
    // From here on nothing it does reaches the store: neither an answer nor the lease.
    store.set(Works::NotAtAll);
    let successor = world.another_broker(3).add(settings).await.handle;
    let began = world.now();
    renewed(&successor).await;
    let took = world.now().since(began);
    assert!(took <= secs(21), "the lease is twice a request's time: {took:?}");
    assert_eq!(world.totals().families_revoked, 0);
}
