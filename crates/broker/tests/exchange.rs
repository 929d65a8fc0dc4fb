//! Refresh made idempotent: one request upstream for however many present the same refresh token.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::oauth::{Client, ClientAuthentication, Scope, Secret, TokenError};
use bellwether_broker::{Exchange, ExchangeError, Pair, Presented, RenewalError};
use bellwether_simulation::{Effect, Latency, LoginLimit, Profile, Refusal, Reuse, Rotation};
use support::{CLIENT, World, client, distinct, millis, secs};
use tokio::task::JoinSet;
use tokio::time::sleep;

const REPLAY: Duration = secs(600);

/// A strict server, which revokes everything when a refresh token is shown twice.
fn strict() -> Profile {
    Profile {
        rotation: Rotation::Strict,
        reuse: Reuse::RevokesFamily,
        token_latency: Latency::millis(50, 50),
        ..Profile::plain()
    }
}

struct Story {
    world: World,
    exchange: Arc<Exchange>,
}

impl Story {
    fn over(profile: Profile) -> Self {
        let world = World::new(profile);
        let exchange = Arc::new(Exchange::new(&world.broker));
        Self { world, exchange }
    }

    /// A refresh token that somebody brings.
    fn issued(&self) -> Secret {
        let issued = self.world.organisation().issue_refresh_token(self.world.now(), CLIENT);
        Secret::from(issued.expect("the client is registered"))
    }

    fn presented(&self, refresh_token: &Secret) -> Presented {
        Presented {
            authorization_server: Arc::new(self.world.server()),
            client: client(support::SECRET),
            refresh_token: refresh_token.clone(),
            scope: Scope::default(),
            parameters: Vec::new(),
            replay: REPLAY,
        }
    }

    async fn refresh(&self, refresh_token: &Secret) -> Result<Arc<Pair>, ExchangeError> {
        self.exchange.refresh(self.presented(refresh_token)).await
    }

    async fn pair(&self, refresh_token: &Secret) -> Arc<Pair> {
        self.refresh(refresh_token).await.expect("a pair")
    }

    /// All present it at once.
    async fn crowd(&self, refresh_token: &Secret) -> Vec<Result<Arc<Pair>, ExchangeError>> {
        let mut callers = JoinSet::new();
        for _ in 0..1000 {
            let (exchange, presented) = (Arc::clone(&self.exchange), self.presented(refresh_token));
            callers.spawn(async move { exchange.refresh(presented).await });
        }
        callers.join_all().await
    }

    /// Refresh requests at the server, and how often the most used refresh token was shown.
    fn upstream(&self) -> (u64, u64) {
        let totals = self.world.totals();
        (totals.refresh_requests, totals.refresh_uses)
    }
}

fn texts(pair: &Arc<Pair>) -> (String, String) {
    (pair.access_token.expose().to_owned(), pair.refresh_token.expose().to_owned())
}

fn is_spent(result: &Result<Arc<Pair>, ExchangeError>) -> bool {
    matches!(result, Err(ExchangeError::Spent))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_who_present_the_same_token_share_one_request_and_one_pair() {
    let story = Story::over(strict());
    let first = story.issued();
    let start = story.world.now();
    let pairs = story.crowd(&first).await;
    let pairs: Vec<_> = pairs.iter().map(|pair| texts(pair.as_ref().expect("a pair"))).collect();
    assert_eq!(distinct(&pairs), 1);
    assert_eq!((story.upstream(), story.world.now().since(start)), ((1, 1), millis(50)));

    // Later ones get the same for ten minutes, its lifetime counted down.
    for _ in 0..5 {
        sleep(secs(119)).await;
        let pair = story.pair(&first).await;
        assert_eq!(texts(&pair), pairs[0]);
        let left = pair.expires_in(story.world.now()).expect("a known lifetime");
        assert_eq!(left, secs(3600) - story.world.now().since(start));
    }
    assert_eq!(story.upstream(), (1, 1));

    // Then it is spent, and is told so without a word to the server, which would revoke it all.
    sleep(secs(10)).await;
    assert!(story.crowd(&first).await.iter().all(is_spent));
    sleep(secs(24 * 3600)).await;
    assert!(is_spent(&story.refresh(&first).await));
    let (_, newest) = &pairs[0];
    story.pair(&Secret::from(newest.as_str())).await;
    assert_eq!((story.upstream(), story.world.totals().families_revoked), ((2, 1), 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_gets_the_newest_of_the_family() {
    let story = Story::over(strict());
    let first = story.issued();
    let second = story.pair(&first).await;
    sleep(secs(60)).await;
    let third = story.pair(&second.refresh_token).await;
    sleep(secs(60)).await;
    let fourth = story.pair(&third.refresh_token).await;
    assert_eq!(story.upstream(), (3, 1));
    for old in [&first, &second.refresh_token, &third.refresh_token] {
        assert_eq!(texts(&story.pair(old).await), texts(&fourth));
    }
    assert_eq!(story.upstream(), (3, 1));
    assert_eq!(story.world.totals().status_401, 0);
}

#[tokio::test(start_paused = true)]
async fn another_secret_is_refused_whenever_it_comes() {
    let story = Story::over(strict());
    let first = story.issued();
    let with = |secret: &str| Presented { client: client(secret), ..story.presented(&first) };
    // Together with the right one, and after it.
    let (right, wrong) = tokio::join!(story.refresh(&first), story.exchange.refresh(with("wrong")));
    let pair = right.expect("the right secret");
    let is_refused = |result: &Result<Arc<Pair>, ExchangeError>| {
        matches!(result, Err(ExchangeError::OtherSecret))
    };
    assert!(is_refused(&wrong), "{wrong:?}");
    assert!(is_refused(&story.exchange.refresh(with("")).await));
    let public = Client { id: CLIENT.to_owned(), authentication: ClientAuthentication::None };
    let public = Presented { client: public, ..story.presented(&first) };
    let refused = story.exchange.refresh(public).await;
    assert!(is_refused(&refused));
    let error = refused.expect_err("refused").token_error().expect("in the RFC's terms");
    assert_eq!((error.kind(), error.status()), ("invalid_client", 401));
    assert_eq!(texts(&story.pair(&first).await), texts(&pair));
    assert_eq!(story.upstream(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_that_comes_first_spoils_nothing() {
    let story = Story::over(strict());
    let first = story.issued();
    let wrong = Presented { client: client("wrong"), ..story.presented(&first) };
    let refused = story.exchange.refresh(wrong).await.expect_err("the server refuses it");
    assert_eq!(refused.token_error().map(|error| error.kind()), Some("invalid_client"));
    story.pair(&first).await;
}

#[tokio::test(start_paused = true)]
async fn other_parameters_are_another_request() {
    let story = Story::over(strict());
    let first = story.issued();
    story.pair(&first).await;
    let scope = Scope::parse("users:read").expect("a scope");
    let narrower = Presented { scope, ..story.presented(&first) };
    assert!(is_spent(&story.exchange.refresh(narrower).await));
    assert_eq!(story.upstream(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_never_sent_again() {
    let story = Story::over(strict());
    let first = story.issued();
    story.world.organisation().revoke_refresh_tokens(None);
    let refused = story.crowd(&first).await;
    let kinds = refused.iter().map(|result| {
        let error = result.as_ref().expect_err("it was revoked").token_error();
        error.expect("in the RFC's terms").kind()
    });
    assert!(kinds.clone().all(|kind| kind == "invalid_grant"));
    for wait in [1, 3600, 24 * 3600] {
        sleep(secs(wait)).await;
        let refused = story.refresh(&first).await.expect_err("it is known to be refused");
        let error = refused.token_error().expect("in the RFC's terms");
        assert!(matches!(error, TokenError::InvalidGrant { .. }), "{error}");
    }
    assert_eq!(story.upstream(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_all_who_came_together() {
    let story = Story::over(strict());
    let first = story.issued();
    story.world.fail_next(1, Effect::status(503));
    let failed = story.crowd(&first).await;
    assert!(failed.iter().all(|result| match result {
        Err(ExchangeError::Renewal(error)) => matches!(**error, RenewalError::Refused(_)),
        _ => false,
    }));
    assert_eq!(story.upstream(), (1, 1));
    story.pair(&first).await;
    assert_eq!(story.upstream().0, 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_once_more_when_the_token_is_presented_again() {
    // Within its window this server gives the pair again that was lost.
    let rotation = Rotation::SamePair { window: secs(30) };
    let story = Story::over(Profile { rotation, ..strict() });
    let first = story.issued();
    story.world.fail_next(1, Effect::LostAnswer);
    let lost = story.crowd(&first).await;
    assert!(lost.iter().all(|result| match result {
        Err(ExchangeError::Renewal(error)) => matches!(**error, RenewalError::AnswerLost(_)),
        _ => false,
    }));
    assert_eq!(story.upstream(), (1, 1));
    let pairs = story.crowd(&first).await;
    let pairs = pairs.iter().map(|pair| texts(pair.as_ref().expect("the pair that was lost")));
    assert_eq!((distinct(pairs), story.upstream()), (1, (2, 2)));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_rotates_a_token_serves_for_ever_and_is_sent_once_in_a_while() {
    let story = Story::over(Profile { rotation: Rotation::None, ..strict() });
    let first = story.issued();
    let pairs = story.crowd(&first).await;
    let pair = pairs[0].as_ref().expect("a pair");
    assert_eq!(pair.refresh_token, first);
    sleep(secs(300)).await;
    assert_eq!(texts(&story.pair(&first).await), texts(pair));
    assert_eq!(story.upstream().0, 1);
    for round in 2..5 {
        sleep(secs(3600)).await;
        let pairs = story.crowd(&first).await;
        assert!(pairs.iter().all(Result::is_ok));
        assert_eq!(story.upstream().0, round);
    }
}

#[tokio::test(start_paused = true)]
async fn an_exchange_outlives_who_asked_for_it_and_a_panic_lets_go() {
    let story = Story::over(strict());
    let (first, second) = (story.issued(), story.issued());
    let (exchange, presented) = (Arc::clone(&story.exchange), story.presented(&first));
    let asked = tokio::spawn(async move { exchange.refresh(presented).await });
    sleep(millis(20)).await;
    asked.abort();
    sleep(secs(1)).await;
    story.pair(&first).await;
    assert_eq!(story.upstream(), (1, 1), "its answer was kept");

    story.world.transport.panic_next(1);
    assert!(story.refresh(&second).await.is_err());
    let asked_at = story.world.now();
    story.pair(&second).await;
    assert!(story.world.now().since(asked_at) < secs(1), "nothing is held by the dead");
}

/// Callers who retry do not know of each other; the server meets them as it meets renewals.
#[tokio::test(start_paused = true)]
async fn a_crowd_that_retries_in_an_outage_is_a_handful_of_requests() {
    for (callers_have_one_token, latency) in
        [(true, millis(50)), (true, millis(2)), (false, millis(50)), (false, millis(2))]
    {
        let token_latency = Latency { least: latency, most: latency };
        let story = Story::over(Profile { token_latency, rotation: Rotation::None, ..strict() });
        // Its secret is known to be right.
        story.pair(&story.issued()).await;
        sleep(secs(60)).await;
        let shared = story.issued();
        let start = story.world.now();
        story.world.fail(secs(2), Effect::status(500));
        let mut callers = JoinSet::new();
        for number in 0..100 {
            let own = if callers_have_one_token { shared.clone() } else { story.issued() };
            let (exchange, presented) = (Arc::clone(&story.exchange), story.presented(&own));
            callers.spawn(async move {
                while exchange.refresh(presented.clone()).await.is_err() {
                    sleep(millis(50 + number * 37 % 101)).await;
                }
            });
        }
        callers.join_all().await;
        let arrivals = story.world.arrivals(start);
        let in_vain = arrivals.iter().filter(|at| **at < secs(2)).count();
        // All who have a token of their own were there when it began, as far as the client's
        // allowance goes; then one probe goes at a time.
        let most = if callers_have_one_token { 5 } else { 16 + 5 };
        let which = format!("one token for all: {callers_have_one_token}, {latency:?}");
        assert!(in_vain <= most, "{which}: {in_vain} in vain");
        let served = if callers_have_one_token { 1 } else { 100 };
        assert_eq!(arrivals.len() - in_vain, served, "{which}");
    }
}

/// A client has so many token requests a second, whoever makes them.
#[tokio::test(start_paused = true)]
async fn many_tokens_of_one_client_keep_to_its_allowance() {
    let login_limit =
        Some(LoginLimit { count: 10, per: secs(1), burst: 20, refusal: Refusal::InvalidRequest });
    let story = Story::over(Profile { login_limit, rotation: Rotation::None, ..strict() });
    story.pair(&story.issued()).await;
    sleep(secs(60)).await;
    let mut callers = JoinSet::new();
    for _ in 0..80 {
        let (exchange, presented) = (Arc::clone(&story.exchange), story.presented(&story.issued()));
        callers.spawn(async move { exchange.refresh(presented).await.map(|_| ()) });
    }
    let answers = callers.join_all().await;
    assert!(answers.iter().all(Result::is_ok), "80 at 8 a second are served within 14 s");
    assert_eq!(story.world.totals().throttled_logins, 0);
}

/// Whoever tries secrets has a small allowance, and spends nothing of the others'.
#[tokio::test(start_paused = true)]
async fn a_crowd_of_wrong_secrets_delays_nobody() {
    let story = Story::over(strict());
    story.pair(&story.issued()).await;
    let start = story.world.now();
    let mut guessers = JoinSet::new();
    for number in 0..500 {
        let guess = client(&format!("guess {number}"));
        let presented = Presented { client: guess, ..story.presented(&story.issued()) };
        let exchange = Arc::clone(&story.exchange);
        guessers.spawn(async move { exchange.refresh(presented).await.is_err() });
    }
    sleep(millis(1)).await;
    let asked_at = story.world.now();
    story.pair(&story.issued()).await;
    assert_eq!(story.world.now().since(asked_at), millis(50));
    assert!(guessers.join_all().await.into_iter().all(|refused| refused));
    let requests = story.world.arrivals(start).len();
    assert!(requests <= 50 + 5 * 14 + 2, "{requests}");
}

/// What is known needs no server.
#[tokio::test(start_paused = true)]
async fn a_replay_is_answered_at_once_while_the_server_is_down() {
    let story = Story::over(strict());
    let (first, other) = (story.issued(), story.issued());
    let pair = story.pair(&first).await;
    story.world.fail(secs(60), Effect::status(500));
    let failing = story.refresh(&other).await;
    assert!(failing.is_err());
    let asked_at = story.world.now();
    assert_eq!(texts(&story.pair(&first).await), texts(&pair));
    assert_eq!(story.world.now(), asked_at);
}

/// Several replicas on one store: the first to come exchanges it for all.
#[tokio::test(start_paused = true)]
async fn eight_brokers_on_one_store_make_one_request() {
    let story = Story::over(strict());
    let first = story.issued();
    let mut callers = JoinSet::new();
    let mut brokers = Vec::new();
    for seed in 0..8 {
        let broker = story.world.another_broker(seed);
        let exchange = Arc::new(Exchange::new(&broker));
        brokers.push(broker);
        for _ in 0..20 {
            let (exchange, presented) = (Arc::clone(&exchange), story.presented(&first));
            callers
                .spawn(async move { texts(&exchange.refresh(presented).await.expect("a pair")) });
        }
    }
    assert_eq!(distinct(callers.join_all().await), 1);
    assert_eq!(story.upstream(), (1, 1));
}

/// Nor do replicas repeat a failure that they all waited for: a strict server would count each.
#[tokio::test(start_paused = true)]
async fn eight_brokers_on_one_store_share_a_failure() {
    for effect in [Effect::LostAnswer, Effect::status(503), Effect::Stall { processed: false }] {
        let story = Story::over(Profile { rotation: Rotation::None, ..strict() });
        let first = story.issued();
        story.world.fail(secs(11), effect.clone());
        let mut callers = JoinSet::new();
        let mut brokers = Vec::new();
        for seed in 0..8 {
            let broker = story.world.another_broker(seed);
            let exchange = Exchange::new(&broker);
            brokers.push(broker);
            let presented = story.presented(&first);
            callers.spawn(async move { exchange.refresh(presented).await.is_err() });
        }
        assert!(callers.join_all().await.into_iter().all(|failed| failed), "{effect:?}");
        assert_eq!(story.upstream(), (1, 1), "{effect:?}");

        // What is presented after that is sent on once more.
        sleep(secs(12)).await;
        story.pair(&first).await;
        assert_eq!(story.upstream(), (2, 2), "{effect:?}");
    }
}
