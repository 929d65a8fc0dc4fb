//! Tokens that die early: what a newer token cures is cured by few renewals, what it does not cure
//! never becomes a loop.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use bellwether_lifecycle::{Budget, Event, Held, Need, Policy, Take, Timestamp, Verdict};

use crate::driver::{
    PATIENCE, Published, START, Script, SplitMix, World, at, millis, seconds, told,
};

type Rule = dyn Fn(&Published, Path) -> bool;

/// An API that refuses tokens by a rule, and what its callers saw.
#[derive(Clone)]
struct Api {
    credential: usize,
    refuses: Rc<Rule>,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// When the request whose token was taken last was sent, by request number.
    accepted: std::collections::HashMap<usize, Timestamp>,
    ok: u64,
    cured: u64,
    /// 401s that were passed on to a caller.
    passed_on: Vec<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Open,
    Forbidden,
}

const API_LATENCY: std::time::Duration = millis(50);

impl Api {
    fn new(credential: usize, refuses: impl Fn(&Published, Path) -> bool + 'static) -> Self {
        Self { credential, refuses: Rc::new(refuses), seen: Rc::default() }
    }

    /// A request with the pool's `turn`th token; a 401 is reported, and cured by one replay.
    fn request(&self, world: &mut World, path: Path, turn: u64) {
        let published: Vec<_> = world.published(self.credential).collect();
        let api = self.clone();
        if published.is_empty() {
            world.call(self.credential, Need::Use, PATIENCE, move |world, wait| {
                if let Some(token) = wait.token {
                    api.send(world, token, path, false);
                }
            });
        } else {
            let token = published[turn as usize % published.len()];
            self.send(world, token, path, false);
        }
    }

    fn send(&self, world: &mut World, token: Published, path: Path, is_replay: bool) {
        let (api, sent_at) = (self.clone(), world.now);
        world.schedule(sent_at + API_LATENCY, move |world| {
            if (api.refuses)(&token, path) {
                api.refused(world, token, path, sent_at, is_replay);
            } else {
                api.accepted(world, token, sent_at, is_replay);
            }
        });
    }

    fn accepted(&self, world: &mut World, token: Published, sent_at: Timestamp, is_replay: bool) {
        let first = {
            let mut seen = self.seen.borrow_mut();
            seen.ok += 1;
            seen.cured += u64::from(is_replay);
            let before = seen.accepted.insert(token.number, sent_at);
            before.is_none()
        };
        if first {
            let Published { member, held, .. } = token;
            let event = Event::Accepted { member, generation: held.generation };
            world.happen(self.credential, event);
        }
    }

    fn refused(
        &self,
        world: &mut World,
        token: Published,
        path: Path,
        sent_at: Timestamp,
        is_replay: bool,
    ) {
        let accepted = self.seen.borrow().accepted.get(&token.number).copied();
        let event = move |waiter, until| Event::Refused {
            waiter,
            member: token.member,
            generation: token.held.generation,
            accepted_since: accepted.is_some_and(|accepted| accepted > sent_at),
            until,
        };
        if is_replay {
            let Published { member, held, .. } = token;
            let event = Event::ReplayRefused { member, generation: held.generation };
            world.happen(self.credential, event);
            return self.seen.borrow_mut().passed_on.push(world.now);
        }
        let api = self.clone();
        world.ask(self.credential, PATIENCE, event, move |world, wait| match wait.token {
            Some(newer) => api.send(world, newer, path, true),
            None => api.seen.borrow_mut().passed_on.push(world.now),
        });
    }

    fn passed_on(&self) -> usize {
        self.seen.borrow().passed_on.len()
    }
}

/// Refuses the tokens that are listed.
fn revocable(credential: usize) -> (Api, Rc<RefCell<BTreeSet<usize>>>) {
    let revoked = Rc::new(RefCell::new(BTreeSet::new()));
    let known = revoked.clone();
    (Api::new(credential, move |token, _| known.borrow().contains(&token.number)), revoked)
}

#[test]
fn a_thousand_late_refusals_are_one_renewal_or_none() {
    for (late, renewals) in [(true, 0), (false, 1)] {
        let mut world = World::new(1, Script::granting(3600));
        let credential = world.start(Policy::DEFAULT);
        world.run_until(at(10.0));
        let old = world.published_at(credential, 0).expect("a token").held.generation;
        if late {
            world.happen(credential, Event::Renew);
            world.run_until(at(20.0));
        }
        let before = world.requests.len();
        let newest = old + 1;
        let mut chance = SplitMix(1);
        for _ in 0..1000 {
            let refused_at = world.now + millis(chance.next() % 80);
            world.schedule(refused_at, move |world| {
                let event = |waiter, until| Event::Refused {
                    waiter,
                    member: 0,
                    generation: old,
                    accepted_since: false,
                    until,
                };
                world.ask(credential, PATIENCE, event, move |_, wait| {
                    let token = wait.token.expect("a newer token");
                    assert_eq!(token.held.generation, newest);
                });
            });
        }
        world.run_until(at(100.0));
        assert_eq!(world.requests.len() - before, renewals, "late: {late}");
        assert_eq!(world.waits.len(), 1000);
    }
}

#[test]
fn an_api_that_always_answers_401_is_not_renewed_for_in_a_loop() {
    for pool in [1, 42] {
        let mut world = World::new(2, Script::granting(86_400));
        let credential = world.start(Policy { pool, ..Policy::DEFAULT });
        world.run_until(at(100.0));
        let before = world.requests.len();
        let api = Api::new(credential, |_, _| true);
        let (asking, mut turn) = (api.clone(), 0);
        world.repeat(at(100.0), at(100.0 + 7200.0), millis(200), move |world| {
            turn += 1;
            asking.request(world, Path::Forbidden, turn);
        });
        world.run_until(at(100.0 + 7300.0));

        let forced: Vec<f64> =
            world.requests[before..].iter().map(|request| told(request.at) - 100.0).collect();
        let in_two_minutes = forced.iter().filter(|&&at| at < 120.0).count();
        assert!(in_two_minutes <= 3, "a pool of {pool}: {forced:?}");
        let gaps: Vec<f64> = forced.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[0] >= 30.0, "{gaps:?}");
        assert!(gaps.windows(2).all(|pair| pair[1] > pair[0] || pair[1] >= 600.0), "{gaps:?}");
        assert_eq!(api.passed_on(), 36_000, "every 401 reaches its caller");
        let stands = world.waits.iter().filter(|wait| wait.verdict == Verdict::Keep).count();
        assert!(stands >= 35_900, "{stands}");
    }
}

/// One path is forbidden, the others are not: the token is good.
#[test]
fn a_forbidden_path_beside_good_ones_is_not_renewed_for_in_a_loop() {
    #[rustfmt::skip]
    let cases = [
        // forbidden every, good ones every, starting, renewals in an hour
        (millis(5000), millis(7000), millis(0),   12),
        (millis(5000), millis(5000), millis(200), 12),
        (millis(1000), millis(100),  millis(5),   12),
        (millis(100),  millis(3000), millis(20),  12),
        (millis(5000), millis(40),   millis(0),   12),
        (millis(5000), millis(1),    millis(0),   12),
    ];
    for (forbidden, good, offset, most) in cases {
        let mut world = World::new(3, Script::granting(86_400));
        let credential = world.start(Policy::DEFAULT);
        world.run_until(at(100.0));
        let api = Api::new(credential, |_, path| path == Path::Forbidden);
        let (asking, end) = (api.clone(), at(3700.0));
        world.repeat(at(100.0), end, forbidden, move |world| {
            asking.request(world, Path::Forbidden, 0);
        });
        let asking = api.clone();
        world.repeat(at(100.0) + offset, end, good, move |world| {
            asking.request(world, Path::Open, 0);
        });
        world.run_until(end);
        let renewals = world.requests.len() - 1;
        assert!(renewals <= most, "{renewals}: {forbidden:?} forbidden, {good:?} good");
    }
}

/// The API takes a cure's token for others, and refuses it for the request that was to be cured.
#[test]
fn a_cure_that_others_alone_can_use_is_none() {
    #[rustfmt::skip]
    let cases = [
        // how the second refusal is told,                forced again at once
        (None,                                             true),
        (Some(("as the replay's", false)),                 false),
        (Some(("beside a later request that was taken", true)), false),
    ];
    for (second, forces) in cases {
        let mut world = World::new(11, Script::granting(3600));
        let credential = world.start(Policy::DEFAULT);
        world.run_until(at(100.0));
        let refuse = |world: &mut World, generation, accepted_since| {
            let event = move |waiter, until| Event::Refused {
                waiter,
                member: 0,
                generation,
                accepted_since,
                until,
            };
            world.ask(credential, PATIENCE, event, |_, _| {});
        };
        refuse(&mut world, 1, false);
        world.run_until(at(100.2));
        world.happen(credential, Event::Accepted { member: 0, generation: 2 });
        match second {
            Some((_, true)) => refuse(&mut world, 2, true),
            Some((_, false)) => {
                world.happen(credential, Event::ReplayRefused { member: 0, generation: 2 });
            }
            None => {}
        }
        world.run_until(at(105.0));
        refuse(&mut world, 2, false);
        world.run_until(at(106.0));
        assert_eq!(world.requests.len() == 3, forces, "{second:?}");
    }
}

#[test]
fn a_revoked_token_is_cured_each_time() {
    let mut world = World::new(4, Script::granting(3600));
    let credential = world.start(Policy::DEFAULT);
    let (api, revoked) = revocable(credential);
    world.run_until(at(10.0));
    // Three times in quick succession, then every ten minutes.
    let times = [10.0, 11.0, 12.0].into_iter().chain((1..=20).map(|i| f64::from(i) * 600.0));
    for time in times {
        let revoked = revoked.clone();
        world.schedule(at(time), move |world| {
            revoked.borrow_mut().extend(world.published(credential).map(|token| token.number));
        });
    }
    let asking = api.clone();
    world.repeat(at(10.05), at(12_100.0), millis(100), move |world| {
        asking.request(world, Path::Open, 0);
    });
    world.run_until(at(12_200.0));
    assert_eq!(api.passed_on(), 0, "nobody sees a 401 that a newer token cures");
    assert!(api.seen.borrow().cured >= 23);
}

#[test]
fn a_mass_revocation_is_cured() {
    for agents in [1, 50] {
        let mut world = World::new(5, Script::granting(86_400));
        let credential = world.start(Policy { pool: 42, ..Policy::DEFAULT });
        let (api, revoked) = revocable(credential);
        world.run_until(at(100.0));
        revoked.borrow_mut().extend(world.published(credential).map(|token| token.number));
        for agent in 0..agents {
            let (asking, mut turn) = (api.clone(), agent);
            let from = at(100.0) + millis(agent * 4);
            world.repeat(from, at(200.0), millis(200), move |world| {
                turn += agents;
                asking.request(world, Path::Open, turn);
            });
        }
        world.run_until(at(130.0));
        let dead = world.published(credential).filter(|t| revoked.borrow().contains(&t.number));
        assert_eq!(dead.count(), 0, "{agents} agents: all are replaced");
        world.run_until(at(220.0));
        assert_eq!(api.passed_on(), 0, "{agents} agents: nobody sees a 401");
        assert_eq!(world.requests.len(), 84, "{agents} agents: one renewal each");
    }
}

/// 50 workers take their tokens from the pool's budget, as the library does, and one token's cure
/// tells of the others: each dead token costs about one 401, not one for each worker.
#[test]
fn a_mass_revocation_costs_few_401s() {
    const POOL: u16 = 42;
    let mut world = World::new(6, Script::granting(86_400));
    let credential = world.start(Policy { pool: POOL, ..Policy::DEFAULT });
    let revoked = Rc::new(RefCell::new(BTreeSet::new()));
    world.run_until(at(100.0));
    revoked.borrow_mut().extend(world.published(credential).map(|token| token.number));
    let budget = Rc::new(RefCell::new(Budget::new(None, POOL)));
    let seen = Rc::new(RefCell::new((0_u32, 0_u32)));
    let accepted = Rc::new(RefCell::new(BTreeSet::new()));
    // 200 requests a second, each answered after 50 ms.
    world.repeat(at(100.0), at(160.0), millis(5), move |world| {
        for member in 0..POOL {
            let generation = world.published_at(credential, member).map(|t| t.held.generation);
            budget.borrow_mut().publish(member, generation);
        }
        let Take::Spend { member } = budget.borrow_mut().take(world.now) else { return };
        let token = world.published_at(credential, member).expect("it was published");
        let Published { number, held: Held { generation, .. }, .. } = token;
        let (budget, seen) = (budget.clone(), seen.clone());
        let (revoked, accepted) = (revoked.clone(), accepted.clone());
        let told = seen.clone();
        world.schedule(world.now + API_LATENCY, move |world| {
            if !revoked.borrow().contains(&number) {
                seen.borrow_mut().0 += 1;
                if accepted.borrow_mut().insert(number) {
                    world.happen(credential, Event::Accepted { member, generation });
                }
                return;
            }
            seen.borrow_mut().1 += 1;
            budget.borrow_mut().refused(member, generation, world.now);
            let accepted_since = false;
            let event = move |waiter, until| Event::Refused {
                waiter,
                member,
                generation,
                accepted_since,
                until,
            };
            world.ask(credential, PATIENCE, event, |_, _| {});
        });
        if world.now > at(159.0) {
            let (ok, refused) = *told.borrow();
            assert!(refused <= 2 * u32::from(POOL), "{refused} 401s, {ok} good");
            assert!(ok >= 11_000, "{ok} of 12,000");
        }
    });
    world.run_until(at(161.0));
    assert!(world.requests.len() <= 2 * usize::from(POOL), "{}", world.requests.len());
}

/// The caller that would have told whether the cure worked has gone.
#[test]
fn a_cure_nobody_reports_on_holds_nobody_up() {
    for (later, forces) in [(1.0, false), (11.0, true)] {
        let mut world = World::new(12, Script::granting(3600));
        let credential = world.start(Policy { pool: 2, ..Policy::DEFAULT });
        world.run_until(at(100.0));
        for (time, member) in [(100.0, 0), (100.0 + later, 1)] {
            world.schedule(at(time), move |world| {
                let event = |waiter, until| Event::Refused {
                    waiter,
                    member,
                    generation: 1,
                    accepted_since: false,
                    until,
                };
                world.ask(credential, PATIENCE, event, |_, wait| {
                    assert_eq!(wait.token.map(|token| token.held.generation), Some(2));
                });
            });
        }
        world.run_until(at(120.0));
        assert_eq!(world.requests.len(), if forces { 4 } else { 3 }, "{later} s later");
        assert_eq!(world.waits.len(), 2);
    }
}

#[test]
fn a_token_that_was_found_dead_goes_to_nobody() {
    let mut world = World::new(6, Script::granting(3600));
    let credential = world.start(Policy::DEFAULT);
    world.run_until(at(100.0));
    let dead = world.published_at(credential, 0).expect("a token").held.generation;
    world.happen(credential, Event::FoundDead { member: 0, generation: dead });
    world.happen(credential, Event::FoundDead { member: 0, generation: dead });
    assert_eq!(world.published(credential).count(), 0);
    for _ in 0..100 {
        world.call(credential, Need::HandOut, PATIENCE, move |_, wait| {
            assert!(wait.token.is_some_and(|token| token.held.generation > dead));
        });
    }
    world.run_until(at(101.0));
    assert_eq!((world.requests.len(), world.waits.len()), (2, 100));
    world.happen(credential, Event::FoundDead { member: 0, generation: dead });
    assert_eq!(world.published(credential).count(), 1, "old news");
}

/// A check that cannot succeed, its path being forbidden say, is no reason to renew without end.
#[test]
fn a_check_that_always_fails_is_not_renewed_for_in_a_loop() {
    let mut world = World::new(7, Script::granting(86_400));
    let credential = world.start(Policy::DEFAULT);
    world.repeat(at(30.0), at(7230.0), seconds(30), move |world| {
        if let Some(token) = world.published_at(credential, 0) {
            let generation = token.held.generation;
            world.happen(credential, Event::FoundDead { member: 0, generation });
        }
    });
    world.run_until(at(7300.0));
    assert!(world.requests.len() <= 20, "{} requests", world.requests.len());
}

#[test]
fn no_cache_renews_once_in_ten_seconds_and_no_young_token() {
    let mut world = World::new(8, Script::granting(3600));
    let credential = world.start(Policy::DEFAULT);
    // From the start: ten callers together, ten times a second, for ten minutes.
    world.repeat(at(0.05), at(600.0), millis(100), move |world| {
        for _ in 0..10 {
            let event = |waiter, until| Event::NoCache { waiter, until };
            world.ask(credential, PATIENCE, event, |world, wait| {
                assert!(wait.is_served());
                let age = world.now.since(wait.token.expect("a token").held.sent_at);
                assert!(age <= millis(10_200), "{age:?} old");
            });
        }
    });
    world.run_until(at(620.0));
    let gaps = world.requests.windows(2).map(|pair| pair[1].at.since(pair[0].at));
    assert!(gaps.min() >= Some(seconds(10)));
    assert!((55..=61).contains(&world.requests.len()), "{} requests", world.requests.len());
}

/// They come together because their token died: the first one's renewal is theirs too.
#[test]
fn those_who_say_no_cache_together_get_the_same_new_token() {
    let mut world = World::new(9, Script::granting(3600));
    let credential = world.start(Policy::DEFAULT);
    world.run_until(at(100.0));
    for caller in 0..200 {
        world.schedule(at(100.0) + millis(caller / 3), move |world| {
            let event = |waiter, until| Event::NoCache { waiter, until };
            world.ask(credential, PATIENCE, event, |_, wait| {
                assert_eq!(wait.token.expect("a token").held.generation, 2);
            });
        });
    }
    world.run_until(at(101.0));
    assert_eq!((world.requests.len(), world.waits.len()), (2, 200));
}

/// `no-cache` is a wish: what is held is better than nothing.
#[test]
fn no_cache_gets_what_is_held_while_renewal_fails() {
    use crate::driver::Fault;
    use bellwether_lifecycle::Cause;

    for cause in [Cause::Passing, Cause::Misconfigured, Cause::Reauthorize] {
        let fault = Fault::new(cause, millis(50));
        let mut world = World::new(10, Script::granting(3600).failing(50.0, 1e6, fault));
        let credential = world.start(Policy::DEFAULT);
        world.repeat(at(100.0), at(200.0), seconds(1), move |world| {
            let event = |waiter, until| Event::NoCache { waiter, until };
            world.ask(credential, PATIENCE, event, |_, wait| {
                assert!(wait.is_served(), "{wait:?}");
                assert!(wait.took() <= millis(50), "{wait:?}");
            });
        });
        world.run_until(START + seconds(300));
        assert_eq!(world.waits.len(), 100, "{cause:?}");
    }
}
