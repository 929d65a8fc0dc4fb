//! What only a person can cure: ever fewer probes, or none, and the way back without a restart.

use bellwether_lifecycle::{Cause, Event, Need, NextAction, Policy, State, Verdict};

use crate::driver::{Fault, PATIENCE, START, Script, World, at, millis, seconds, told};

const DAY: f64 = 86_400.0;

fn refused_until(until: f64, cause: Cause) -> Script {
    Script::granting(300).failing(0.0, until, Fault::new(cause, millis(50)))
}

#[test]
fn a_wrong_secret_is_probed_ever_more_rarely() {
    for pool in [1, 42] {
        let mut world = World::new(1, refused_until(1e9, Cause::Misconfigured));
        let credential = world.start(Policy { pool, ..Policy::DEFAULT });
        world.repeat(START, at(DAY), seconds(1), move |world| {
            world.call(credential, Need::Use, PATIENCE, |_, wait| {
                assert!(
                    matches!(wait.verdict, Verdict::Failed(f) if f.cause == Cause::Misconfigured)
                );
                assert!(wait.took() <= millis(50), "told at once");
            });
        });
        world.run_until(at(DAY));

        let gaps: Vec<f64> = world
            .requests
            .windows(2)
            .map(|pair| pair[1].at.since(pair[0].at).as_secs_f64())
            .collect();
        assert!(gaps[0] < 3.0, "a pool of {pool}: {gaps:?}");
        assert!(gaps.windows(2).all(|pair| pair[1] > pair[0] || pair[1] >= 600.0), "{gaps:?}");
        let last = &gaps[gaps.len() - 100..];
        assert!(last.iter().all(|gap| (600.0..601.0).contains(gap)), "{last:?}");
        let status = world.lifecycle(credential).status();
        assert_eq!((status.state, status.next_action), (State::Misconfigured, NextAction::Probe));
    }
}

/// However long the server was away before, the first probes come soon.
#[test]
fn a_wrong_secret_after_an_outage_is_probed_soon() {
    let away = Fault::new(Cause::Passing, millis(50));
    let refused = Fault::new(Cause::Misconfigured, millis(50));
    let script = Script::granting(300).failing(0.0, 600.0, away).failing(600.0, 606.0, refused);
    let mut world = World::new(6, script);
    let credential = world.start(Policy::DEFAULT);
    world.run_until(at(612.0));
    assert_eq!(world.lifecycle(credential).status().state, State::Fresh);
}

#[test]
fn who_comes_while_a_probe_is_under_way_hears_its_result() {
    let refused = Fault::new(Cause::Misconfigured, millis(50));
    let mut world = World::new(7, Script::granting(300).failing(0.0, 1.0, refused));
    let credential = world.start(Policy::DEFAULT);
    world.run_until(at(1.0));
    let probe = world.lifecycle(credential).status().next_at.expect("a probe");
    world.schedule(probe + millis(50), move |world| {
        world.call(credential, Need::Use, PATIENCE, |_, wait| assert!(wait.is_served()));
    });
    world.run_until(at(5.0));
    assert_eq!(world.waits.len(), 1);
}

#[test]
fn a_corrected_secret_is_used_at_once() {
    let mut world = World::new(2, refused_until(3000.0, Cause::Misconfigured));
    let credential = world.start(Policy::DEFAULT);
    world.schedule(at(3001.0), move |world| world.happen(credential, Event::Reconfigured));
    world.run_until(at(3002.0));
    assert!(world.requests.iter().any(|request| request.at == at(3001.0)));
    assert_eq!(world.lifecycle(credential).status().state, State::Fresh);
}

#[test]
fn a_secret_corrected_at_the_server_is_found_by_a_probe() {
    for corrected in [10.0, 100.0, 1000.0, 10_000.0] {
        let mut world = World::new(3, refused_until(corrected, Cause::Misconfigured));
        let credential = world.start(Policy::DEFAULT);
        world.run_until(at(corrected + 601.0));
        assert_eq!(world.lifecycle(credential).status().state, State::Fresh, "{corrected}");
        assert_eq!(world.published(credential).count(), 1);
    }
}

#[test]
fn a_refused_grant_sends_nothing_for_a_year() {
    for pool in [1, 8] {
        let mut world = World::new(4, refused_until(400.0 * DAY, Cause::Reauthorize));
        let credential = world.start(Policy { pool, ..Policy::DEFAULT });
        world.repeat(at(1.0), at(365.0 * DAY), seconds(3600), move |world| {
            world.call(credential, Need::Use, PATIENCE, |_, wait| {
                assert!(
                    matches!(wait.verdict, Verdict::Failed(f) if f.cause == Cause::Reauthorize)
                );
                assert_eq!(wait.took(), seconds(0));
            });
        });
        // Neither an operator's wish nor a caller's is an authorisation.
        world.schedule(at(DAY), move |world| world.happen(credential, Event::Renew));
        world.schedule(at(2.0 * DAY), move |world| {
            let asked = |waiter, until| Event::NoCache { waiter, until };
            world.ask(credential, PATIENCE, asked, |_, wait| assert!(!wait.is_served()));
        });
        world.run_until(at(365.0 * DAY));
        assert_eq!(world.requests.len(), 1, "a pool of {pool}");
        let status = world.lifecycle(credential).status();
        assert_eq!((status.state, status.next_at), (State::NeedsReauth, None));

        world.happen(credential, Event::Reconfigured);
        assert_eq!(world.requests.len(), 2, "authorised again: sent at once");
    }
}

/// Every state says why, and what comes next.
#[test]
fn a_state_explains_itself() {
    #[rustfmt::skip]
    let cases = [
        (Cause::Passing,       State::BackingOff,    NextAction::Retry,       true),
        (Cause::Throttled,     State::BackingOff,    NextAction::Retry,       true),
        (Cause::InDoubt,       State::InDoubt,       NextAction::Retry,       true),
        (Cause::Misconfigured, State::Misconfigured, NextAction::Probe,       true),
        (Cause::Reauthorize,   State::NeedsReauth,   NextAction::Reauthorize, false),
    ];
    for (cause, state, next_action, has_time) in cases {
        let mut world = World::new(5, refused_until(1e9, cause));
        let credential = world.start(Policy::DEFAULT);
        assert_eq!(world.lifecycle(credential).status().state, State::Renewing);
        world.run_until(at(0.06));
        let status = world.lifecycle(credential).status();
        assert_eq!((status.state, status.next_action), (state, next_action), "{cause:?}");
        assert_eq!((status.cause, status.failures), (Some(cause), 1));
        assert_eq!(told(status.since), 0.05);
        assert_eq!(status.next_at.is_some(), has_time);
    }
}
