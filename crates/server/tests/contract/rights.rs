//! What a caller may do, and for how long: its paths and methods, its keys, and the tokens it was given.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::UnixTime;
use bellwether_broker::oauth::Secret;
use bellwether_broker::store::{Clock, Keyring, MemoryStore};
use bellwether_server::{CallerKey, CallerSettings, HandOut};
use http::Method;

use crate::support::{Ask, BOTH_KEY, Connection, POLLER_KEY, Stage, callers};

const GRANT: &str = "grant_type=client_credentials";
const NEWER_KEY: &str = "newer-key-0123456789-0123456789-abcd";

fn login() -> Ask {
    Ask::token(("poller", POLLER_KEY), GRANT)
}

/// `poller` may read users and all of analytics; `both` may do anything.
fn limited() -> Vec<CallerSettings> {
    let mut all = callers();
    let paths = ["/api/v2/users", "/api/v2/analytics/*"];
    all[0].paths = Some(paths.map(str::to_owned).into());
    all[0].methods = Some(vec![Method::GET]);
    all
}

#[tokio::test]
async fn paths_and_methods_bind_keys_and_tokens_alike() {
    for hand_out in [HandOut::Real, HandOut::Local] {
        let stage = Stage::configured(|setting| {
            setting.callers = limited();
            setting.hand_out = hand_out;
        })
        .await;
        let token = stage.ask(login()).await.token();
        let unknown =
            Ask::get("/api/v2/users").bearer(BOTH_KEY).header("Bellwether-Credential", "unheard");
        let unknown = stage.ask(unknown).await;
        assert_eq!(unknown.refusal(), (404, "not_found".to_owned(), true));
        for shown in [POLLER_KEY, &token] {
            #[rustfmt::skip]
            let cases = [
                ("GET",    "/api/v2/users",              200),
                ("GET",    "/api/v2/users?page=2",       200),
                ("GET",    "/api/v2/analytics/queues/7", 200),
                ("POST",   "/api/v2/users",              404),
                ("DELETE", "/api/v2/analytics/queues",   404),
                ("GET",    "/api/v2/users/7",            404),
                ("GET",    "/api/v2/usersx",             404),
                ("GET",    "/api/v2/analytics/..;/users", 400),
                ("GET",    "/api/v2/analytics/../users", 400),
                ("GET",    "/",                          404),
            ];
            for (method, path, status) in cases {
                let before = stage.lab.totals().api_requests;
                let reply = stage.ask(Ask::new(method, path).bearer(shown)).await;
                assert_eq!(reply.status, status, "{hand_out:?} {method} {path}: {reply:?}");
                let sent = stage.lab.totals().api_requests - before;
                assert_eq!(sent, u64::from(status == 200), "{method} {path}");
                if status == 404 {
                    assert_eq!(reply.text(), unknown.text(), "as if there were no such credential");
                }
            }
        }
        // What it may have tokens of is another matter.
        assert_eq!(stage.ask(Ask::rest("polling/token")).await.status, 200);
        let other = Ask::new("POST", "/api/v2/users").bearer(BOTH_KEY);
        let reply = stage.ask(other.header("Bellwether-Credential", "polling")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

/// One connection, on which everything that could be remembered is.
#[tokio::test]
async fn callers_change_with_the_next_request() {
    for hand_out in [HandOut::Real, HandOut::Local] {
        let stage = Stage::configured(|setting| setting.hand_out = hand_out).await;
        let mut connection = Connection::to(stage.gateway).await;
        let token = connection.ask(&login()).await.token();
        let asks = [
            login(),
            Ask::rest("polling/token"),
            Ask::get("/api/x").bearer(POLLER_KEY),
            Ask::get("/api/x").bearer(&token),
        ];
        let newer = || CallerSettings::with_key("poller", NEWER_KEY.into(), &["polling"]);
        let overlapping = || {
            let mut caller = newer();
            caller.keys.push(CallerKey { key: Secret::from(POLLER_KEY), expires: None });
            caller
        };
        let elsewhere = || CallerSettings::with_key("poller", POLLER_KEY.into(), &["second"]);
        #[rustfmt::skip]
        let steps = [
            // now there are,                    login, rest, key, token
            (callers(),                          [200, 200, 200, 200]),
            (vec![overlapping()],                [200, 200, 200, 200]),
            (vec![newer()],                      [401, 401, 401, 401]),
            (vec![overlapping()],                [200, 200, 200, 200]),
            (vec![elsewhere()],                  [200, 404, 200, 401]),
            (callers().split_off(1),             [401, 401, 401, 401]),
            (vec![],                             [401, 401, 401, 401]),
            (callers(),                          [200, 200, 200, 200]),
        ];
        for (number, (callers, expected)) in steps.into_iter().enumerate() {
            stage.answering.replace_callers(&callers);
            let mut told = [0; 4];
            for (ask, told) in asks.iter().zip(&mut told) {
                *told = connection.ask(ask).await.status;
            }
            assert_eq!(told, expected, "{hand_out:?}, step {number}");
        }
    }
}

#[tokio::test]
async fn a_key_ends_when_it_says_and_its_tokens_with_it() {
    for hand_out in [HandOut::Real, HandOut::Local] {
        let stage = Stage::configured(|setting| {
            setting.hand_out = hand_out;
            let end = UnixTime::from_secs(setting.clock.wall().as_secs() + 600);
            setting.callers[0].keys[0].expires = Some(end);
            let newer = CallerKey { key: Secret::from(NEWER_KEY), expires: None };
            setting.callers[0].keys.push(newer);
        })
        .await;
        let mut connection = Connection::to(stage.gateway).await;
        let token = connection.ask(&login()).await.token();
        let asks = [login(), Ask::rest("polling/token"), Ask::get("/api/x").bearer(&token)];
        for ask in &asks {
            assert_eq!(connection.ask(ask).await.status, 200, "{ask:?}");
        }
        stage.clock.skip(Duration::from_secs(601));
        for ask in &asks {
            assert_eq!(connection.ask(ask).await.status, 401, "{ask:?}");
        }
        let newer = connection.ask(&Ask::token(("poller", NEWER_KEY), GRANT)).await.token();
        assert_eq!(connection.ask(&Ask::get("/api/x").bearer(&newer)).await.status, 200);
    }
}

/// Over a restart a local token says by itself whose it is.
#[tokio::test]
async fn a_local_token_is_its_callers_after_a_restart_too() {
    let clock: Arc<dyn Clock> = Arc::new(crate::support::SkippingClock::new());
    let store = Arc::new(MemoryStore::new(clock));
    let start = async |callers: Vec<CallerSettings>| {
        Stage::configured(|setting| {
            setting.hand_out = HandOut::Local;
            setting.store = Some((store.clone(), Keyring::from_bytes(&[7; Keyring::KEY_LEN])));
            setting.callers = callers;
        })
        .await
    };
    let first = start(callers()).await;
    let token = first.ask(login()).await.token();
    assert_eq!(first.ask(login()).await.token(), token, "the same for one caller");
    let other = first.ask(Ask::token(("both/polling", BOTH_KEY), GRANT)).await.token();
    assert_ne!(other, token, "another for another");
    drop(first);

    let get = |token: &str| Ask::get("/api/v2/users/7").bearer(token);
    let again = start(limited()).await;
    assert_eq!(again.ask(get(&token)).await.status, 404, "as its caller is limited now");
    assert_eq!(again.ask(get(&other)).await.status, 200);
    drop(again);

    let without = start(callers().split_off(1)).await;
    assert_eq!(without.ask(get(&token)).await.status, 401);
    assert_eq!(without.ask(get(&other)).await.status, 200);
    for at in 0..token.len() {
        let mut forged = other.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).expect("ASCII");
        let status = without.ask(get(&forged)).await.status;
        assert!(matches!(status, 401 | 429), "{at}: {status}");
    }
}

#[tokio::test]
async fn many_wrong_keys_are_429_and_the_right_one_is_taken_at_once() {
    let stage = Stage::configured(|_| {}).await;
    let wrong = |number: usize| format!("wrong-key-0123456789-0123456789-{number:04}");
    let guess = |number: usize| match number % 3 {
        0 => Ask::rest("polling/token").without("authorization").bearer(&wrong(number)),
        1 => Ask::get("/api/x").bearer(&wrong(number)),
        _ => Ask::token(("poller", &wrong(number)), GRANT),
    };
    for number in 0..20 {
        assert_eq!(stage.ask(guess(number)).await.status, 401, "{number}");
    }
    for number in 20..30 {
        let reply = stage.ask(guess(number)).await;
        assert_eq!(reply.refusal(), (429, "too_many_wrong_keys".to_owned(), true), "{number}");
        let wait: u64 = reply.header("retry-after").expect("a wait").parse().expect("seconds");
        assert!((1..=60).contains(&wait), "{wait}");
        for right in [login(), Ask::rest("polling/token"), Ask::get("/api/x").bearer(POLLER_KEY)] {
            assert_eq!(stage.ask(right).await.status, 200);
        }
        assert_eq!(stage.ask(guess(1)).await.status, 401, "an outdated key is no guess");
    }
    stage.clock.skip(Duration::from_secs(60));
    assert_eq!(stage.ask(guess(20)).await.status, 401);
}
