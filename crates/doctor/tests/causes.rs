//! Every cause is found, the likeliest first, and a healthy log gets a clean bill.

mod support;

use support::world::{Renewal, World};
use support::written::{Jtl, jtl_csv};
use support::{diagnose, ids};

fn report() -> World {
    World { threads: 50, cap: 10, period: 5000, ..World::default() }
}

#[test]
fn the_reported_situation_is_eviction_first() {
    for (name, world) in [
        ("polls again", report()),
        ("waits", World { polls_again: false, ..report() }),
        ("jitter", World { jitter: 500, ..report() }),
        ("cap 45", World { cap: 45, ..report() }),
    ] {
        let diagnosis = diagnose(&[jtl_csv(&world.events(), Jtl::default())]);
        let found = ids(&diagnosis);
        println!("{name}: {found:?}\n{:#?}", diagnosis.findings.first().map(|it| &it.summary));
        assert_eq!(found.first(), Some(&"token-eviction"), "{name}: {found:?}");
    }
}

#[test]
fn a_healthy_log_gets_a_clean_bill() {
    for (name, world) in [
        ("a login for each thread", World { threads: 40, ..World::default() }),
        (
            "one shared token",
            World {
                renewal: Renewal::SharedBefore(60),
                lifetime: 300,
                minutes: 60,
                ..World::default()
            },
        ),
        (
            "own tokens, spread",
            World {
                renewal: Renewal::EachBefore(60),
                lifetime: 600,
                minutes: 60,
                ramp_up: 300_000,
                ..World::default()
            },
        ),
    ] {
        let diagnosis = diagnose(&[jtl_csv(&world.events(), Jtl::default())]);
        assert!(diagnosis.findings.is_empty(), "{name}: {:#?}", diagnosis.findings);
    }
}
