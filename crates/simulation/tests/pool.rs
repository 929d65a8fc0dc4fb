//! A pool of tokens behind one client, near the cap: the order of renewal decides.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::{Chance, Client, Organisation, Profile, Request, Timeline, Totals};

const POOL: usize = 42;

/// When a token of the pool is renewed, as a share of its lifetime in thousandths.
#[derive(Clone, Copy, Debug)]
enum Renewal {
    /// All at the same share, so in the order of issue.
    InOrder,
    /// Each at a share of its own, drawn afresh.
    Scattered,
}

enum Event {
    Renew(usize),
    Poll(usize),
}

/// Keeps a pool over one organisation for two minutes; a refused poll is not even cured.
fn keep_pool(renewal: Renewal) -> Totals {
    let profile = Profile::demo().client(Client::new("app", "secret"));
    let lifetime = profile.access_token_lifetime;
    let mut organisation = Organisation::new(profile, 5);
    let mut chance = Chance::new(11);
    let mut timeline = Timeline::starting_at(Timestamp::ZERO);
    let mut pool = vec![String::new(); POOL];
    for slot in 0..POOL {
        let opened = Timestamp::ZERO + Duration::from_millis(50) * u32::try_from(slot).unwrap_or(0);
        timeline.add(opened, Event::Renew(slot));
        timeline.add(opened + Duration::from_secs(1), Event::Poll(slot));
    }
    let end = Timestamp::from_secs(120);
    while let Some((now, event)) = timeline.next_before(end) {
        let wall = UnixTime::from_millis(now.as_nanos() / 1_000_000);
        match event {
            Event::Renew(slot) => {
                let request = Request::client_credentials("app", "secret");
                let answer = organisation.handle(now, wall, &request);
                let response = answer.outcome.response().expect("no faults here");
                assert_eq!(response.status, 200, "the login limit leaves room for a pool");
                pool[slot] = response.text("access_token");
                let share = match renewal {
                    Renewal::InOrder => 600,
                    Renewal::Scattered => 540 + u32::try_from(chance.below(60)).unwrap_or(0),
                };
                timeline.add(now + lifetime * share / 1000, Event::Renew(slot));
            }
            Event::Poll(slot) => {
                organisation.handle(now, wall, &Request::get("/api/v2/users/7", &pool[slot]));
                timeline.add(now + Duration::from_millis(210), Event::Poll(slot));
            }
        }
    }
    organisation.totals(end)
}

#[test]
fn a_pool_that_renews_its_oldest_token_first_loses_only_tokens_it_has_replaced() {
    let in_order = keep_pool(Renewal::InOrder);
    assert!(in_order.tokens_evicted > 300, "{in_order:?}");
    assert_eq!((in_order.api_evicted, in_order.status_401, in_order.status_429), (0, 0, 0));

    let scattered = keep_pool(Renewal::Scattered);
    assert!(scattered.api_evicted > 20, "{scattered:?}");
}
