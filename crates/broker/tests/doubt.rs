//! A refresh token whose answer was lost: in doubt, kept over a restart, tried when nothing is left
//! to lose.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::State;
use bellwether_broker::oauth::{Client, Scope, Secret};
use bellwether_broker::provider::Rotation as Class;
use bellwether_broker::store::{Escrow, Store};
use bellwether_broker::{AuthorizationServer, CredentialSettings, Obtain};
use bellwether_simulation::{Effect, Profile, Reuse, Rotation};
use support::{CLIENT, FlakyStore, Works, World, secs};
use tokio::time::sleep;

/// Access tokens live ten minutes; a refresh token shown twice ends everything.
fn strict() -> Profile {
    Profile {
        access_token_lifetime: secs(600),
        rotation: Rotation::Strict,
        reuse: Reuse::RevokesFamily,
        ..Profile::plain()
    }
}

fn refreshing(world: &World, rotation: Class, window: Option<Duration>) -> CredentialSettings {
    let seed = world.organisation().issue_refresh_token(world.now(), CLIENT).map(Secret::from);
    let server = AuthorizationServer { rotation, rotation_window: window, ..world.server() };
    CredentialSettings {
        authorization_server: Arc::new(server),
        obtain: Obtain::RefreshToken { seed },
        ..world.settings()
    }
}

/// Holds a token, and has lost the answer to its next request. When its token ends.
async fn left_in_doubt(world: &World, settings: &CredentialSettings, effect: Effect) -> Duration {
    let handle = world.add(settings.clone()).await;
    let token = handle.token().await.expect("the seed is good");
    sleep(secs(100)).await;
    world.fail_next(1, effect);
    handle.renew();
    while handle.status().state != State::InDoubt {
        sleep(Duration::from_millis(10)).await;
    }
    world.broker.stop().await;
    token.expires_in(world.now()).expect("a known lifetime")
}

#[tokio::test(start_paused = true)]
async fn doubt_outlives_a_restart_and_costs_no_second_use_while_a_token_is_good() {
    for effect in [Effect::LostAnswer, Effect::Stall { processed: true }] {
        let world = World::new(strict());
        let settings = refreshing(&world, Class::Strict, None);
        let left = left_in_doubt(&world, &settings, effect).await;
        let asked = world.token_requests();

        // Minutes later another process starts, or this one anew.
        sleep(secs(60)).await;
        let handle = world.another_broker(2).add(settings).await.handle;
        handle.token().await.expect("the stored one serves on");
        handle.renew();
        sleep(left - secs(70)).await;
        handle.token().await.expect("to its end");
        assert_eq!(handle.status().state, State::InDoubt);
        assert_eq!(world.token_requests(), asked, "nothing is sent while it is good");

        // Nothing is left to lose: it is tried once. This server has spent it.
        sleep(secs(30)).await;
        assert_eq!(handle.status().state, State::NeedsReauth);
        assert_eq!(world.token_requests(), asked + 1);
        sleep(secs(24 * 3600)).await;
        assert_eq!(world.token_requests(), asked + 1, "and never again");
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_second_use_is_safe_doubt_ends_at_once() {
    let window = secs(120);
    #[rustfmt::skip]
    let cases = [
        // what the server does,           what we are told of it,  window
        (Rotation::None,                   Class::None,             None),
        (Rotation::UntilAcknowledged,      Class::UntilAcknowledged, None),
        (Rotation::SamePair { window },    Class::SamePair,         Some(window)),
        (Rotation::NewPair { window },     Class::NewPair,          Some(window)),
        (Rotation::LastPair { window },    Class::LastPair,         Some(window)),
    ];
    for (rotation, class, window) in cases {
        let world = World::new(Profile { rotation, ..strict() });
        let settings = refreshing(&world, class, window);
        left_in_doubt(&world, &settings, Effect::LostAnswer).await;
        let asked = world.token_requests();
        // Nobody has to ask: the window passes.
        let handle = world.another_broker(2).add(settings).await.handle;
        sleep(secs(10)).await;
        assert_eq!(handle.status().state, State::Fresh, "{class}");
        assert_eq!(world.token_requests(), asked + 1, "{class}");
        assert_eq!(world.totals().families_revoked, 0, "{class}");
    }
}

/// A process that starts while the store is away finds a good token in it later, and a doubt beside it.
#[tokio::test(start_paused = true)]
async fn a_doubt_that_is_found_late_ends_at_once_too() {
    let window = secs(120);
    let world = World::new(Profile { rotation: Rotation::SamePair { window }, ..strict() });
    let settings = refreshing(&world, Class::SamePair, Some(window));
    left_in_doubt(&world, &settings, Effect::LostAnswer).await;
    let asked = world.token_requests();
    // On another machine.
    world.escrow.remove(&settings.key.clone().with_member(0)).await.expect("an escrow");
    let store = Arc::new(FlakyStore::over(&world.store));
    store.set(Works::NotAtAll);
    let broker = world.broker_over(Arc::clone(&store) as Arc<dyn Store>, 2);
    let handle = broker.add(settings).await.handle;
    sleep(secs(5)).await;
    store.set(Works::Fully);
    sleep(secs(20)).await;
    assert_eq!(handle.status().state, State::Fresh);
    assert_eq!(world.token_requests(), asked + 1);
    assert_eq!(world.totals().families_revoked, 0);
}

/// The configuration's seed was spent long ago; the store alone has the token of today.
#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_outlives_a_change_of_scope() {
    let world = World::new(strict());
    let settings = refreshing(&world, Class::Strict, None);
    let handle = world.add(settings.clone()).await;
    handle.token().await.expect("the seed is good");
    world.broker.stop().await;

    let scope = Scope::parse("presence").expect("a scope");
    let broker = world.another_broker(2);
    let handle = broker.add(CredentialSettings { scope, ..settings.clone() }).await.handle;
    handle.token().await.expect("the refresh token of the store is good for another scope");
    broker.stop().await;

    // Another client's is not ours to send.
    let client = Client { id: "somebody else".to_owned(), ..settings.client.clone() };
    let obtain = Obtain::RefreshToken { seed: None };
    let broker = world.another_broker(3);
    let handle = broker.add(CredentialSettings { client, obtain, ..settings }).await.handle;
    assert!(handle.token().await.is_err());
    assert_eq!((world.token_requests(), world.totals().refresh_reused), (2, 0));
}
