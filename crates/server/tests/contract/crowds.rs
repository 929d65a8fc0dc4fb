//! However many ask, one renewal is one request to the authorization server.

use std::time::Duration;

use bellwether_simulation::Latency;

use crate::support::{Ask, CLIENT, Reply, Stage, http};

const CROWD: usize = 1000;

/// A thousand connections that are all open before the first of them asks.
async fn crowd(stage: &Stage, ask: impl Fn(usize) -> Ask) -> Vec<Reply> {
    let mut connections = Vec::new();
    for _ in 0..CROWD {
        connections.push(http::Connection::to(stage.gateway).await);
    }
    let asked = connections.into_iter().enumerate().map(|(number, mut connection)| {
        let ask = ask(number);
        tokio::spawn(async move { connection.ask(&ask).await })
    });
    let asked: Vec<_> = asked.collect();
    let mut replies = Vec::new();
    for reply in asked {
        replies.push(reply.await.expect("no panic"));
    }
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_are_one_token_request() {
    let stage = Stage::open(crate::support::Setting::slow_login).await;
    let replies = crowd(&stage, |_| Ask::login()).await;
    let token = replies[0].token();
    assert!(replies.iter().all(|reply| reply.token() == token));
    assert_eq!(stage.token_requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_refusals_are_one_token_request() {
    let stage = Stage::open(crate::support::Setting::slow_login).await;
    let wrong = |_| Ask::token((CLIENT.0, "wrong"), "grant_type=client_credentials");
    let replies = crowd(&stage, wrong).await;
    assert!(
        replies
            .iter()
            .all(|reply| (reply.status, reply.error()) == (401, "invalid_client".to_owned()))
    );
    assert_eq!(stage.token_requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_share_one_renewal_when_the_token_ends() {
    let stage = Stage::open(crate::support::Setting::slow_login).await;
    let token = stage.token().await;
    stage.clock.skip(Duration::from_secs(3700));
    let replies = crowd(&stage, |_| Ask::login()).await;
    let renewed = replies[0].token();
    assert_ne!(renewed, token);
    assert!(replies.iter().all(|reply| reply.token() == renewed));
    assert_eq!(stage.token_requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_with_one_refresh_token_get_one_pair() {
    let stage = Stage::open(|setting| {
        setting.slow_login();
        setting.profile.rotation = bellwether_simulation::Rotation::Strict;
        setting.profile.reuse = bellwether_simulation::Reuse::RevokesFamily;
    })
    .await;
    let replies = crowd(&stage, |_| Ask::refresh("first-refresh-token")).await;
    let pair = |reply: &Reply| (reply.token(), reply.value()["refresh_token"].clone());
    let first = pair(&replies[0]);
    assert_ne!(first.1, "first-refresh-token");
    assert!(replies.iter().all(|reply| pair(reply) == first));
    let totals = stage.lab.totals();
    assert_eq!((totals.refresh_requests, totals.families_revoked), (1, 0));
}

/// A token dies while a thousand requests are under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_is_cured_for_a_thousand_with_one_renewal() {
    let stage = Stage::open(|setting| {
        setting.slow_login();
        setting.profile.api_latency = Latency::millis(20, 60);
    })
    .await;
    let token = stage.token().await;
    let get = |number: usize| Ask::get(&format!("/api/v2/users/{number}")).bearer(&token);
    assert_eq!(stage.ask(get(0)).await.status, 200);
    assert_eq!(stage.revoke_tokens(), 1);
    let replies = crowd(&stage, get).await;
    let refused = replies.iter().filter(|reply| reply.status != 200).count();
    assert_eq!(refused, 0, "{:?}", replies.iter().find(|reply| reply.status != 200));
    // Each got its own answer, not a neighbour's.
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!(reply.value()["path"], format!("/api/v2/users/{number}"));
    }
    let renewals = stage.token_requests() - 1;
    assert!((1..=2).contains(&renewals), "{renewals} renewals");
}
