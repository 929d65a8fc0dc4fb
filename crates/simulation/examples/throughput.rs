//! Two million API requests of 40 workers, to be timed from outside:
//! `cargo build --release -p bellwether-simulation --example throughput`, then `time` it.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::{Client, Organisation, Profile, Request};

fn main() {
    let profile = Profile { api_limit: None, login_limit: None, ..Profile::demo() };
    let mut organisation = Organisation::new(profile.client(Client::new("app", "secret")), 1);
    let login = Request::client_credentials("app", "secret");
    let mut polls = Vec::new();
    let mut now = Timestamp::ZERO;
    for number in 0..2_000_000_usize {
        let wall = UnixTime::from_millis(now.as_nanos() / 1_000_000);
        if number % 40_000 == 0 {
            polls = (0..40).map(|_| poll(&mut organisation, now, wall, &login)).collect();
        }
        organisation.handle(now, wall, &polls[number % 40]);
        now += Duration::from_micros(250);
    }
    println!("{:?}", organisation.totals(now));
}

fn poll(
    organisation: &mut Organisation,
    now: Timestamp,
    wall: UnixTime,
    login: &Request,
) -> Request {
    let answer = organisation.handle(now, wall, login);
    let token = answer.outcome.response().map(|response| response.text("access_token"));
    Request::get("/api/v2/users/7/presence", &token.unwrap_or_default())
}
