//! A request that may have spent the refresh token: sent again only while that is safe, or when
//! nothing is left to lose.

use bellwether_lifecycle::{Cause, Event, Failure, Need, Policy, Replay, State};

use crate::driver::{PATIENCE, Reply, Request, Script, World, at, millis, seconds, told};

/// Grants a first token of 300 s; requests between 100 s and 1000 s end as `faults` says, in turn,
/// the last one for ever.
fn doubtful(replay: Replay, faults: &'static [Cause]) -> (World, usize) {
    let mut turn = 0;
    let endpoint = move |request: &Request| {
        let fails = (100.0..1000.0).contains(&told(request.at));
        let outcome = if fails {
            let cause = faults[turn.min(faults.len() - 1)];
            turn += 1;
            Err(Failure::new(cause))
        } else {
            Ok(Some(seconds(300)))
        };
        Reply { after: millis(1), outcome }
    };
    let mut world = World::new(1, endpoint);
    let credential = world.start(Policy { replay, ..Policy::DEFAULT });
    (world, credential)
}

fn sent_between(world: &World, from: f64, until: f64) -> usize {
    world.requests.iter().filter(|request| (at(from)..at(until)).contains(&request.at)).count()
}

#[test]
fn a_request_in_doubt_is_sent_again_where_that_is_safe() {
    let window = Replay::Within(seconds(10));
    #[rustfmt::skip]
    let cases = [
        // the server takes it again, faults in turn,                   in the window, after it
        (Replay::Free,       &[Cause::InDoubt][..],                     2..=10,        5..=100),
        (window,             &[Cause::InDoubt],                         2..=10,        0..=0),
        (window,             &[Cause::InDoubt, Cause::Passing],         2..=10,        0..=0),
        (window,             &[Cause::InDoubt, Cause::Misconfigured],   2..=10,        0..=0),
        (Replay::LastResort, &[Cause::InDoubt],                         1..=1,         0..=0),
        (Replay::LastResort, &[Cause::Passing],                         2..=10,        5..=100),
        (Replay::LastResort, &[Cause::Passing, Cause::InDoubt],         2..=2,         0..=0),
    ];
    for (replay, faults, soon, later) in cases {
        let (mut world, credential) = doubtful(replay, faults);
        world.repeat(at(1.0), at(299.0), millis(500), move |world| {
            world.call(credential, Need::HandOut, PATIENCE, |_, wait| {
                assert!(wait.is_served() && wait.took() == seconds(0), "{wait:?}");
            });
        });
        world.run_until(at(299.0));
        let case = format!("{replay:?}, {faults:?}");
        let began = told(world.requests[1].at);
        let (soon_sent, later_sent) =
            (sent_between(&world, began, began + 10.0), sent_between(&world, began + 10.0, 299.0));
        assert!(soon.contains(&soon_sent), "{case}: {soon_sent} soon");
        assert!(later.contains(&later_sent), "{case}: {later_sent} later");
        if faults[0] == Cause::InDoubt && !faults.contains(&Cause::Misconfigured) {
            let state = world.lifecycle(credential).status().state;
            assert_eq!(state, State::InDoubt, "{case}: until there is an answer");
        }
        // No usable token is left beside it: now there is nothing to lose.
        world.run_until(at(302.0));
        assert!(sent_between(&world, 299.0, 302.0) >= 1, "{case}: tried at the token's end");
    }
}

#[test]
fn with_nothing_left_to_lose_it_is_tried_at_once() {
    let (mut world, credential) = doubtful(Replay::LastResort, &[Cause::InDoubt]);
    world.run_until(at(280.0));
    assert_eq!(world.requests.len(), 2);
    let generation = world.published_at(credential, 0).expect("a token").held.generation;
    world.happen(credential, Event::FoundDead { member: 0, generation });
    world.run_until(at(281.0));
    assert_eq!(world.requests[2].at, at(280.0), "the held token is dead");

    let fault = crate::driver::Fault::new(Cause::InDoubt, millis(10));
    let mut world = World::new(2, Script::granting(300).failing(0.0, 0.5, fault));
    let credential = world.start(Policy { replay: Replay::LastResort, ..Policy::DEFAULT });
    world.call(credential, Need::Use, PATIENCE, |_, wait| assert!(wait.is_served()));
    world.run_until(at(2.0));
    assert_eq!((world.requests.len(), world.waits.len()), (2, 1));
}
