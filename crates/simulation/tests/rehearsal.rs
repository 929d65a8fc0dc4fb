//! What each strategy meets: the report's scenario and others, in virtual time.

use std::time::Duration;

use bellwether_lifecycle::{Allowance, Timestamp};
use bellwether_simulation::rehearsal::{Fleet, Outcome, Setup, Strategy, rehearse, renew};
use bellwether_simulation::{Effect, Endpoint, Fault, Profile};

/// 50 workers, 500 agents every 5 s, for half an hour.
fn reported() -> Setup {
    Setup {
        profile: Profile::as_reported(),
        faults: Vec::new(),
        agents: 500,
        workers: 50,
        period: Duration::from_secs(5),
        length: Duration::from_secs(1800),
        processes: 1,
        pool: 21,
        allowance: Allowance::DEFAULT,
        seed: 7,
    }
}

fn run(setup: &Setup, strategy: Strategy) -> Outcome {
    let outcome = rehearse(setup, strategy, &mut |_| {});
    let polls = outcome.polls;
    assert_eq!(polls.due, polls.done + polls.late + polls.gaps, "{strategy:?} adds up");
    let series = &outcome.series.spans;
    let over_time = |count: fn(&bellwether_simulation::rehearsal::Span) -> u64| -> u64 {
        series.iter().map(count).sum()
    };
    assert_eq!(over_time(|span| span.gaps), polls.gaps, "{strategy:?}");
    assert_eq!(over_time(|span| span.sampled), polls.done + polls.late, "{strategy:?}");
    assert_eq!(over_time(|span| span.status_401), outcome.seen.status_401, "{strategy:?}");
    assert_eq!(over_time(|span| span.token_requests), outcome.totals.token_requests);
    let minute: u64 = outcome.series.token_requests_by_second.iter().sum();
    assert_eq!(minute, outcome.totals.token_requests, "{strategy:?}");
    outcome
}

#[test]
fn in_the_report_s_scenario_each_strategy_meets_what_it_must() {
    #[rustfmt::skip]
    let cases = [
        // strategy,                  401,            429,        gaps,             token requests
        (Strategy::PerWorker,         12_000..22_000, 0..1,       0..1,             12_000..22_000),
        (Strategy::PerWorkerJitter,   5_000..12_000,  0..1,       0..1,             5_000..12_000),
        (Strategy::SharedLock,        0..1,           1_000..9_000, 150_000..180_000, 1..2),
        (Strategy::IsRefreshing,      0..1,           1_000..9_000, 150_000..180_000, 1..2),
        (Strategy::OneToken,          0..1,           1_000..9_000, 150_000..180_000, 2..51),
        (Strategy::Bellwether,        0..1,           0..1,       0..1,             21..22),
        (Strategy::Gateway,           0..1,           0..1,       0..1,             21..22),
    ];
    for (strategy, status_401, status_429, gaps, token_requests) in cases {
        let outcome = run(&reported(), strategy);
        let found = (outcome.seen, outcome.polls, outcome.totals.token_requests);
        assert!(status_401.contains(&outcome.seen.status_401), "{strategy:?}: {found:?}");
        assert!(status_429.contains(&outcome.seen.status_429), "{strategy:?}: {found:?}");
        assert!(gaps.contains(&outcome.polls.gaps), "{strategy:?}: {found:?}");
        assert!(token_requests.contains(&outcome.totals.token_requests), "{strategy:?}: {found:?}");
    }
}

#[test]
fn a_quarter_of_an_hour_in_refused_logins_cluster_at_second_0() {
    let outcome = run(&reported(), Strategy::PerWorker);
    assert!(outcome.totals.throttled_logins > 20, "{:?}", outcome.totals);
    let by_second = outcome.series.token_requests_by_second;
    let others = by_second[1..].iter().sum::<u64>() / 59;
    assert!(by_second[0] > others, "{} at second 0, {others} at others", by_second[0]);
}

/// Callers of a token endpoint keep what they were handed, and the first ones all got the first
/// token: a pool behind it spreads nothing. The gateway takes a token for each request.
#[test]
fn through_the_token_endpoint_calls_must_fit_one_token() {
    let meets = |agents, pool, strategy| {
        let setup = Setup { agents, pool, profile: Profile::genesys(), ..reported() };
        let outcome = run(&setup, strategy);
        (outcome.seen.status_401, outcome.seen.status_429 > 0)
    };
    assert_eq!(meets(24, 1, Strategy::TokenEndpoint), (0, false), "288 calls a minute, one token");
    assert_eq!(meets(500, 25, Strategy::TokenEndpoint), (0, true));
    assert_eq!(meets(500, 25, Strategy::Gateway), (0, false));
}

/// The token endpoint is down for 30 s when the first tokens end, which live 5 min.
fn failed_login() -> Setup {
    let at = |second| Timestamp::ZERO + Duration::from_secs(second);
    Setup {
        profile: Profile { access_token_lifetime: Duration::from_secs(300), ..Profile::genesys() },
        faults: vec![Fault {
            from: at(290),
            until: at(320),
            endpoint: Endpoint::Token,
            effect: Effect::status(503),
            times: None,
        }],
        agents: 50,
        workers: 10,
        period: Duration::from_secs(10),
        length: Duration::from_secs(1200),
        pool: 2,
        ..reported()
    }
}

#[test]
fn after_one_failed_login_the_pasted_snippet_hangs_for_ever() {
    let hangs = run(&failed_login(), Strategy::IsRefreshing);
    assert_eq!(hangs.hung_workers, 10, "all of them");
    assert_eq!(hangs.totals.token_requests, 2, "the second failed, and there is no third");
    assert!(hangs.polls.gaps > 4_000, "{:?}", hangs.polls);
    for strategy in Strategy::ALL.into_iter().filter(|one| *one != Strategy::IsRefreshing) {
        let outcome = run(&failed_login(), strategy);
        assert_eq!(outcome.hung_workers, 0, "{strategy:?}");
        assert_eq!(outcome.polls.gaps == 0, strategy.is_bellwether(), "{strategy:?}");
    }
}

#[test]
fn a_lock_in_one_process_says_nothing_to_the_others() {
    let apart = |processes, strategy| {
        let profile = Profile { live_tokens_per_client: Some(5), ..Profile::plain() };
        let length = Duration::from_secs(600);
        let setup = Setup { profile, processes, length, agents: 400, pool: 1, ..reported() };
        run(&setup, strategy)
    };
    assert_eq!(apart(1, Strategy::SharedLock).seen.status_401, 0);
    assert!(apart(8, Strategy::SharedLock).seen.status_401 > 100);
    let shared = apart(8, Strategy::Bellwether);
    assert_eq!((shared.seen.status_401, shared.polls.gaps), (0, 0));
    assert_eq!(shared.totals.token_requests, 1, "eight processes, one store, one request");
}

#[test]
fn an_outage_is_seen_by_nobody_whose_token_outlives_it() {
    let at = |second| Timestamp::ZERO + Duration::from_secs(second);
    let mut setup = Setup { pool: 21, ..reported() };
    setup.profile =
        Profile { access_token_lifetime: Duration::from_secs(600), ..Profile::genesys() };
    setup.faults = vec![Fault {
        from: at(400),
        until: at(460),
        endpoint: Endpoint::Token,
        effect: Effect::Close,
        times: None,
    }];
    let outcome = run(&setup, Strategy::Bellwether);
    assert!(outcome.totals.unanswered > 0, "renewals met the outage");
    assert_eq!((outcome.seen.status_401, outcome.polls.gaps), (0, 0));
}

#[test]
fn the_same_seed_gives_the_same_counts_and_another_seed_others() {
    for strategy in Strategy::ALL {
        let told = |seed| format!("{:?}", run(&Setup { seed, ..reported() }, strategy));
        assert_eq!(told(3), told(3), "{strategy:?}");
        assert_ne!(told(3), told(4), "{strategy:?}");
    }
}

#[test]
fn too_few_workers_show_in_latency_from_due_and_not_in_latency_from_sending() {
    let profile = Profile {
        api_latency: bellwether_simulation::Latency::millis(400, 600),
        ..Profile::plain()
    };
    // 100 polls a second of half a second each need 50 workers.
    let setup = Setup { profile, workers: 45, length: Duration::from_secs(120), ..reported() };
    let outcome = run(&setup, Strategy::Bellwether);
    assert!(outcome.service.quantile(0.99) < Duration::from_millis(610));
    assert!(outcome.latency.quantile(0.99) > Duration::from_secs(4), "{:?}", outcome.polls);
}

#[test]
fn a_hundred_replicas_renew_each_credential_once_for_all() {
    let fleet = Fleet {
        profile: Profile { access_token_lifetime: Duration::from_secs(3600), ..Profile::genesys() },
        replicas: 100,
        credentials: 20,
        length: Duration::from_secs(6 * 3600),
        seed: 7,
    };
    let outcome = renew(&fleet, &mut |_| {});
    assert_eq!(outcome.token_requests, outcome.generations, "one request for each generation");
    // The first of a hundred leads is nearly always the earliest there can be: 0.7 of a life.
    let each = outcome.generations / 20;
    assert!((8..=9).contains(&each), "{outcome:?}");
    assert_eq!((outcome.ended_in_use, outcome.tokens_evicted), (0, 0), "{outcome:?}");
    assert!(outcome.adopted > 100 * outcome.generations / 2, "{outcome:?}");
    assert_eq!(outcome, renew(&fleet, &mut |_| {}));
}
