//! The API's limits: who waits, who is told to come again, and what answers tell of them.

use std::time::Duration;

use bellwether_broker::lifecycle::Quota;

use crate::support::origin::answer;
use crate::support::{Ask, BOTH_KEY, Connection, Origin, POLLER_KEY, Stage, Stopwatch};

#[tokio::test]
async fn what_has_no_room_in_time_is_told_at_once_when_to_come_again() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| {
        setting.resource_server = Some(api.url("/"));
        setting.quota = Some(Quota { requests: 2, per: Duration::from_secs(60) });
    })
    .await;
    let token = stage.token().await;
    for _ in 0..2 {
        assert_eq!(stage.ask(Ask::get("/api/x").bearer(&token)).await.status, 200);
    }
    let watch = Stopwatch::start();
    let reply = stage.ask(Ask::get("/api/x").bearer(&token)).await;
    assert_eq!(reply.refusal(), (429, "temporarily_unavailable".to_owned(), true));
    let again: u64 = reply.header("retry-after").expect("when").parse().expect("seconds");
    assert!((59..=62).contains(&again), "{again}");
    assert!(watch.elapsed() < Duration::from_secs(5), "at once");
    assert_eq!(api.recorded().len(), 2);
}

/// What an API tells of its limit is kept to, whatever it calls it; one that tells nothing is not held
/// to anything.
#[tokio::test]
async fn a_limit_that_answers_tell_of_is_kept_to() {
    let cases = [
        ("", None),
        ("RateLimit: \"default\";r=1;t=30\r\n", Some(31)),
        ("RateLimit-Remaining: 1\r\nRateLimit-Reset: 30\r\nRateLimit-Limit: 9\r\n", Some(31)),
        ("X-RateLimit-Remaining: 1\r\nX-RateLimit-Reset: 30\r\n", Some(31)),
        ("X-Rate-Limit-Remaining: 1\r\nX-Rate-Limit-Reset: 20000000000\r\n", Some(3601)),
        ("inin-ratelimit-count: 8\r\ninin-ratelimit-allowed: 9\r\n", Some(61)),
        ("X-RateLimit-Remaining: many\r\n", None),
    ];
    for (fields, most) in cases {
        let api = Origin::start(move |_| answer("200 OK", fields, "{}")).await;
        let stage = Stage::open(|setting| setting.resource_server = Some(api.url("/"))).await;
        let token = stage.token().await;
        for _ in 0..2 {
            assert_eq!(stage.ask(Ask::get("/api/x").bearer(&token)).await.status, 200, "{fields}");
            // The same window: what is left becomes less only by what is sent.
            stage.clock.skip(Duration::from_millis(1));
        }
        let reply = stage.ask(Ask::get("/api/x").bearer(&token)).await;
        // The origin says "one left" each time; the first answer counts.
        match most {
            None => assert_eq!(reply.status, 200, "{fields}"),
            Some(most) => {
                assert_eq!(reply.status, 429, "{fields}");
                let again = reply.header("retry-after").expect("when");
                let again: u64 = again.parse().expect("seconds");
                assert!((most - 3..=most).contains(&again), "{fields}: {again}");
            }
        }
    }
}

/// A quiet caller's one request goes in its turn, however many of another's stand before it.
#[tokio::test]
async fn one_noisy_caller_does_not_starve_another() {
    let api = Origin::content().await;
    let stage = Stage::configured(|setting| {
        setting.resource_server = Some(api.url("/"));
        setting.quota = Some(Quota { requests: 10, per: Duration::from_millis(300) });
    })
    .await;
    stage.until_held("polling").await;
    let noisy = Ask::get("/api/noisy").bearer(BOTH_KEY).header("Bellwether-Credential", "polling");
    let mut connections = Vec::new();
    for _ in 0..60 {
        let mut connection = Connection::to(stage.gateway).await;
        connection.write(&noisy.bytes()).await;
        connections.push(connection);
    }
    let quiet = stage.ask(Ask::get("/api/quiet").bearer(POLLER_KEY)).await;
    assert_eq!(quiet.status, 200);
    for connection in &mut connections {
        assert_eq!(connection.reply(false).await.status, 200);
    }
    let recorded = api.recorded();
    let position = recorded.iter().position(|request| request.target() == "/api/quiet");
    assert_eq!(recorded.len(), 61);
    assert!(position.is_some_and(|position| position <= 40), "{position:?} of 61");
}
