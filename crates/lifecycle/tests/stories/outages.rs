//! Faults that pass: what is held goes on being served, few requests are sent, nobody is forgotten.

use bellwether_lifecycle::{
    Cause, Chance, Demand, Event, Failure, Held, Need, Policy, Timestamp, Verdict,
};

use crate::driver::{
    Fault, PATIENCE, Reply, Request, START, Script, SplitMix, World, at, millis, seconds, told,
};

#[test]
fn a_valid_token_is_served_while_its_renewal_runs_and_to_its_very_end() {
    #[rustfmt::skip]
    let cases = [
        // what the endpoint does after 100 s
        ("refuses at once",    Fault::new(Cause::Passing, millis(2))),
        ("answers slowly",     Fault::new(Cause::Passing, seconds(4))),
        ("says nothing",       Fault::new(Cause::Passing, seconds(30))),
        ("throttles",          Fault { after: millis(50), failure: Failure { cause: Cause::Throttled, retry_after: Some(seconds(60)) } }),
        ("refuses the client", Fault::new(Cause::Misconfigured, millis(50))),
        ("refuses the grant",  Fault::new(Cause::Reauthorize, millis(50))),
        ("leaves it in doubt", Fault::new(Cause::InDoubt, millis(50))),
    ];
    for (name, fault) in cases {
        for need in [Need::Use, Need::HandOut] {
            let script = Script::granting(300).latency(millis(1)).failing(100.0, 1000.0, fault);
            let mut world = World::new(1, script);
            let credential = world.start(Policy::DEFAULT);
            world.repeat(at(0.5), at(299.9), millis(500), move |world| {
                world.call(credential, need, PATIENCE, move |_, wait| {
                    assert!(wait.is_served(), "{name}, {need:?}: {wait:?}");
                    assert_eq!(wait.took(), seconds(0), "{name}, {need:?}");
                });
            });
            world.repeat(at(300.0), at(350.0), seconds(1), move |world| {
                world.call(credential, need, PATIENCE, |_, wait| assert!(!wait.is_served()));
            });
            world.run_until(at(400.0));
            let failing = world.requests.iter().filter(|request| request.at >= at(100.0));
            assert!(failing.count() >= 1, "{name}: its renewal was tried");
        }
    }
}

/// 10,000 callers come while the first request is under way, and it fails.
#[test]
fn ten_thousand_waiters_share_one_failure() {
    for (cause, most_requests) in [(Cause::Misconfigured, 1), (Cause::Reauthorize, 1)] {
        let fault = Fault::new(cause, millis(100));
        let mut world = crowd(Script::granting(300).failing(0.0, 1000.0, fault));
        world.run_until(at(1.0));
        assert_eq!(world.requests.len(), most_requests, "{cause:?}");
        assert_eq!(world.waits.len(), 10_000, "{cause:?}");
        for wait in &world.waits {
            assert_eq!(told(wait.answered_at), 0.1, "{cause:?}");
            assert_eq!(wait.verdict, Verdict::Failed(Failure::new(cause)));
        }
    }

    let fault = Fault::new(Cause::Passing, millis(100));
    let mut world = crowd(Script::granting(300).failing(0.0, 5.0, fault));
    world.run_until(at(4.9));
    assert_eq!(world.waits.len(), 0, "a fault that may pass: all are held");
    world.run_until(at(10.0));
    let after = world.requests.iter().filter(|request| request.at >= at(5.0)).count();
    assert_eq!(after, 1, "one request serves them all");
    assert_eq!(world.waits.iter().filter(|wait| wait.is_served()).count(), 10_000);
}

fn crowd(script: Script) -> World {
    let mut world = World::new(1, script);
    let credential = world.add(Policy::DEFAULT);
    for i in 0..10_000 {
        world.schedule(START + millis(i / 150), move |world| {
            world.call(credential, Need::Use, PATIENCE, |_, _| {});
        });
    }
    world
}

/// A storm: 200 callers want a token while the endpoint fails, and come back after a failure.
#[derive(Clone, Copy, Debug)]
struct Storm {
    cause: Cause,
    retry_after: Option<u64>,
    outage: f64,
    answers_after_ms: u64,
    in_step: bool,
    patience_ms: u64,
    pool: u16,
}

#[test]
fn a_storm_of_callers_is_a_handful_of_requests() {
    let mut worst = [0; 2];
    #[rustfmt::skip]
    let answers = [
        (Cause::Passing,   None),
        (Cause::Throttled, None),
        (Cause::Throttled, Some(2)),
    ];
    for (cause, retry_after) in answers {
        for (outage, most_requests) in [(2.0, 5), (10.0, 8)] {
            for (pool, patience_ms) in [(1, 14_000), (1, 700), (1, 0), (42, 14_000), (42, 0)] {
                for (answers_after_ms, in_step) in [(50, true), (50, false), (2, true), (2, false)]
                {
                    let storm = Storm {
                        cause,
                        retry_after,
                        outage,
                        answers_after_ms,
                        in_step,
                        patience_ms,
                        pool,
                    };
                    for spread in [Spread::Least, Spread::Most, Spread::Random(1)] {
                        let count = weather(storm, spread);
                        assert!(count <= most_requests, "{count} in {storm:?}, {spread:?}");
                        let worst = &mut worst[usize::from(outage > 2.0)];
                        *worst = count.max(*worst);
                    }
                }
            }
        }
    }
    assert!(worst[0] >= 3 && worst[1] >= 6, "recovery is looked for: {worst:?}");
}

#[derive(Clone, Copy, Debug)]
enum Spread {
    Least,
    Most,
    Random(u64),
}

/// How many requests a storm costs, the one that ends it included.
fn weather(storm: Storm, spread: Spread) -> usize {
    let failure = Failure { cause: storm.cause, retry_after: storm.retry_after.map(seconds) };
    let after = millis(storm.answers_after_ms);
    let script = Script::granting(300).failing(0.0, storm.outage, Fault { after, failure });
    let mut world = World::new(1, script);
    match spread {
        Spread::Least => world.chance = Box::new(|| 0.0),
        Spread::Most => world.chance = Box::new(|| 0.999),
        Spread::Random(seed) => world.chance = Box::new(SplitMix(seed)),
    }
    let credential = world.add(Policy { pool: storm.pool, ..Policy::DEFAULT });
    let served = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    for caller in 0..200 {
        let served = served.clone();
        world.schedule(START, move |world| {
            insist(
                world,
                credential,
                storm,
                SplitMix(caller),
                Box::new(move |at| served.borrow_mut().push(at)),
            );
        });
    }
    world.run_until(at(40.0));

    let case = format!("{storm:?}, {spread:?}");
    let served = served.borrow();
    assert_eq!(served.len(), 200, "{case}");
    let failed = world.requests.iter().filter(|request| request.at < at(storm.outage)).count();
    let cure = world.requests[failed];
    let late = cure.at.since(at(storm.outage));
    assert!(late <= seconds(5), "{late:?} after recovery: {case}");
    let last = served.iter().max().copied().unwrap_or_default();
    assert!(last <= cure.at + millis(251), "one attempt serves them all: {case}");
    let then = world.requests.len() - failed;
    assert_eq!(then, usize::from(storm.pool), "and fills the pool: {case}");
    if let Some(retry_after) = storm.retry_after {
        for pair in world.requests[..=failed].windows(2) {
            let pause = pair[1].at.since(pair[0].at + after);
            assert!(pause >= seconds(retry_after), "{pause:?}: {case}");
        }
    }
    failed + 1
}

fn insist(
    world: &mut World,
    credential: usize,
    storm: Storm,
    mut chance: SplitMix,
    served: Box<dyn FnOnce(Timestamp)>,
) {
    world.call(credential, Need::HandOut, millis(storm.patience_ms), move |world, wait| {
        if wait.is_served() {
            return served(world.now);
        }
        let spread = if storm.in_step { 0.5 } else { chance.unit() };
        let again = world.now + millis(50) + seconds(1).mul_f64(0.1 * spread);
        world.schedule(again, move |world| insist(world, credential, storm, chance, served));
    });
}

/// 500 credentials of one server, whose renewals fall due all the time, and a minute without it.
#[test]
fn an_outage_costs_a_handful_of_requests_not_one_per_credential() {
    let fault = Fault::new(Cause::Passing, millis(50));
    let mut world = World::new(4, Script::granting(300).failing(3600.0, 3660.0, fault));
    for _ in 0..500 {
        let credential = world.start(Policy::DEFAULT);
        world.repeat(at(1.0), at(5000.0), seconds(10), move |world| {
            world.call(credential, Need::HandOut, PATIENCE, |_, wait| {
                assert!(wait.is_served());
                assert_eq!(wait.took(), seconds(0), "at {}", told(wait.asked_at));
            });
        });
    }
    world.run_until(at(5000.0));
    let during = |from: f64, until: f64| {
        world.requests.iter().filter(|r| (at(from)..at(until)).contains(&r.at)).count()
    };
    assert!(during(3600.0, 3660.0) <= 18, "{} in a minute's outage", during(3600.0, 3660.0));
    assert!(during(3660.0, 3960.0) >= 500, "all are renewed afterwards");
}

/// 10,000 credentials, and a server that was away for longer than their tokens live.
#[test]
fn a_server_that_comes_back_is_not_run_over() {
    let fault = Fault::new(Cause::Passing, millis(50));
    let mut world = World::new(11, Script::granting(300).failing(1000.0, 1600.0, fault));
    let credentials: Vec<_> = (0..10_000).map(|_| world.start(Policy::DEFAULT)).collect();
    world.run_until(at(60.0));
    let held = |world: &World| {
        let alive = |credential| world.published(credential).any(|t| t.held.is_alive(world.now));
        credentials.iter().filter(|&&credential| alive(credential)).count()
    };
    assert_eq!(held(&world), 10_000, "a minute after the start");
    world.run_until(at(1600.0));
    assert_eq!(held(&world), 0);
    let before = world.requests.len();
    world.run_until(at(1660.0));
    assert_eq!(held(&world), 10_000, "a minute after the server came back");

    let after = &world.requests[before..];
    let fullest = after.iter().map(|first| {
        let near = first.at..first.at + millis(100);
        after[first.number - before..].iter().take_while(|r| near.contains(&r.at)).count()
    });
    assert!(fullest.max() <= Some(64), "few at once");
    let early = after.iter().filter(|r| r.at < after[0].at + millis(350)).count();
    assert!(early <= 15, "{early} at the very beginning");
}

/// A fault in the middle of many requests at once is one fault.
#[test]
fn many_requests_that_fail_together_are_one_failure() {
    let fault = Fault::new(Cause::Passing, millis(50));
    let script = Script::granting(300).failing(1000.0, 1000.1, fault);
    let mut world = World::new(5, script);
    let credentials: Vec<_> = (0..42).map(|_| world.start(Policy::DEFAULT)).collect();
    let pool = world.start(Policy { pool: 16, ..Policy::DEFAULT });
    for credential in credentials.into_iter().chain([pool]) {
        world.schedule(at(1000.0), move |world| {
            world.happen(credential, Event::Renew);
        });
    }
    let status = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let noted = status.clone();
    world.schedule(at(1000.3), move |world| {
        *noted.borrow_mut() = vec![world.lifecycle(pool).status().failures];
    });
    world.run_until(at(1100.0));
    assert_eq!(*status.borrow(), [1], "two of the pool failed together");
    let failed = world.requests.iter().filter(|r| r.at == at(1000.0)).count();
    assert!(failed > 40, "{failed} failed together");
    let next = world.requests.iter().find(|r| r.at > at(1000.0)).expect("another attempt");
    assert!(told(next.at) < 1001.6, "the next attempt at {}", told(next.at));
}

#[test]
fn retry_after_holds_for_a_whole_pool() {
    let replies = |request: &Request| {
        let told = told(request.at);
        let retry_after = (request.member == 0).then(|| seconds(30));
        let failure = Failure { cause: Cause::Throttled, retry_after };
        let outcome =
            if (200.0..240.0).contains(&told) { Err(failure) } else { Ok(Some(seconds(3600))) };
        // The one without `Retry-After` is heard last.
        Reply { after: millis(50 + 10 * u64::from(request.member)), outcome }
    };
    let mut world = World::new(6, replies);
    let credential = world.start(Policy { pool: 2, ..Policy::DEFAULT });
    world.schedule(at(200.0), move |world| {
        world.happen(credential, Event::Renew);
    });
    world.run_until(at(300.0));
    let mut after = world.requests.iter().filter(|r| r.at > at(200.0));
    let next = after.next().expect("another attempt");
    assert!(told(next.at) >= 230.05, "{}", told(next.at));
}

#[test]
fn nobody_waits_longer_than_they_said() {
    #[rustfmt::skip]
    let cases = [
        ("says nothing for a minute", Fault::new(Cause::Passing, seconds(60))),
        ("refuses at once",           Fault::new(Cause::Passing, millis(1))),
        ("throttles for long",        Fault { after: millis(50), failure: Failure { cause: Cause::Throttled, retry_after: Some(seconds(600)) } }),
        ("leaves it in doubt",        Fault::new(Cause::InDoubt, seconds(3))),
    ];
    for (name, fault) in cases {
        for pool in [1, 3] {
            let mut world = World::new(7, Script::granting(300).failing(0.0, 500.0, fault));
            let credential = world.start(Policy { pool, ..Policy::DEFAULT });
            let mut chance = SplitMix(8);
            world.repeat(START, at(400.0), millis(100), move |world| {
                let patience = seconds(20).mul_f64(chance.unit());
                world.call(credential, Need::HandOut, patience, |_, wait| {
                    let Verdict::Failed(failure) = wait.verdict else { panic!("{wait:?}") };
                    assert!(failure.retry_after >= Some(seconds(1)), "says when to come back");
                });
            });
            // The world itself checks that no answer is late.
            world.run_until(at(430.0));
            assert_eq!(world.waits.len(), 4000, "{name}, a pool of {pool}");
        }
    }
}

/// When the next attempt comes too late for a caller, the answer comes at once.
#[test]
fn who_cannot_be_served_in_time_is_told_at_once() {
    let failure = Failure { cause: Cause::Throttled, retry_after: Some(seconds(60)) };
    let fault = Fault { after: millis(50), failure };
    let mut world = World::new(9, Script::granting(300).failing(0.0, 30.0, fault));
    let credential = world.start(Policy::DEFAULT);
    for second in 1..=70 {
        world.schedule(START + seconds(second), move |world| {
            world.call(credential, Need::Use, PATIENCE, move |_, wait| match wait.verdict {
                Verdict::Failed(Failure { retry_after: Some(after), .. }) => {
                    assert_eq!(wait.took(), seconds(0));
                    assert!(second <= 46, "{second}");
                    assert!(told(wait.asked_at + after) >= 60.0, "not before the next attempt");
                }
                Verdict::Serve { .. } => assert!(second > 46, "{second}"),
                Verdict::Failed(_) | Verdict::Keep => panic!("{wait:?}"),
            });
        });
    }
    world.run_until(at(100.0));
    assert_eq!(world.requests.len(), 2);
}

/// A token in its last minute, say after the broker was down, and a server that says nothing.
#[test]
fn a_short_token_is_better_than_a_long_wait() {
    let fault = Fault::new(Cause::Passing, seconds(60));
    let mut world = World::new(12, Script::granting(300).failing(0.0, 500.0, fault));
    let credential = world.add(Policy::DEFAULT);
    let held = Held { generation: 1, sent_at: START - seconds(260), lifetime: Some(seconds(300)) };
    world.happen(credential, Event::Restored { member: 0, held });
    world.happen(credential, Event::Woken);
    for (asked, waits) in [(0.1, 1.9), (1.0, 1.0), (2.5, 0.0), (39.0, 0.0)] {
        world.schedule(at(asked), move |world| {
            world.call(credential, Need::HandOut, PATIENCE, move |_, wait| {
                assert!(wait.is_served());
                let waited = wait.took().as_secs_f64();
                assert!((waited - waits).abs() < 0.001, "{waited} s, asked at {asked}");
            });
        });
    }
    world.run_until(at(45.0));
    assert_eq!(world.waits.len(), 4);
}

/// Nobody is left to renew for: no retries either.
#[test]
fn a_caller_of_its_own_secret_who_gave_up_is_not_retried_for() {
    let fault = Fault::new(Cause::Passing, millis(50));
    let mut world = World::new(10, Script::granting(300).failing(0.0, 1e6, fault));
    let demand = Demand::WhileUsed { idle_after: seconds(86_400) };
    let credential = world.start(Policy { demand, ..Policy::DEFAULT });
    world.call(credential, Need::Use, PATIENCE, |_, wait| assert!(!wait.is_served()));
    world.run_until(at(20.0));
    let count = world.requests.len();
    world.run_until(at(86_400.0));
    assert_eq!(world.requests.len(), count);
}
