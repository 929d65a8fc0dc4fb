//! A day in steady state, and how renewals that started together drift apart.

mod driver;

use bellwether_lifecycle::{Need, Policy};

use driver::{PATIENCE, START, Script, Wait, World, at, millis, seconds};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// One credential with tokens of five minutes; three callers a second.
#[test]
fn one_request_per_renewal_and_nobody_waits() {
    for latency in [millis(80), seconds(3)] {
        let mut world = World::new(1, Script::granting(300).latency(latency));
        let credential = world.start(Policy::DEFAULT);
        let end = START + seconds(DAY);
        world.repeat(START, end, millis(333), move |world| {
            world.call(credential, Need::HandOut, PATIENCE, |_, wait| assert!(wait.is_served()));
        });
        world.run_until(end);

        let answered = world.requests.iter().filter(|request| request.at <= end - latency);
        let requests = answered.count() as u64;
        assert_eq!(requests, world.publications, "each request gave a token that was used");
        assert!((DAY / 220..=DAY / 168 + 1).contains(&requests), "{requests} requests");
        let later: Vec<&Wait> =
            world.waits.iter().filter(|wait| wait.asked_at >= START + latency).collect();
        assert!(later.is_empty(), "waits after the first token: {later:?}");
        assert!(world.taken > 259_000);
    }
}

/// 10,000 credentials whose first tokens came in the same instant.
#[test]
fn what_started_together_drifts_apart() {
    let mut world = World::new(2, Script::granting(300));
    for _ in 0..10_000 {
        world.start(Policy::DEFAULT);
    }
    let settled = START + seconds(6 * HOUR);
    let end = START + seconds(DAY / 2);
    world.run_until(end);
    let answered = world.requests.iter().filter(|request| request.at <= end - millis(100));
    assert_eq!(answered.count() as u64, world.publications, "one request per renewal");

    let mut each_second = vec![0_u32; 6 * HOUR as usize];
    for request in world.requests.iter().filter(|r| (settled..end).contains(&r.at)) {
        each_second[request.at.since(settled).as_secs() as usize] += 1;
    }
    let mean = f64::from(each_second.iter().sum::<u32>()) / each_second.len() as f64;
    let fullest = each_second.iter().max().copied().unwrap_or_default();
    assert!((45.0..60.0).contains(&mean), "{mean} requests a second");
    assert!(f64::from(fullest) <= 2.0 * mean, "{fullest} in a second, {mean} on average");
}

/// The same for an hour, with callers: whoever comes finds a token.
#[test]
fn ten_thousand_credentials_have_no_waiting_callers() {
    let mut world = World::new(3, Script::granting(300));
    for i in 0..10_000 {
        let credential = world.start(Policy::DEFAULT);
        world.repeat(at(30.0) + millis(i), at(3600.0), seconds(20), move |world| {
            world.call(credential, Need::HandOut, PATIENCE, |_, wait| {
                assert_eq!(wait.took(), seconds(0));
            });
        });
    }
    world.run_until(at(3600.0));
    assert_eq!(world.waits.len(), 0);
}
