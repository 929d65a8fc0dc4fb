//! The report in virtual time: workers with a token each, over a cap and under it.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::{
    Chance, Client, Entry, Organisation, Outcome, Profile, Request, Response, Timeline, Totals,
    Verdict,
};

const POLL: Duration = Duration::from_secs(5);

/// Workers with a token each, who poll every 5 s. One that meets a 401 logs in, after a random
/// delay of at most `jitter`, and polls again.
struct Workers {
    organisation: Organisation,
    timeline: Timeline<usize>,
    tokens: Vec<Option<String>>,
    chance: Chance,
    jitter: Duration,
}

/// What happened in a stretch of virtual time.
struct Seen {
    before: Totals,
    after: Totals,
    seconds: u64,
}

impl Seen {
    fn logins(&self) -> u64 {
        self.after.token_requests - self.before.token_requests
    }

    fn logins_per_second(&self) -> f64 {
        self.logins() as f64 / self.seconds as f64
    }

    fn refused_polls(&self) -> u64 {
        self.after.api_evicted - self.before.api_evicted
    }

    /// Polls that began with a 401, of all that fell due.
    fn share_refused(&self) -> f64 {
        let accepted = self.after.api_accepted - self.before.api_accepted;
        self.refused_polls() as f64 / accepted as f64
    }
}

impl Workers {
    /// They start spread evenly over the first 5 s. The wall clock starts at second 0 of a minute.
    fn start(profile: Profile, count: u32, jitter: Duration) -> Self {
        let organisation = Organisation::new(profile.client(Client::new("app", "secret")), 5);
        let mut timeline = Timeline::starting_at(Timestamp::ZERO);
        for worker in 0..count {
            timeline.add(Timestamp::ZERO + POLL * worker / count, worker as usize);
        }
        let tokens = vec![None; count as usize];
        Self { organisation, timeline, tokens, chance: Chance::new(9), jitter }
    }

    fn turn(&mut self, now: Timestamp, worker: usize) {
        let wall = UnixTime::from_millis(now.as_nanos() / 1_000_000);
        let token = self.tokens[worker].take();
        let request = match &token {
            Some(token) => Request::get("/api/v2/users/7/presence", token),
            None => Request::client_credentials("app", "secret"),
        };
        let answer = self.organisation.handle(now, wall, &request);
        let Outcome::Respond(response) = answer.outcome else { panic!("no faults here") };
        let delay = self.chance.between(Duration::ZERO, self.jitter);
        let next = match (token, response.status) {
            (None, 200) => {
                self.tokens[worker] = Some(response.text("access_token"));
                Duration::ZERO
            }
            (Some(_), 401) => delay,
            (token, _) => {
                self.tokens[worker] = token;
                POLL + delay
            }
        };
        self.timeline.add(now + answer.after + next, worker);
    }

    fn run(&mut self, seconds: u64) -> Seen {
        let start = self.timeline.now();
        let end = start + Duration::from_secs(seconds);
        let before = self.organisation.totals(start);
        while let Some((now, worker)) = self.timeline.next_before(end) {
            self.turn(now, worker);
        }
        Seen { before, after: self.organisation.totals(end), seconds }
    }
}

fn capped(cap: usize) -> Profile {
    let live_tokens_per_client = Some(cap);
    Profile { live_tokens_per_client, login_limit: None, ..Profile::genesys() }
}

#[test]
fn more_workers_than_the_cap_never_come_to_rest_and_jitter_does_not_help() {
    #[rustfmt::skip]
    let cases = [
        // workers, cap, jitter ms, logins a second, share of polls that begin with a 401
        (50,        10,  0,         9.4..10.0,       0.98..1.01),
        (50,        10,  500,       8.5..9.5,        0.98..1.01),
        (50,        40,  0,         9.4..10.0,       0.98..1.01),
        (50,        47,  0,         1.8..3.2,        0.15..0.35),
        (50,        47,  500,       0.9..1.8,        0.10..0.20),
        (50,        49,  0,         0.3..1.0,        0.02..0.10),
    ];
    for (count, cap, jitter_ms, rate, share) in cases {
        let mut workers = Workers::start(capped(cap), count, Duration::from_millis(jitter_ms));
        workers.run(300);
        let seen = workers.run(900);
        let case = format!("{count} workers, cap {cap}, jitter {jitter_ms} ms");
        assert!(rate.contains(&seen.logins_per_second()), "{case}: {}", seen.logins_per_second());
        assert!(share.contains(&seen.share_refused()), "{case}: {}", seen.share_refused());
    }
}

#[test]
fn workers_within_the_cap_log_in_once_and_then_there_is_silence() {
    for (count, cap) in [(50, 50), (50, 51), (10, 10), (1, 10)] {
        let mut workers = Workers::start(capped(cap), count, Duration::ZERO);
        let logins = [workers.run(60).logins(), workers.run(3600).logins()];
        assert_eq!(logins, [u64::from(count), 0], "{count} under {cap}");
        assert_eq!(workers.run(60).after.status_401, 0);
    }
}

#[test]
fn the_report_two_to_three_logins_a_second_and_failures_at_the_minute_after_a_quarter_hour() {
    let mut workers = Workers::start(Profile::as_reported(), 50, Duration::ZERO);
    let steady = workers.run(880);
    assert!((1.8..3.2).contains(&steady.logins_per_second()), "{}", steady.logins_per_second());
    assert_eq!(steady.after.throttled_logins, 0, "nothing for the first 15 minutes");

    let failing = workers.run(900);
    assert!(failing.after.throttled_logins > 5, "{}", failing.after.throttled_logins);
    let is_throttled = |entry: &&Entry| entry.verdict == Verdict::Throttled;
    for entry in workers.organisation.ledger().entries().filter(is_throttled) {
        assert_eq!((entry.status, entry.wall.as_secs() % 60), (Some(401), 0), "{entry:?}");
    }
}

/// The first refusal in the report's words.
#[test]
fn the_report_is_quoted_word_for_word() {
    let profile = Profile::as_reported().client(Client::new("app", "secret"));
    let mut organisation = Organisation::new(profile, 1);
    let mut login = |second| -> Response {
        let (now, wall) = (Timestamp::from_secs(second), UnixTime::from_secs(second));
        let answer = organisation.handle(now, wall, &Request::client_credentials("app", "secret"));
        answer.outcome.response().cloned().expect("no faults here")
    };
    assert_eq!((login(0).status, login(1200).status), (200, 200));
    let refused = login(1200);
    assert_eq!(refused.status, 401);
    let expected =
        br#"{"code":"bad_request","message":"The refresh token is invalid or expired","status":401}"#;
    assert_eq!(refused.body, expected);
    assert_eq!(login(1201).status, 200, "a second later nothing is wrong");
}

#[test]
fn one_shared_token_ends_the_storm_and_meets_the_api_limit() {
    let profile = Profile::genesys().client(Client::new("app", "secret"));
    let mut organisation = Organisation::new(profile, 5);
    let at = |ms| (Timestamp::from_nanos(ms * 1_000_000), UnixTime::from_millis(ms));
    let (now, wall) = at(0);
    let answer = organisation.handle(now, wall, &Request::client_credentials("app", "secret"));
    let token = answer.outcome.response().map(|response| response.text("access_token"));
    let request = Request::get("/api/v2/users/7/presence", &token.expect("no faults here"));
    // 500 agents every 5 s are 100 requests a second.
    for number in 0..6000 {
        let (now, wall) = at(1000 + number * 10);
        organisation.handle(now, wall, &request);
    }
    let totals = organisation.totals(Timestamp::from_secs(61));
    assert_eq!((totals.token_requests, totals.api_accepted, totals.status_429), (1, 300, 5700));
}

#[test]
fn the_ledger_keeps_the_newest_entries_and_counts_all() {
    let profile = Profile { ledger_entries: 3, ..Profile::plain() };
    let mut organisation = Organisation::new(profile, 1);
    for number in 0..10_000 {
        let (now, wall) = (Timestamp::from_secs(number), UnixTime::from_secs(number));
        organisation.handle(now, wall, &Request::get(&format!("/api/{number}"), "unknown"));
    }
    let paths: Vec<_> =
        organisation.ledger().entries().filter_map(|entry| entry.path.as_deref()).collect();
    assert_eq!(paths, ["/api/9997", "/api/9998", "/api/9999"]);
    assert_eq!(organisation.totals(Timestamp::ZERO).api_requests, 10_000);
}
