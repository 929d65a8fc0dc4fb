//! What the token endpoint answers, and what the API makes of the tokens.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::{
    Client, Effect, Endpoint, Fault, LoginLimit, Organisation, Outcome, Profile, Refusal, Request,
    Response, Unauthorized, UnauthorizedCode, Verdict,
};

fn genesys() -> Profile {
    Profile::genesys().client(Client::new("app", "secret"))
}

/// Arrives at `second` by both clocks and expects a whole response.
fn ask(organisation: &mut Organisation, second: u64, request: &Request) -> Response {
    let (now, wall) = (Timestamp::from_secs(second), UnixTime::from_secs(second));
    let answer = organisation.handle(now, wall, request);
    answer.outcome.response().cloned().expect("a whole response")
}

fn login(organisation: &mut Organisation, second: u64) -> String {
    let response = ask(organisation, second, &Request::client_credentials("app", "secret"));
    assert_eq!(response.status, 200, "{}", response.value());
    response.text("access_token")
}

fn poll(organisation: &mut Organisation, second: u64, token: &str) -> u16 {
    ask(organisation, second, &Request::get("/api/v2/users/7/presence", token)).status
}

fn verdicts(organisation: &Organisation) -> Vec<Verdict> {
    organisation.ledger().entries().map(|entry| entry.verdict).collect()
}

#[test]
fn a_token_works_until_its_last_second() {
    let mut organisation = Organisation::new(genesys(), 1);
    let request = Request::client_credentials("app", "secret");
    let response = ask(&mut organisation, 100, &request);
    let body = response.value();
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 86_400);
    assert!(body.get("refresh_token").is_none(), "client credentials come without one");
    assert_eq!(response.header_value("Cache-Control"), Some("no-store"));

    let token = response.text("access_token");
    let sample = ask(&mut organisation, 101, &Request::get("/api/v2/users/7?expand=x", &token));
    assert_eq!(sample.value()["path"], "/api/v2/users/7");
    assert_eq!(poll(&mut organisation, 100 + 86_399, &token), 200);
    assert_eq!(poll(&mut organisation, 100 + 86_400, &token), 401);
    let expected = [Verdict::Issued, Verdict::Accepted, Verdict::Accepted, Verdict::Expired];
    assert_eq!(verdicts(&organisation), expected);
}

#[test]
fn each_bad_token_request_gets_the_vendors_error() {
    let form = |fields: &[(&str, &str)]| Request::form("/oauth/token", "app", "secret", fields);
    #[rustfmt::skip]
    let cases = [
        // request,                                          status, error,                    description
        (Request::client_credentials("nobody", "secret"),    400, "invalid_client",         "client not found"),
        (Request::client_credentials("app", "wrong"),        400, "invalid_client",         "authentication failed"),
        (Request::refresh("null", "null", ""),               400, "invalid_client",         "client not found"),
        (Request::refresh("app", "secret", "never-issued"),  400, "invalid_grant",          "refresh token is invalid, expired or revoked"),
        (form(&[]),                                          400, "invalid_request",        "grant_type is missing"),
        (form(&[("grant_type", "password")]),                400, "unsupported_grant_type", "the grant is not offered"),
        (form(&[("scope", "a"), ("scope", "b")]),            400, "invalid_request",        "a parameter is repeated"),
        (Request::new("GET", "/oauth/token"),                405, "invalid_request",        "only POST is allowed"),
    ];
    for (request, status, error, description) in cases {
        let mut organisation = Organisation::new(genesys(), 1);
        let response = ask(&mut organisation, 1, &request);
        let body = response.value();
        assert_eq!(response.status, status, "{body}");
        assert_eq!(body["error"], error);
        assert_eq!(body["error_description"], description);
        assert_eq!(body["description"], description, "the vendor says it twice");
    }
}

#[test]
fn one_token_more_than_the_cap_ends_the_oldest() {
    let mut organisation =
        Organisation::new(Profile { live_tokens_per_client: Some(3), ..genesys() }, 1);
    let tokens: Vec<_> = (0..4).map(|second| login(&mut organisation, second)).collect();
    let statuses: Vec<_> = tokens.iter().map(|token| poll(&mut organisation, 9, token)).collect();
    assert_eq!(statuses, [401, 200, 200, 200]);
    let totals = organisation.totals(Timestamp::from_secs(9));
    assert_eq!((totals.tokens_issued, totals.tokens_evicted, totals.live_tokens), (4, 1, 3));
    assert_eq!(totals.api_evicted, 1);

    // Expired tokens do not count, so a day later nobody is evicted.
    login(&mut organisation, 90_000);
    let totals = organisation.totals(Timestamp::from_secs(90_000));
    assert_eq!((totals.tokens_evicted, totals.live_tokens), (1, 1));
}

#[test]
fn a_used_up_token_gets_the_vendors_429_word_for_word() {
    let mut organisation = Organisation::new(genesys(), 1);
    let token = login(&mut organisation, 1000);
    for second in 0..300 {
        assert_eq!(poll(&mut organisation, 1010 + second / 20, &token), 200);
    }
    let response = ask(&mut organisation, 1028, &Request::get("/api/v2/users/7/presence", &token));
    assert_eq!(response.status, 429);
    assert_eq!(response.header_value("Retry-After"), Some("42"));
    let id = response.header_value("ININ-Correlation-Id").expect("a correlation id");
    let expected = format!(
        r#"{{"message":"Rate limit exceeded the maximum. Retry the request in [42] seconds","code":"too.many.requests.retry.after","status":429,"contextId":"{id}","details":[],"errors":[]}}"#
    );
    assert_eq!(String::from_utf8_lossy(&response.body), expected);
    assert_eq!(poll(&mut organisation, 1069, &token), 429);
    assert_eq!(poll(&mut organisation, 1070, &token), 200, "60 s after the first request");
    let other = login(&mut organisation, 1070);
    assert_eq!(poll(&mut organisation, 1070, &other), 200, "each token has a budget of its own");
}

#[test]
fn too_many_logins_are_refused_in_four_styles() {
    #[rustfmt::skip]
    let cases = [
        // style,                  status, header,     in the body
        (Refusal::InvalidRequest,  400,    None,       r#""error":"invalid_request""#),
        (Refusal::InvalidRequest,  400,    None,       r#""error_description":"rate limit exceeded;"#),
        (Refusal::AccessDenied,    403,    None,       "Global limit has been reached"),
        (Refusal::TooManyRequests, 429,    Some("1"),  "temporarily_unavailable"),
        (Refusal::PlainText,       429,    Some("60"), "Too Many Requests"),
    ];
    for (refusal, status, header, text) in cases {
        let limit = LoginLimit { count: 10, per: Duration::from_secs(1), burst: 20, refusal };
        let mut organisation =
            Organisation::new(Profile { login_limit: Some(limit), ..genesys() }, 1);
        for _ in 0..20 {
            login(&mut organisation, 5);
        }
        let request = Request::client_credentials("app", "secret");
        let response = ask(&mut organisation, 5, &request);
        assert_eq!(response.status, status);
        assert_eq!(response.header_value("retry-after"), header);
        let body = String::from_utf8_lossy(&response.body);
        assert!(body.contains(text), "{body}");
        login(&mut organisation, 6);
        assert_eq!(organisation.totals(Timestamp::from_secs(6)).throttled_logins, 1);
    }
}

#[test]
fn each_way_to_die_has_its_code() {
    let unauthorized = Unauthorized {
        expired: UnauthorizedCode::CredentialsExpired,
        ..Unauthorized::always(UnauthorizedCode::BadCredentials)
    };
    let profile = Profile {
        unauthorized,
        live_tokens_per_client: Some(2),
        access_token_lifetime: Duration::from_secs(300),
        ..genesys()
    };
    let mut organisation = Organisation::new(profile, 1);
    let evicted = login(&mut organisation, 0);
    let revoked = login(&mut organisation, 1);
    let expired = login(&mut organisation, 2);
    assert!(organisation.revoke_token(Timestamp::from_secs(3), &revoked));
    assert!(!organisation.revoke_token(Timestamp::from_secs(3), &revoked), "already");
    #[rustfmt::skip]
    let cases = [
        (evicted.as_str(), "bad.credentials",         Verdict::Evicted),
        (&revoked,         "bad.credentials",         Verdict::Revoked),
        (&expired,         "credentials.expired",     Verdict::Expired),
        ("made-up",        "bad.credentials",         Verdict::Unknown),
    ];
    for (token, code, verdict) in cases {
        let response = ask(&mut organisation, 302, &Request::get("/api/v2/users/me", token));
        assert_eq!((response.status, response.text("code").as_str()), (401, code));
        assert_eq!(verdicts(&organisation).last(), Some(&verdict));
    }
    let response = ask(&mut organisation, 302, &Request::new("GET", "/api/v2/users/me"));
    assert_eq!(response.text("code"), "authentication.required");
}

#[test]
fn tokens_are_revoked_by_their_holder_their_client_and_the_operator() {
    let mut organisation = Organisation::new(genesys(), 1);
    let tokens: Vec<_> = (0..4).map(|second| login(&mut organisation, second)).collect();
    let me = |method| Request::new(method, "/api/v2/tokens/me").bearer(&tokens[0]);
    assert_eq!(ask(&mut organisation, 4, &me("GET")).status, 200);
    assert_eq!(ask(&mut organisation, 4, &me("DELETE")).status, 200);
    assert_eq!(ask(&mut organisation, 4, &me("GET")).status, 401);

    let revoke = Request::form("/oauth/revoke", "app", "secret", &[("token", &tokens[1])]);
    let introspect = Request::form("/introspect", "app", "secret", &[("token", &tokens[1])]);
    assert_eq!(ask(&mut organisation, 4, &introspect).value()["active"], true);
    assert_eq!(ask(&mut organisation, 4, &revoke).status, 200);
    assert_eq!(ask(&mut organisation, 4, &introspect).value()["active"], false);
    assert_eq!(poll(&mut organisation, 4, &tokens[1]), 401);

    let now = Timestamp::from_secs(4);
    assert_eq!(organisation.revoke_tokens(now, Some("somebody else")), 0);
    assert_eq!(organisation.revoke_tokens(now, Some("app")), 2);
    assert_eq!(organisation.totals(now).live_tokens, 0);
}

#[test]
fn a_changed_secret_counts_from_the_next_login() {
    let mut organisation = Organisation::new(genesys(), 1);
    let token = login(&mut organisation, 0);
    organisation.set_client_secret("app", "new");
    let mut status =
        |secret| ask(&mut organisation, 1, &Request::client_credentials("app", secret)).status;
    assert_eq!((status("secret"), status("new")), (400, 200));
    assert_eq!(poll(&mut organisation, 1, &token), 200);
}

#[test]
fn each_fault_shows_what_it_should_and_does_what_it_says() {
    let answer = |processed| Effect::Answer {
        status: 500,
        retry_after: Some("soon".to_owned()),
        content_type: "text/html".to_owned(),
        body: b"<p>oops".to_vec(),
        processed,
    };
    #[rustfmt::skip]
    let cases = [
        // effect,                             seen,          tokens issued
        (answer(false),                        "500 oops",    0),
        (answer(true),                         "500 oops",    1),
        (Effect::status(503),                  "503",         0),
        (Effect::LostAnswer,                   "closed",      1),
        (Effect::Close,                        "closed",      0),
        (Effect::Stall { processed: true },    "silence",     1),
        (Effect::Stall { processed: false },   "silence",     0),
        (Effect::BreakOff { after_bytes: 9 },  "cut after 9", 1),
        (Effect::AlwaysUnauthorized,           "401",         0),
        (Effect::Latency(Duration::ZERO),      "200",         1),
    ];
    for (effect, expected, issued) in cases {
        let mut organisation = Organisation::new(genesys(), 1);
        organisation.add_fault(Fault::next(1, Endpoint::Token, effect.clone()));
        let request = Request::client_credentials("app", "secret");
        let now = Timestamp::from_secs(1);
        let seen = match organisation.handle(now, UnixTime::from_secs(1), &request).outcome {
            Outcome::Respond(response) if response.body == b"<p>oops" => {
                assert_eq!(response.header_value("retry-after"), Some("soon"));
                format!("{} oops", response.status)
            }
            Outcome::Respond(response) => response.status.to_string(),
            Outcome::BreakOff { after_bytes, .. } => format!("cut after {after_bytes}"),
            Outcome::CloseWithoutAnswer => "closed".to_owned(),
            Outcome::Stall => "silence".to_owned(),
        };
        assert_eq!(seen, expected, "{effect:?}");
        assert_eq!(organisation.totals(now).tokens_issued, issued, "{effect:?}");
        login(&mut organisation, 2);
    }
}

#[test]
fn latency_is_drawn_from_its_range_and_faults_add_to_it() {
    let mut organisation = Organisation::new(genesys(), 1);
    let mut after = |second| {
        let (now, wall) = (Timestamp::from_secs(second), UnixTime::from_secs(second));
        organisation.handle(now, wall, &Request::client_credentials("app", "secret")).after
    };
    let range = Duration::from_millis(50)..=Duration::from_millis(300);
    let draws: Vec<_> = (0..20).map(&mut after).collect();
    assert!(draws.iter().all(|draw| range.contains(draw)), "{draws:?}");
    assert!(draws.windows(2).any(|pair| pair[0] != pair[1]), "{draws:?}");
    let slow = Effect::Latency(Duration::from_secs(5));
    organisation.add_fault(Fault::lasting(Endpoint::Token, slow));
    let (now, wall) = (Timestamp::from_secs(30), UnixTime::from_secs(30));
    let answer = organisation.handle(now, wall, &Request::client_credentials("app", "secret"));
    assert!(answer.after >= Duration::from_millis(5050));
    organisation.clear_faults();
}

#[test]
fn modest_oddities_of_real_servers_are_knobs() {
    let profile =
        Profile { propagation: Duration::from_secs(3), reissue_live_token: true, ..genesys() };
    let mut organisation = Organisation::new(profile, 1);
    let token = login(&mut organisation, 10);
    assert_eq!(poll(&mut organisation, 12, &token), 401, "not known everywhere yet");
    assert_eq!(poll(&mut organisation, 13, &token), 200);
    let again = ask(&mut organisation, 20, &Request::client_credentials("app", "secret"));
    assert_eq!(again.text("access_token"), token);
    assert_eq!(again.value()["expires_in"], 86_390);
    assert_eq!(organisation.totals(Timestamp::from_secs(20)).tokens_issued, 1);
}

#[test]
fn the_same_seed_repeats_every_byte_and_no_secret_is_in_debug_or_ledger() {
    let run = |seed| {
        let mut organisation = Organisation::new(genesys(), seed);
        let token = login(&mut organisation, 0);
        let now = Timestamp::from_secs(1);
        let request = Request::get("/api/v2/users/7?access_token=x", &token);
        let answer = organisation.handle(now, UnixTime::from_secs(1), &request);
        let entries: Vec<_> = organisation.ledger().entries().collect();
        let ledger = serde_json::to_string(&entries).expect("entries are JSON");
        let debug = format!("{organisation:?} {request:?} {answer:?}");
        for secret in [token.as_str(), "\"secret\"", "access_token=x"] {
            assert!(!ledger.contains(secret), "the ledger holds {secret}");
            assert!(!debug.contains(secret), "Debug shows {secret}");
        }
        (token, answer.outcome.response().cloned(), ledger)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
