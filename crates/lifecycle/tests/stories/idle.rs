//! Callers' own credentials are renewed for as long as somebody asks.

use bellwether_lifecycle::{Demand, Event, Need, Policy};

use crate::driver::{PATIENCE, START, Script, World, at, seconds, told};

const DAY: u64 = 86_400;

#[test]
fn what_nobody_asks_for_falls_idle() {
    #[rustfmt::skip]
    let cases = [
        // expires_in,   idle after,  last renewal between
        (300,            DAY,         0.99,  1.01),
        (3 * DAY,        DAY,         2.0,   3.01),
    ];
    for (lifetime, idle_after, earliest, latest) in cases {
        let mut world = World::new(1, Script::granting(lifetime));
        let demand = Demand::WhileUsed { idle_after: seconds(idle_after) };
        let credential = world.start(Policy { demand, ..Policy::DEFAULT });
        assert_eq!(world.requests.len(), 0, "nobody asked yet");
        let used_until = START + seconds(10 * DAY);
        world.repeat(START, used_until, seconds(DAY / 2), move |world| {
            world.call(credential, Need::HandOut, PATIENCE, |_, wait| assert!(wait.is_served()));
        });
        world.run_until(used_until);
        assert_eq!(world.waits.len(), 1, "renewed while it is used");
        assert!(!world.lifecycle(credential).is_idle(world.now));

        world.run_until(START + seconds(30 * DAY));
        let last_used = told(used_until) - DAY as f64 / 2.0;
        let last = told(world.requests.last().expect("a request").at);
        let days = (last - last_used) / DAY as f64;
        assert!((earliest..=latest).contains(&days), "renewed {days} days after its last use");
        assert!(world.lifecycle(credential).is_idle(world.now), "and may be forgotten");

        world.call(credential, Need::Use, PATIENCE, |_, wait| assert!(wait.is_served()));
        assert!(!world.lifecycle(credential).is_idle(world.now), "until somebody asks again");
        world.run_until(START + seconds(30 * DAY + 1));
        assert_eq!(world.waits.len(), 2);
    }
}

#[test]
fn use_without_waiting_counts_as_use() {
    let mut world = World::new(2, Script::granting(300));
    let demand = Demand::WhileUsed { idle_after: seconds(DAY) };
    let credential = world.start(Policy { demand, ..Policy::DEFAULT });
    world.call(credential, Need::Use, PATIENCE, |_, wait| assert!(wait.is_served()));
    let end = START + seconds(5 * DAY);
    world.repeat(at(1.0), end, seconds(DAY / 3), move |world| {
        world.happen(credential, Event::Used);
    });
    world.run_until(end);
    assert!(world.lifecycle(credential).held().flatten().all(|held| held.is_alive(end)));
    assert!(!world.lifecycle(credential).is_idle(end));
}

#[test]
fn a_configured_credential_never_falls_idle() {
    let mut world = World::new(3, Script::granting(3600));
    let credential = world.start(Policy::DEFAULT);
    world.run_until(START + seconds(60 * DAY));
    assert!(!world.lifecycle(credential).is_idle(world.now));
    assert!(world.published(credential).all(|token| token.held.is_alive(world.now)));
}

/// A newcomer, or one whose token ended while the broker was down.
#[test]
fn what_holds_nothing_is_kept_as_long_as_anything_else() {
    let mut world = World::new(4, Script::granting(300));
    let demand = Demand::WhileUsed { idle_after: seconds(DAY) };
    let credential = world.start(Policy { demand, ..Policy::DEFAULT });
    world.run_until(START + seconds(DAY - 1));
    assert_eq!(world.requests.len(), 0, "nobody asked");
    assert!(!world.lifecycle(credential).is_idle(world.now));
    world.run_until(START + seconds(DAY + 1));
    assert!(world.lifecycle(credential).is_idle(START + seconds(DAY)));
}
