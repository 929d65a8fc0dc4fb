//! The whole system: nothing goes wrong in many worlds, and whatever is done wrong is seen.

use std::fmt::Write as _;
use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::system::{Mistake, Options, Reading, Stamp, Totals, run};
use bellwether_store as store;

/// Worlds that every run of the tests lives through.
const SEEDS: u64 = 2_000;
/// Worlds in which a mistake must be seen.
const PATIENCE: u64 = 4_000;

#[test]
fn nothing_goes_wrong_in_many_worlds() {
    let mut totals = Totals::default();
    for seed in 0..SEEDS {
        let run = run(seed, Options::default());
        totals.add(&run.totals);
        if let Some(violation) = run.violation {
            panic!(
                "{violation:?}\ncargo run --release -p bellwether-simulation --example simulate -- --seed {seed}"
            );
        }
    }
    assert!(totals.simulated >= Duration::from_secs(3600) * 20_000, "{totals:?}");
    assert!(totals.fault_count() > 100_000, "{totals:?}");
    for (fault, count) in totals.faults() {
        assert!(count > 0, "{fault} never came");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 4, 17] {
        let options = Options { is_traced: true, ..Options::default() };
        let (first, second) = (run(seed, options), run(seed, options));
        assert_eq!(first.totals, second.totals);
        assert!(first.trace == second.trace && first.trace.len() > 100, "seed {seed}");
    }
    let quiet = run(3, Options::default()).totals;
    let traced = run(3, Options { is_traced: true, ..Options::default() }).totals;
    assert_eq!(quiet, traced, "who looks on changes nothing");
}

#[test]
fn every_planted_mistake_is_caught() {
    let mut table = String::new();
    let mut missed = Vec::new();
    for mistake in Mistake::ALL {
        let options = Options { mistake: Some(mistake), ..Options::default() };
        let caught = (0..PATIENCE).find_map(|seed| Some((seed, run(seed, options).violation?)));
        match caught {
            Some((seed, violation)) => {
                let name = format!("{mistake:?}");
                let seeds = seed + 1;
                writeln!(table, "{name:<30}{seeds:>6}  {}", violation.invariant).unwrap();
            }
            None => missed.push(mistake),
        }
    }
    println!("{table}");
    assert!(missed.is_empty(), "{missed:?} were not seen in {PATIENCE} worlds");
    assert!(Mistake::ALL.len() >= 40);
}

#[test]
fn instants_are_kept_as_the_store_keeps_them() {
    let minutes = [-5_000_000, -90, -1, 0, 1, 90, 5_000_000];
    for (boot, ahead, up_for, wall_moved) in [7, 8]
        .into_iter()
        .flat_map(|boot| [-3_000, 0, 40, 90_000].map(|ahead| (boot, ahead)))
        .flat_map(|(boot, ahead)| [1, 700, 2_000_000].map(|up_for| (boot, ahead, up_for)))
        .flat_map(|(boot, ahead, up_for)| minutes.map(|moved| (boot, ahead, up_for, moved)))
    {
        let wall = UnixTime::from_secs(1_800_000_000);
        let at = Timestamp::from_secs(5_000);
        let instant = Timestamp::from_secs(5_000_u64.saturating_add_signed(ahead));
        let later = UnixTime::from_secs(1_800_000_000_u64.saturating_add_signed(wall_moved * 60));
        let then = Timestamp::from_secs(up_for);
        let ours = Stamp::seen_from(instant, Reading { at, wall, boot: 7 }).resolve(Reading {
            at: then,
            wall: later,
            boot,
        });
        let boot_id = |boot: u64| store::BootId::from_u128(u128::from(boot));
        let theirs = store::Stamp::seen_from(instant, store::Moment { at, wall, boot: boot_id(7) })
            .resolve_at(store::Moment { at: then, wall: later, boot: boot_id(boot) });
        assert_eq!(ours, theirs, "{boot} {ahead} {up_for} {wall_moved}");
    }
}
