//! Several live tokens of one credential, at servers that cap live tokens and evict the oldest.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use bellwether_lifecycle::{Cause, Event, Held, Need, Policy, Timestamp};

use crate::driver::{
    Fault, PATIENCE, Reply, Request, START, Script, World, at, millis, seconds, told,
};

/// An authorization server's live tokens, oldest first.
#[derive(Default)]
struct Ledger {
    live: VecDeque<(Timestamp, usize)>,
    evicted: HashSet<usize>,
    most_live: usize,
}

impl Ledger {
    fn issue(&mut self, now: Timestamp, life: std::time::Duration, cap: usize, number: usize) {
        self.live.retain(|&(ends, _)| ends > now);
        if self.live.len() == cap {
            self.evicted.extend(self.live.pop_front().map(|(_, evicted)| evicted));
        }
        self.live.push_back((now + life, number));
        self.most_live = self.most_live.max(self.live.len());
    }
}

/// 42 tokens of 14 s under a cap of 45, for an hour.
#[test]
fn a_cap_never_evicts_a_token_that_is_held() {
    let (cap, pool, life) = (45, 42, seconds(14));
    for seed in 0..4 {
        let ledger = Rc::new(RefCell::new(Ledger::default()));
        let issuing = ledger.clone();
        let endpoint = move |request: &Request| {
            issuing.borrow_mut().issue(request.at, life, cap, request.number);
            Reply { after: millis(100), outcome: Ok(Some(life)) }
        };
        let mut world = World::new(seed, endpoint);
        let credential = world.start(Policy { pool, ..Policy::DEFAULT });
        let end = at(3600.0);
        let watched = ledger.clone();
        world.repeat(START, end, millis(10), move |world| {
            let ledger = watched.borrow();
            for token in world.published(credential) {
                let evicted = ledger.evicted.contains(&token.number);
                assert!(!evicted, "{token:?} was evicted by {}", told(world.now));
            }
            if world.now > at(10.0) {
                let alive = world.published(credential).filter(|t| t.held.is_alive(world.now));
                assert_eq!(alive.count(), usize::from(pool), "at {}", told(world.now));
            }
        });
        world.run_until(end);

        let ledger = ledger.borrow();
        assert!(ledger.evicted.len() > 1000, "the cap was felt");
        assert_eq!(ledger.most_live, cap);
        let a_second = world.requests.len() as f64 / 3600.0;
        assert!((4.0..7.0).contains(&a_second), "{a_second} token requests a second");
    }
}

#[test]
fn the_oldest_token_is_replaced_first_and_few_at_once() {
    let mut world = World::new(2, Script::granting(300));
    let credential = world.start(Policy { pool: 42, ..Policy::DEFAULT });
    world.run_until(at(100.0));
    let mut by_age: Vec<_> = world.published(credential).collect();
    by_age.sort_by_key(|token| token.held.sent_at);
    world.happen(credential, Event::Renew);
    world.run_until(at(200.0));

    let renewals = &world.requests[42..];
    assert_eq!(renewals.len(), 42);
    let sent: Vec<_> = renewals
        .iter()
        .map(|request| {
            world.requests[by_age
                .iter()
                .find(|token| token.member == request.member)
                .expect("its token")
                .number]
                .at
        })
        .collect();
    assert!(sent.is_sorted(), "oldest first: {sent:?}");
    let under_way = |now: Timestamp| {
        renewals.iter().filter(|r| r.at <= now && now < r.at + millis(100)).count()
    };
    assert!(renewals.iter().all(|request| under_way(request.at) <= 2));
}

/// Whether client and grant are good is found out with one request, not with one per member.
#[test]
fn a_pool_starts_with_one_request() {
    #[rustfmt::skip]
    let cases = [
        (Cause::Misconfigured, 2),
        (Cause::Reauthorize,   1),
        (Cause::Passing,       4),
    ];
    for (cause, most) in cases {
        let fault = Fault::new(cause, millis(50));
        let mut world = World::new(3, Script::granting(300).failing(0.0, 1e6, fault));
        world.start(Policy { pool: 42, ..Policy::DEFAULT });
        world.run_until(at(2.0));
        assert!(world.requests.len() <= most, "{cause:?}: {}", world.requests.len());
    }

    let mut world = World::new(3, Script::granting(300));
    let credential = world.start(Policy { pool: 42, ..Policy::DEFAULT });
    world.run_until(at(5.0));
    assert_eq!(world.published(credential).count(), 42, "full soon after");
    assert_eq!(world.requests.len(), 42);
}

/// What the store held when we started is not requested again.
#[test]
fn a_restart_requests_nothing_that_is_held() {
    for restored in [0, 1, 41, 42] {
        let mut world = World::new(4, Script::granting(3600));
        let credential = world.add(Policy { pool: 42, ..Policy::DEFAULT });
        for member in 0..restored {
            let sent_at = START - seconds(u64::from(member));
            let held = Held { generation: 7, sent_at, lifetime: Some(seconds(3600)) };
            world.happen(credential, Event::Restored { member, held });
        }
        world.happen(credential, Event::Woken);
        world.run_until(at(10.0));
        assert_eq!(world.requests.len(), usize::from(42 - restored), "{restored} restored");
        assert_eq!(world.published(credential).count(), 42);
    }
}

/// A token that was restored past its time is renewed although nobody says more.
#[test]
fn a_restored_token_that_is_due_is_renewed() {
    let mut world = World::new(5, Script::granting(300));
    let credential = world.add(Policy::DEFAULT);
    let held = Held { generation: 7, sent_at: START - seconds(290), lifetime: Some(seconds(300)) };
    world.happen(credential, Event::Restored { member: 0, held });
    world.run_until(at(0.01));
    assert_eq!(world.requests.len(), 1);
}

#[test]
fn who_waits_is_served_with_the_token_that_lives_longest() {
    let mut world = World::new(7, Script::granting(300));
    let credential = world.add(Policy { pool: 3, ..Policy::DEFAULT });
    for (member, age) in [(0, 100), (1, 10), (2, 50)] {
        let sent_at = START - seconds(age);
        let held = Held { generation: 1, sent_at, lifetime: Some(seconds(300)) };
        world.happen(credential, Event::Restored { member, held });
    }
    let asked = |waiter, until| Event::Asked { waiter, need: Need::HandOut, until };
    world.ask(credential, PATIENCE, asked, |_, wait| {
        assert_eq!(wait.token.map(|token| token.member), Some(1));
    });
    world.run_until(at(1.0));
    assert_eq!(world.waits.len(), 1);
}

/// While one member's renewal hangs, those who wait for another are still answered in time.
#[test]
fn a_hanging_renewal_does_not_hide_other_members_deadlines() {
    let fault = Fault::new(Cause::Passing, seconds(60));
    for pool in [2, 3, 42] {
        let mut world = World::new(6, Script::granting(300).failing(0.0, 100.0, fault));
        let credential = world.start(Policy { pool, ..Policy::DEFAULT });
        world.repeat(START, at(150.0), millis(500), move |world| {
            world.call(credential, Need::Use, PATIENCE, |_, wait| {
                assert!(wait.took() <= PATIENCE);
            });
        });
        // The world itself checks that nobody is forgotten.
        world.run_until(at(200.0));
    }
}
