//! Every cause is found, in every format that can show it, and a healthy log gets a clean bill.

mod support;

use support::world::{Event, Renewal, START, World};
use support::written::{
    Jtl, envoy, haproxy, har, jtl_csv, jtl_xml, nginx, nginx_json, thread_json,
};
use support::{diagnose, ids};

/// The report: 50 threads, each with its own token, more than the server keeps.
fn report() -> World {
    World { threads: 50, cap: 10, lifetime: 86_400, minutes: 5, ..World::default() }
}

fn csv(events: &[Event]) -> Vec<u8> {
    jtl_csv(events, Jtl::default())
}

/// Without URL and bodies: labels, threads and statuses.
fn bare_csv(events: &[Event]) -> Vec<u8> {
    jtl_csv(events, Jtl { header: false, url: false, delimiter: ',', bodies: false })
}

fn semicolons(events: &[Event]) -> Vec<u8> {
    jtl_csv(events, Jtl { delimiter: ';', ..Jtl::default() })
}

fn archive(events: &[Event]) -> Vec<u8> {
    har(events, 0)
}

type Writer = fn(&[Event]) -> Vec<u8>;

const FORMATS: [(&str, Writer); 10] = [
    ("CSV", csv),
    ("CSV without header and URL", bare_csv),
    ("CSV with semicolons", semicolons),
    ("XML", jtl_xml),
    ("HAR", archive),
    ("JSON with threads", thread_json),
    ("nginx JSON", nginx_json),
    ("nginx", nginx),
    ("Envoy", envoy),
    ("HAProxy", haproxy),
];

/// A log by hand: `(seconds, thread, what, status, body)`.
fn told(lines: &[(f64, usize, &'static str, u16, &str)]) -> Vec<Event> {
    let mut issued = [0; 64];
    let mut event = |(at, thread, what, status, body): &(f64, usize, &'static str, u16, &str)| {
        issued[*thread] += usize::from(*what != "poll" && *status == 200);
        let token = format!("canary-t0ken-of-{thread}-{}", issued[*thread]);
        let granted = format!(r#"{{"access_token":"{token}","expires_in":3600}}"#);
        let brings_token = *what == LOGIN && *status == 200;
        Event {
            sent: START + (at * 1000.0) as i64,
            took: 50,
            thread: *thread,
            is_login: *what != "poll",
            grant: if *what == "poll" { "" } else { what },
            status: *status,
            body: if brings_token { granted } else { (*body).to_owned() },
            token,
            refresh_token: format!("canary-r3fresh-of-{}", thread % 2),
        }
    };
    lines.iter().map(&mut event).collect()
}

const LOGIN: &str = "client_credentials";
const REFRESH: &str = "refresh_token";
const DEAD_REFRESH_TOKEN: &str =
    r#"{"code":"bad_request","message":"The refresh token is invalid or expired","status":401}"#;
const GRANTED: &str =
    r#"{"access_token":"canary-n3w","refresh_token":"canary-r","expires_in":1800}"#;

/// Each thread polls once a second for a minute after one login; then what is added.
fn calm(threads: usize, seconds: usize) -> Vec<(f64, usize, &'static str, u16, &'static str)> {
    let mut lines = Vec::new();
    for thread in 0..threads {
        lines.push((thread as f64 * 0.2, thread, LOGIN, 200, ""));
    }
    for second in 1..seconds {
        for thread in 0..threads {
            lines.push((second as f64 + thread as f64 * 0.01 + 10.0, thread, "poll", 200, "{}"));
        }
    }
    lines
}

#[test]
fn the_reported_situation_is_eviction_first_in_every_format() {
    #[rustfmt::skip]
    let variants = [
        ("as reported",    report()),
        ("waits",          World { polls_again: false, ..report() }),
        ("with jitter",    World { jitter: 500, ..report() }),
        ("cap just short", World { cap: 45, ..report() }),
        ("few threads",    World { threads: 14, period: 3000, ..report() }),
    ];
    for (variant, world) in variants {
        let events = world.events();
        for (format, write) in FORMATS {
            let found = diagnose(&[write(&events)]);
            let ids = ids(&found);
            assert_eq!(ids.first(), Some(&"token-eviction"), "{variant}, {format}: {ids:?}");
            assert!(ids.contains(&"renewal-storm"), "{variant}, {format}: {ids:?}");
        }
    }
}

/// Threads whose polls are not in step show where the dead begin.
#[test]
fn the_cap_is_estimated() {
    for cap in [5, 10, 20, 40] {
        let world = World { cap, ramp_up: 60_000, period: 4_000, threads: 60, ..report() };
        let found = diagnose(&[csv(&world.events())]);
        let eviction = found.findings.first().expect("eviction");
        let numbers: Vec<usize> = eviction
            .summary
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let near = numbers.iter().any(|number| number.abs_diff(cap) <= 1 + cap / 5);
        assert!(near, "cap {cap}: {}", eviction.summary);
    }
}

#[test]
fn each_simulated_cause_is_found() {
    let shared = Renewal::SharedBefore(60);
    #[rustfmt::skip]
    let worlds: [(&str, World, &[&str]); 9] = [
        ("a shared token meets the API's limit",
            World { threads: 40, renewal: shared, api_limit: 300, ..World::default() }, &["api-rate-limit"]),
        ("own tokens meet the API's limit",
            World { threads: 4, period: 100, api_limit: 300, ..World::default() }, &["api-rate-limit"]),
        ("renewal a margin before expiry that is longer than the lifetime",
            World { threads: 8, lifetime: 60, renewal: Renewal::EachBefore(60), ..World::default() }, &["margin-exceeds-lifetime"]),
        ("logins are throttled in disguise",
            World { threads: 60, cap: 10, login_limit: 4, ..World::default() }, &["login-throttled"]),
        ("logins are throttled with 429",
            World { threads: 60, cap: 10, login_limit: 4, throttle: (429, "Too Many Requests"), ..World::default() }, &["login-throttled"]),
        ("logins are throttled with 403",
            World { threads: 60, cap: 10, login_limit: 4, throttle: (403, r#"{"error":"access_denied","error_description":"Global limit has been reached"}"#), ..World::default() }, &["login-throttled"]),
        ("all renew at once",
            World { threads: 30, lifetime: 300, renewal: Renewal::EachBefore(30), ramp_up: 1000, period: 1000, minutes: 20, ..World::default() },
            &["duplicate-token-requests", "renewal-storm"]),
        ("each new token ends the one before",
            World { threads: 2, cap: 1, period: 2000, lifetime: 3600, ..World::default() }, &["token-eviction"]),
        ("tokens are renewed only when refused",
            World { threads: 20, lifetime: 300, minutes: 30, ramp_up: 200_000, ..World::default() }, &["expired-token-401"]),
    ];
    for (name, world, expected) in worlds {
        let events = world.events();
        for (format, write) in [FORMATS[0], FORMATS[3], FORMATS[5]] {
            let found = diagnose(&[write(&events)]);
            let ids = ids(&found);
            for id in expected {
                assert!(ids.contains(id), "{name}, {format}: no {id} in {ids:?}");
            }
        }
    }
}

#[test]
fn each_cause_told_by_hand_is_found() {
    let mut causes: Vec<(&str, &str, Vec<Event>)> = Vec::new();

    let mut lines = calm(3, 60);
    for turn in 0..6 {
        let at = 80.0 + f64::from(turn) * 0.5;
        lines.push((at, 0, "poll", 401, r#"{"code":"bad.credentials"}"#));
        lines.push((at + 0.1, 0, LOGIN, 200, ""));
    }
    causes.push(("retry-loop", "401, renew, 401, renew", told(&lines)));
    // The loop is what makes the storm.
    let busy: Vec<_> = (0..40)
        .flat_map(|turn| {
            [(f64::from(turn), 0, "poll", 401, ""), (f64::from(turn) + 0.3, 0, LOGIN, 200, "")]
        })
        .collect();
    assert_eq!(ids(&diagnose(&[csv(&told(&busy))])), ["retry-loop", "renewal-storm"]);

    let mut lines: Vec<_> =
        calm(8, 60).into_iter().filter(|line| line.2 != LOGIN || line.1 == 0).collect();
    lines.push((75.0, 0, LOGIN, 200, ""));
    for thread in 1..8 {
        lines.push((76.0 + thread as f64, thread, "poll", 401, "{}"));
        lines.push((76.2 + thread as f64, thread, "poll", 200, "{}"));
    }
    causes.push(("stale-token-401", "one renews, the others use the old token", told(&lines)));

    let mut lines: Vec<_> =
        calm(4, 60).into_iter().filter(|line| line.2 != LOGIN || line.1 == 0).collect();
    lines.push((75.0, 0, LOGIN, 200, ""));
    for thread in 1..4 {
        lines.push((76.0 + thread as f64, thread, "poll", 401, "{}"));
        lines.push((76.2 + thread as f64, thread, LOGIN, 200, ""));
        lines.push((76.4 + thread as f64, thread, "poll", 200, "{}"));
    }
    causes.push(("stale-token-401", "the others renew what was renewed", told(&lines)));

    let mut lines = calm(2, 60);
    for turn in 1..6 {
        lines.push((60.0 * f64::from(turn) + 37.0, 0, LOGIN, 200, ""));
        lines.push((60.0 * f64::from(turn) + 37.02, 1, LOGIN, 200, ""));
        lines.extend((0..20).map(|at| {
            (60.0 * f64::from(turn) + 38.0 + f64::from(at), at as usize % 2, "poll", 200, "")
        }));
    }
    causes.push(("duplicate-token-requests", "two renew together, again and again", told(&lines)));

    let mut lines = vec![(0.0, 0, REFRESH, 200, GRANTED)];
    lines.extend((1..60).map(|second| (f64::from(second), 0, "poll", 200, "{}")));
    lines.push((1800.0, 0, REFRESH, 200, GRANTED));
    lines.push((1800.02, 2, REFRESH, 400, r#"{"error":"invalid_grant"}"#));
    causes.push(("refresh-token-reuse", "two refresh the same token", told(&lines)));

    let mut lines = calm(4, 60);
    for turn in 0..4 {
        lines.push((80.0 + f64::from(turn), 1, REFRESH, 400, DEAD_REFRESH_TOKEN));
    }
    causes.push((
        "refresh-token-without-grant",
        "client credentials, then a refresh",
        told(&lines),
    ));

    let mut lines = calm(4, 60);
    for turn in 0..4 {
        lines.push((80.0 + f64::from(turn), 1, LOGIN, 401, DEAD_REFRESH_TOKEN));
    }
    causes.push(("refresh-token-without-grant", "the report's own answer", told(&lines)));

    let mut lines = calm(4, 60);
    for turn in 0..3 {
        lines.push((80.0 + f64::from(turn), 1, LOGIN, 401, "null:null is no client"));
    }
    causes.push(("java-sdk-null-credentials", "null:null in the answer", told(&lines)));

    let mut lines = calm(4, 60);
    for turn in 0..4 {
        let at = 80.0 + f64::from(turn) * 10.0;
        lines.push((at, 1, LOGIN, 200, ""));
        lines.push((at + 1.0, 1, "poll", 401, r#"{"code":"credentials.expired"}"#));
        lines.push((at + 2.0, 1, "poll", 200, ""));
    }
    causes.push(("clock-skew", "expired just after it was issued", told(&lines)));

    let mut lines = calm(4, 200);
    for line in lines.iter_mut().filter(|line| line.0 > 100.0) {
        line.0 -= 45.0;
    }
    causes.push(("clock-skew", "the clock is set back", told(&lines)));

    let mut lines = calm(12, 400);
    for minute in 1..6 {
        for thread in 0..6 {
            let at = 40.0 + f64::from(minute) * 60.0 + thread as f64 * 0.1;
            lines.push((at, thread, LOGIN, 401, DEAD_REFRESH_TOKEN));
        }
    }
    lines.sort_by(|one, other| one.0.total_cmp(&other.0));
    causes.push(("minute-clustering", "failures at second 0", told(&lines)));

    let mut lines = calm(4, 60);
    lines.extend(
        (0..10)
            .map(|at| (80.0 + f64::from(at), 2, "poll", 403, r#"{"code":"missing.permissions"}"#)),
    );
    causes.push(("missing-permissions", "403s", told(&lines)));

    let mut lines = calm(4, 60);
    lines.extend((0..10).map(|at| (80.0 + f64::from(at), 2, LOGIN, 503, "")));
    causes.push(("server-errors-at-login", "503s", told(&lines)));

    let lines: Vec<_> =
        (0..10).map(|at| (f64::from(at), 2, LOGIN, 400, r#"{"error":"invalid_client"}"#)).collect();
    causes.push(("client-refused", "a wrong secret", told(&lines)));

    let mut lines: Vec<_> = calm(4, 60).into_iter().filter(|line| line.2 != LOGIN).collect();
    lines.extend((0..10).map(|at| (80.0 + f64::from(at), 2, "poll", 401, "")));
    causes.push(("unexplained-401", "401s and no login in the log", told(&lines)));

    for (id, name, events) in causes {
        for (format, write) in [FORMATS[0], FORMATS[3], FORMATS[5]] {
            // An archive of tokens tells other things than threads do.
            if id == "stale-token-401" && format == "XML" {
                continue;
            }
            let found = diagnose(&[write(&events)]);
            let ids = ids(&found);
            assert!(ids.contains(&id), "{name}, {format}: no {id} in {ids:?}");
        }
    }
}

#[test]
fn a_server_clock_that_is_off_shows_in_an_archive() {
    let events = told(&calm(3, 30));
    let found = diagnose(&[har(&events, -90_000)]);
    assert_eq!(ids(&found), ["clock-skew"]);
    assert!(found.findings[0].summary.contains("90 s behind"), "{}", found.findings[0].summary);
}

#[test]
fn null_credentials_show_in_the_request_and_as_a_user() {
    let mut events = told(&calm(2, 30));
    let nginx_log = String::from_utf8(nginx(&events)).expect("text")
        + "192.0.2.7 - null [14/Nov/2023:22:15:20 +0000] \"POST /oauth/token HTTP/1.1\" 400 91 \"-\" \"PureCloud SDK/java\"\n";
    assert_eq!(ids(&diagnose(&[nginx_log.into_bytes()])), ["java-sdk-null-credentials"]);
    for event in told(&[(60.0, 0, REFRESH, 400, "{}")]) {
        events.push(Event { refresh_token: String::new(), ..event });
    }
    for (format, write) in [FORMATS[3], FORMATS[4], FORMATS[5]] {
        assert_eq!(ids(&diagnose(&[write(&events)])), ["java-sdk-null-credentials"], "{format}");
    }
}

#[test]
fn a_healthy_log_gets_a_clean_bill_in_every_format() {
    let spread = Renewal::EachBefore(60);
    #[rustfmt::skip]
    let worlds = [
        ("a login for each thread",   World { threads: 40, ..World::default() }),
        ("all start at once",         World { threads: 50, ramp_up: 0, ..World::default() }),
        ("a slow ramp",               World { threads: 50, ramp_up: 60_000, ..World::default() }),
        ("one shared token",          World { renewal: Renewal::SharedBefore(60), lifetime: 300, minutes: 60, ..World::default() }),
        ("one thread",                World { threads: 1, lifetime: 300, minutes: 60, renewal: spread, ..World::default() }),
        ("a pool, renewed in turn",   World { threads: 20, lifetime: 600, minutes: 60, renewal: spread, ramp_up: 500_000, ..World::default() }),
        ("short and busy",            World { threads: 5, period: 20, minutes: 1, ..World::default() }),
        ("long lifetimes",            World { threads: 20, lifetime: 86_400, minutes: 60, period: 30_000, ..World::default() }),
    ];
    for (name, world) in worlds {
        let events = world.events();
        for (format, write) in FORMATS {
            let found = diagnose(&[write(&events)]);
            assert!(found.findings.is_empty(), "{name}, {format}: {:#?}", found.findings);
            assert_eq!(found.totals.requests, events.len() as u64, "{name}, {format}");
            assert_eq!(found.totals.unreadable, 0, "{name}, {format}");
        }
    }
}

#[test]
fn causes_that_come_together_are_all_told_and_the_cause_comes_first() {
    let mut events = World { login_limit: 6, jitter: 100, ..report() }.events();
    let end = events.last().expect("events").done();
    for turn in 0..5 {
        let mut event = told(&[(0.0, 60, LOGIN, 401, DEAD_REFRESH_TOKEN)]).remove(0);
        event.sent = end + turn * 1000;
        events.push(event);
    }
    let found = diagnose(&[csv(&events)]);
    let ids = ids(&found);
    assert_eq!(ids.first(), Some(&"token-eviction"), "{ids:?}");
    for id in [
        "duplicate-token-requests",
        "renewal-storm",
        "login-throttled",
        "refresh-token-without-grant",
    ] {
        assert!(ids.contains(&id), "no {id} in {ids:?}");
    }
}

#[test]
fn what_is_told_has_evidence_and_no_secret() {
    let events = report().events();
    for (format, write) in FORMATS {
        let found = diagnose(&[write(&events)]);
        for finding in &found.findings {
            assert!(!finding.evidence.is_empty(), "{format}: {}", finding.id.as_str());
            assert!(finding.evidence.iter().all(|it| it.line > 0 && it.file == "0.log"));
            assert!((0.0..=1.0).contains(&finding.confidence));
            assert!(finding.summary.chars().any(|c| c.is_ascii_digit()), "{}", finding.summary);
        }
        let told = serde_json::to_string(&found).expect("JSON");
        for secret in ["canary-t0ken", "canary-r3fresh", "Y2FuYXJ5"] {
            assert!(!told.contains(secret), "{format}: {told}");
        }
    }
}
