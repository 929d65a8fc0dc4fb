//! Whatever `expires_in` says, requests stay few and callers do not wait for what can be known ahead.

use std::time::Duration;

use bellwether_lifecycle::{Need, Policy};

use crate::driver::{
    PATIENCE, Reply, Request, START, Script, Wait, World, at, millis, seconds, told,
};

#[test]
fn every_lifetime_is_kept_fresh_by_few_requests() {
    #[rustfmt::skip]
    let cases = [
        // expires_in,    told for,   a caller every, requests, at most, may wait later
        (Some(0),         60,         millis(500),    50,       61,      true),
        (Some(1),         60,         millis(500),    50,       61,      true),
        (Some(60),        3_600,      millis(500),    97,       130,     false),
        (Some(300),       86_400,     seconds(5),     400,      520,     false),
        (Some(86_400),    604_800,    seconds(60),    8,        11,      false),
        (None,            86_400,     seconds(60),    24,       36,      false),
    ];
    for (lifetime, length, period, fewest, most, may_wait) in cases {
        for need in [Need::Use, Need::HandOut] {
            let script = lifetime.map_or_else(Script::silent_about_expiry, Script::granting);
            let mut world = World::new(1, script);
            let credential = world.start(Policy::DEFAULT);
            let end = START + seconds(length);
            world.repeat(START, end, period, move |world| {
                world.call(credential, need, PATIENCE, |_, wait| assert!(wait.is_served()));
            });
            world.run_until(end);

            let case = format!("expires_in {lifetime:?}, {need:?}");
            let count = world.requests.len();
            assert!((fewest..=most).contains(&count), "{case}: {count} requests");
            let least = world.requests.windows(2).map(|pair| pair[1].at.since(pair[0].at)).min();
            assert!(least >= Some(seconds(1)), "{case}: {least:?} between two requests");
            let longest = world.waits.iter().map(Wait::took).max();
            assert!(longest <= Some(millis(1100)), "{case}: a wait of {longest:?}");
            assert!(may_wait || world.waits.len() == 1, "{case}: {} waits", world.waits.len());
        }
    }
}

#[test]
fn nobody_is_handed_the_last_part_of_a_life() {
    #[rustfmt::skip]
    let cases = [
        // expires_in, told at the least
        (2,     1),
        (10,    4),
        (60,    20),
        (100,   34),
        (179,   60),
        (180,   61),
        (3600,  61),
    ];
    for (lifetime, least) in cases {
        let mut world = World::new(2, Script::granting(lifetime));
        let credential = world.start(Policy::DEFAULT);
        let end = START + seconds(lifetime * 20);
        world.repeat(at(0.01), end, millis(lifetime * 7), move |world| {
            world.call(credential, Need::HandOut, PATIENCE, move |world, wait| {
                let token = wait.token.expect("a token");
                let left = world.now.until(token.held.expires_at()).as_secs();
                assert!(left >= least, "{left} s left of {lifetime} s at {}", told(world.now));
            });
        });
        world.run_until(end);
        assert!(world.taken > 2000);
    }
}

/// Some servers hand out the same token until it ends, with ever less of its life left.
#[test]
fn a_server_that_repeats_its_token_is_not_asked_without_end() {
    for lifetime in [60, 300, 3600] {
        let life = seconds(lifetime);
        let mut token_ends = START;
        let endpoint = move |request: &Request| {
            if request.at >= token_ends {
                token_ends = request.at + life;
            }
            Reply { after: millis(100), outcome: Ok(Some(request.at.until(token_ends))) }
        };
        let mut world = World::new(3, endpoint);
        let credential = world.start(Policy::DEFAULT);
        let cycles = 50;
        let end = START + life * cycles;
        world.repeat(START, end, seconds(1), move |world| {
            world.call(credential, Need::Use, PATIENCE, |_, wait| assert!(wait.is_served()));
        });
        world.run_until(end);

        let each = world.requests.len() as f64 / f64::from(cycles);
        assert!(each < 14.0, "{each} requests for a token of {lifetime} s");
        let least = world.requests.windows(2).map(|pair| pair[1].at.since(pair[0].at)).min();
        assert!(least >= Some(seconds(1)), "{least:?} between two requests");
        let longest = world.waits.iter().map(Wait::took).max();
        assert!(longest <= Some(millis(1100)), "a wait of {longest:?}");
    }
}

/// A renewal that another holder had done long ago is no reason to ask again at once.
#[test]
fn stale_news_is_not_asked_for_again_at_once() {
    use bellwether_lifecycle::{Action, Event, Held, Lifecycle, Timestamp};

    let now = Timestamp::from_secs(10_000);
    let held = |generation, age: u64, life: u64| Held {
        generation,
        sent_at: now - Duration::from_secs(age),
        lifetime: Some(Duration::from_secs(life)),
    };
    #[rustfmt::skip]
    let cases = [
        ("already at its end",     held(5, 400, 300)),
        ("due for renewal",        held(5, 290, 300)),
        ("the one we had before",  held(4, 290, 300)),
        ("older than ours",        held(3, 290, 300)),
    ];
    for (name, news) in cases {
        let mut chance = || 0.5;
        let mut lifecycle = Lifecycle::new(Policy::DEFAULT, now);
        lifecycle.handle(now, Event::Restored { member: 0, held: held(4, 290, 300) }, &mut chance);
        let asked = lifecycle.handle(now, Event::Woken, &mut chance);
        assert!(asked.iter().any(|action| matches!(action, Action::Renew { .. })));
        let event = Event::Granted { member: 0, held: news };
        let actions = lifecycle.handle(now + Duration::from_millis(20), event, &mut chance);
        let renewals = actions.iter().filter(|action| matches!(action, Action::Renew { .. }));
        assert_eq!(renewals.count(), 0, "{name}");
        let wake = Action::WakeAt(now + Policy::DEFAULT.least_interval);
        assert!(actions.contains(&wake), "{name}: {actions:?}");
    }
}
