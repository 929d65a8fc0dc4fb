//! What the token endpoint answers when all is well (RFC 6749 §5.1).

use std::time::Duration;

use bellwether_simulation::{Effect, ExpiresIn};

use crate::support::{Ask, CLIENT, Stage};

const CLIENT_CREDENTIALS: &str = "grant_type=client_credentials";

#[tokio::test]
async fn a_token_response_has_what_the_rfc_asks_for() {
    let stage = Stage::open(|_| {}).await;
    let reply = stage.login().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("pragma"), Some("no-cache"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("bellwether-error"), None);
    let body = reply.value();
    let mut names: Vec<&String> = body.as_object().expect("an object").keys().collect();
    names.sort();
    assert_eq!(names, ["access_token", "expires_in", "token_type"]);
    assert_eq!(body["token_type"], "Bearer");
    let expires_in = body["expires_in"].as_u64().expect("whole seconds");
    assert!((3598..=3600).contains(&expires_in), "{expires_in}");
}

#[tokio::test]
async fn expires_in_is_what_remains() {
    let stage = Stage::open(|_| {}).await;
    let first = stage.login().await;
    stage.clock.skip(Duration::from_secs(1000));
    let later = stage.login().await;
    assert_eq!(later.token(), first.token());
    let expires_in = later.value()["expires_in"].as_u64().expect("whole seconds");
    assert!((2595..=2600).contains(&expires_in), "{expires_in}");
}

/// Asked at every fortieth of two lives, for lives long and short.
#[tokio::test]
async fn no_caller_is_given_the_end_of_a_life() {
    for life in [86_400, 3600, 200, 180, 170, 90, 30] {
        let stage = Stage::open(|setting| {
            setting.profile.access_token_lifetime = Duration::from_secs(life);
        })
        .await;
        for step in 0..80 {
            let reply = stage.login().await;
            let expires_in = reply.value()["expires_in"].as_u64().expect("whole seconds");
            let least = if life >= 180 { 61 } else { life / 3 };
            assert!(expires_in >= least, "{expires_in} s of {life} s, step {step}");
            stage.clock.skip(Duration::from_secs(life) / 40);
        }
        // Sixty seconds and a fraction read as sixty.
        let until_floor = Duration::from_secs(life) - floor(life) - Duration::from_millis(400);

        let stage = Stage::open(|setting| {
            setting.profile.access_token_lifetime = Duration::from_secs(life);
        })
        .await;
        stage.login().await;
        stage.clock.skip(until_floor);
        let expires_in = stage.login().await.value()["expires_in"].as_u64().expect("seconds");
        let least = if life >= 180 { 61 } else { life / 3 };
        assert!(expires_in >= least, "{expires_in} s of {life} s just before the floor");
    }
}

#[tokio::test]
async fn while_renewal_fails_the_true_remainder_is_served_to_its_end() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    stage.login_answers(Effect::status(500));
    for (skip, most) in [(3500, 100), (60, 40), (30, 10)] {
        stage.clock.skip(Duration::from_secs(skip));
        let reply = stage.login().await;
        assert_eq!(reply.token(), token);
        let expires_in = reply.value()["expires_in"].as_u64().expect("whole seconds");
        assert!((most - 8..=most).contains(&expires_in), "{expires_in} s, expected {most}");
    }
}

#[tokio::test]
async fn an_unknown_lifetime_is_served_without_expires_in() {
    let stage = Stage::open(|setting| {
        setting.profile.expires_in = ExpiresIn::Omitted;
        setting.default_lifetime = Duration::from_secs(1);
    })
    .await;
    let first = stage.login().await;
    assert!(first.value().get("expires_in").is_none(), "{first:?}");
    // It is renewed after the default lifetime, which ends nothing.
    let renewed = async {
        while stage.token().await == first.token() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), renewed).await.expect("a renewal");
    assert_eq!(stage.lab.totals().live_tokens, 2);
}

/// The header, the body, either path, any order, percent-encoding: the same client.
#[tokio::test]
async fn a_client_authenticates_in_the_header_or_in_the_body() {
    let stage = Stage::open(|_| {}).await;
    let token = stage.token().await;
    let (id, secret) = CLIENT;
    let body = format!("client_secret={secret}&{CLIENT_CREDENTIALS}&client_id={id}");
    let encoded =
        "grant%5Ftype=client%5Fcredentials&client_id=%61pp&client_secret=s3cret-of-the-app";
    let post = |target: &str| Ask::new("POST", target);
    let same = [
        post("/oauth/token").form(&body),
        post("/oauth/token").form(encoded),
        post("/login/oauth/token").basic(id, secret).form(CLIENT_CREDENTIALS),
        post("/oauth/token")
            .basic(id, secret)
            .form(&format!("{CLIENT_CREDENTIALS}&client_id={id}")),
        post("/oauth/token").basic("%61pp", secret).form(CLIENT_CREDENTIALS),
        post("/oauth/token").basic(id, secret).form(&format!("{CLIENT_CREDENTIALS}&scope=")),
        post("/oauth/token")
            .basic(id, secret)
            .form(&format!("{CLIENT_CREDENTIALS}&client_secret=")),
        post("/oauth/token").basic(id, secret).body(
            "Application/X-WWW-Form-Urlencoded; charset=UTF-8",
            CLIENT_CREDENTIALS.as_bytes(),
        ),
    ];
    for (number, ask) in same.into_iter().enumerate() {
        assert_eq!(stage.ask(ask).await.token(), token, "row {number}");
    }
    assert_eq!(stage.token_requests(), 1);
}

#[tokio::test]
async fn scope_and_every_parameter_are_part_of_a_tokens_identity() {
    let stage = Stage::open(|_| {}).await;
    #[rustfmt::skip]
    let asks = [
        // what is added to the form,                 the same token as
        ("",                                          "A"),
        ("&scope=read",                               "B"),
        ("&scope=write",                              "C"),
        ("&scope=read+write",                         "D"),
        ("&scope=write+read",                         "D"),
        ("&scope=read++write+read",                   "D"),
        ("&audience=one",                             "E"),
        ("&audience=two",                             "F"),
        ("&audience=one&audience=two",                "G"),
        ("&resource=one",                             "H"),
        ("&scope=read&audience=one",                  "I"),
        ("&audience=one&scope=read",                  "I"),
        ("&tenant=",                                  "A"),
        ("",                                          "A"),
    ];
    let mut known: Vec<(&str, String)> = Vec::new();
    for (addition, name) in asks {
        let ask = Ask::token(CLIENT, &format!("{CLIENT_CREDENTIALS}{addition}"));
        let token = stage.ask(ask).await.token();
        match known.iter().find(|(known, _)| *known == name) {
            Some((_, before)) => assert_eq!(*before, token, "{addition:?}"),
            None => {
                let stranger = known.iter().all(|(_, other)| *other != token);
                assert!(stranger, "{addition:?} got another's token");
                known.push((name, token));
            }
        }
    }
    assert_eq!(stage.token_requests(), 9);
}

#[tokio::test]
async fn the_granted_scope_comes_back() {
    let stage = Stage::open(|_| {}).await;
    let reply = stage.ask(Ask::token(CLIENT, "grant_type=client_credentials&scope=read")).await;
    assert_eq!(reply.value()["scope"], "read");
}

#[tokio::test]
async fn nobodys_wrong_secret_gets_the_cached_token() {
    let stage = Stage::open(|_| {}).await;
    stage.token().await;
    for wrong in ["", "S3cret-of-the-app", "s3cret-of-the-ap", "s3cret-of-the-app ", "null"] {
        let reply = stage.ask(Ask::token((CLIENT.0, wrong), CLIENT_CREDENTIALS)).await;
        assert_eq!(reply.refusal(), (401, "invalid_client".to_owned(), true), "{wrong:?}");
    }
    let without =
        Ask::new("POST", "/oauth/token").form("grant_type=client_credentials&client_id=app");
    assert_eq!(stage.ask(without).await.status, 401);
}

#[tokio::test]
async fn a_changed_secret_is_noticed() {
    let stage = Stage::open(|_| {}).await;
    let before = stage.token().await;
    stage.lab.with(|organisation, _| organisation.set_client_secret(CLIENT.0, "the-new-secret"));
    let renewed = stage.ask(Ask::token((CLIENT.0, "the-new-secret"), CLIENT_CREDENTIALS)).await;
    assert_ne!(renewed.token(), before);
    // Whoever still comes with the old one is asked about anew.
    let old = stage.login().await;
    assert_eq!(old.refusal(), (401, "invalid_client".to_owned(), true));
    let again = stage.ask(Ask::token((CLIENT.0, "the-new-secret"), CLIENT_CREDENTIALS)).await;
    assert_eq!(again.token(), renewed.token());
}

/// Guesses have a budget of their own.
#[tokio::test]
async fn unverified_secrets_do_not_delay_verified_ones() {
    let stage = Stage::open(|setting| {
        setting.profile.access_token_lifetime = Duration::from_secs(30);
    })
    .await;
    let token = stage.token().await;
    let guesses: Vec<_> = (0..100)
        .map(|guess| Ask::token((CLIENT.0, &format!("guess-{guess}")), CLIENT_CREDENTIALS))
        .map(|ask| tokio::spawn(crate::support::http::ask(stage.gateway, ask)))
        .collect();
    // A renewal that is due now, while the guesses queue.
    stage.clock.skip(Duration::from_secs(25));
    let began = crate::support::Stopwatch::start();
    let renewed = stage.token().await;
    assert_ne!(renewed, token);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for guess in &guesses {
        guess.abort();
    }
}

#[tokio::test]
async fn the_java_sdk_that_has_nothing_to_refresh_with_is_told_so() {
    for genesys in [false, true] {
        let stage = Stage::open(|setting| setting.genesys = genesys).await;
        for form in ["grant_type=refresh_token&refresh_token=", "grant_type=refresh_token"] {
            let reply = stage.ask(Ask::token(("null", "null"), form)).await;
            assert_eq!(reply.refusal(), (400, "invalid_request".to_owned(), true));
            assert_eq!(reply.header("bellwether-error"), Some("java-sdk-null-credentials"));
            let description = reply.value()["error_description"].to_string();
            assert!(description.contains("withAccessToken"), "{description}");
        }
        assert_eq!(stage.token_requests(), 0);
    }
}

fn floor(life: u64) -> Duration {
    if life >= 180 { Duration::from_secs(60) } else { Duration::from_secs(life) / 3 }
}
