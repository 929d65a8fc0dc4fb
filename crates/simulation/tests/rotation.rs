//! Every rotation class, told as a story of refreshes.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::{
    Client, Effect, Endpoint, Fault, Organisation, Outcome, Profile, Request, Reuse, Rotation,
};

const WINDOW: Duration = Duration::from_secs(30);

/// Runs a story and writes down what each step saw.
///
/// A step is a second and an action: `2<1` refreshes with token 1 and calls what comes back 2,
/// `use 2` shows the access token that came with 2 to the API. What is seen is `new`, `same` (as
/// the last pair that was issued), `kept` (a new access token, the refresh token unchanged),
/// `refused`, or the API's status.
fn story(rotation: Rotation, reuse: Reuse, steps: &[(u64, &str)]) -> Vec<String> {
    let client = Client::new("app", "secret").refresh_token("given");
    let profile = Profile { rotation, reuse, ..Profile::plain().client(client) };
    let mut organisation = Organisation::new(profile, 3);
    let mut pairs = vec![(String::new(), "given".to_owned())];
    let mut step = |&(second, action): &(u64, &str)| {
        let (now, wall) = (Timestamp::from_secs(second), UnixTime::from_secs(second));
        let mut ask = |request: &Request| {
            let answer = organisation.handle(now, wall, request);
            answer.outcome.response().cloned().expect("no faults here")
        };
        if let Some(number) = action.strip_prefix("use ") {
            let pair = &pairs[number.parse::<usize>().expect("a pair") - 1];
            return ask(&Request::get("/api/v2/users/me", &pair.0)).status.to_string();
        }
        let (_, shown) = action.split_once('<').expect("a refresh");
        let shown = pairs[shown.parse::<usize>().expect("a pair") - 1].1.clone();
        let response = ask(&Request::refresh("app", "secret", &shown));
        let pair = (response.text("access_token"), response.text("refresh_token"));
        let seen = match response.status {
            200 if pairs.contains(&pair) => "same",
            200 if pair.1 == shown => "kept",
            200 => "new",
            _ => "refused",
        };
        pairs.push(pair);
        seen.to_owned()
    };
    steps.iter().map(&mut step).collect()
}

/// Class, what reuse does, the steps, what they see.
type Case = (Rotation, Reuse, &'static [(u64, &'static str)], &'static str);

#[test]
fn each_class_makes_of_a_second_use_what_its_vendors_do() {
    use Reuse::{Refused, RevokesFamily};
    let new_pair = Rotation::NewPair { window: WINDOW };
    let same_pair = Rotation::SamePair { window: WINDOW };
    let last_pair = Rotation::LastPair { window: WINDOW };
    let acknowledged = Rotation::UntilAcknowledged;
    // 1 is the token given at the start; what a refresh brings is 2, 3, …
    #[rustfmt::skip]
    let cases: &[Case] = &[
        (Rotation::None,   Refused,       &[(1, "2<1"), (9, "3<1"), (9, "use 2"), (9, "use 3")],                "kept kept 200 200"),
        (Rotation::Strict, Refused,       &[(1, "2<1"), (2, "3<1"), (2, "use 2"), (3, "4<2")],                  "new refused 200 new"),
        (Rotation::Strict, RevokesFamily, &[(1, "2<1"), (2, "3<1"), (2, "use 2"), (3, "4<2")],                  "new refused 401 refused"),
        (new_pair,         RevokesFamily, &[(1, "2<1"), (30, "3<1"), (30, "use 2"), (30, "4<2"), (30, "5<3")],  "new new 200 new new"),
        (new_pair,         RevokesFamily, &[(1, "2<1"), (31, "3<1"), (31, "use 2"), (31, "4<2")],               "new refused 401 refused"),
        (same_pair,        Refused,       &[(1, "2<1"), (30, "3<1"), (30, "use 3"), (31, "4<1"), (32, "5<2")],  "new same 200 refused new"),
        (acknowledged,     Refused,       &[(1, "2<1"), (900, "3<1"), (900, "use 3"), (901, "4<1")],            "new new 200 refused"),
        (acknowledged,     Refused,       &[(1, "2<1"), (2, "3<2"), (3, "4<1"), (3, "5<2")],                    "new new refused new"),
        (last_pair,        Refused,       &[(1, "2<1"), (2, "3<1"), (2, "use 2"), (2, "4<2"), (2, "use 3"), (3, "5<3")], "new new 401 refused 200 new"),
        (last_pair,        Refused,       &[(1, "2<1"), (31, "3<1"), (31, "4<2")],                              "new refused new"),
    ];
    for (rotation, reuse, steps, expected) in cases {
        let seen = story(*rotation, *reuse, steps).join(" ");
        assert_eq!(&seen, expected, "{rotation:?}, {reuse:?}, {steps:?}");
    }
}

fn at(second: u64) -> (Timestamp, UnixTime) {
    (Timestamp::from_secs(second), UnixTime::from_secs(second))
}

fn refresh(organisation: &mut Organisation, second: u64, token: &str) -> (u16, String) {
    let (now, wall) = at(second);
    let answer = organisation.handle(now, wall, &Request::refresh("app", "secret", token));
    match answer.outcome {
        Outcome::Respond(response) => (response.status, response.text("refresh_token")),
        Outcome::BreakOff { .. } | Outcome::CloseWithoutAnswer | Outcome::Stall => {
            (0, String::new())
        }
    }
}

fn with_token(profile: Profile) -> Organisation {
    let client = Client::new("app", "secret").refresh_token("given");
    Organisation::new(profile.client(client).client(Client::new("other", "secret")), 3)
}

#[test]
fn a_lost_answer_spends_the_token_all_the_same() {
    let mut organisation = with_token(Profile::genesys());
    organisation.add_fault(Fault::next(1, Endpoint::Token, Effect::LostAnswer));
    assert_eq!(refresh(&mut organisation, 1, "given").0, 0);
    assert_eq!(refresh(&mut organisation, 2, "given").0, 400, "the token in it is lost for ever");
    let totals = organisation.totals(Timestamp::from_secs(2));
    assert_eq!((totals.refresh_uses, totals.refresh_reused, totals.unanswered), (2, 1, 1));
}

#[test]
fn the_ledger_counts_every_time_a_token_was_on_the_wire() {
    let mut organisation = with_token(Profile::genesys());
    organisation.add_fault(Fault::next(2, Endpoint::Token, Effect::status(503)));
    assert_eq!(refresh(&mut organisation, 1, "given").0, 503);
    assert_eq!(refresh(&mut organisation, 2, "given").0, 503);
    let (status, next) = refresh(&mut organisation, 3, "given");
    assert_eq!(status, 200, "nothing was processed before");
    assert_eq!(refresh(&mut organisation, 4, &next).0, 200);
    let totals = organisation.totals(Timestamp::from_secs(4));
    assert_eq!((totals.refresh_uses, totals.refresh_requests), (3, 4));
    let shown: Vec<_> = organisation.ledger().entries().map(|entry| entry.shown).collect();
    assert_eq!(shown, [Some(0), Some(0), Some(0), Some(1)]);
}

#[test]
fn a_refresh_token_is_good_for_its_client_in_its_time() {
    let lifetime = Some(Duration::from_secs(60));
    let profile = Profile { refresh_token_lifetime: lifetime, ..Profile::genesys() };
    let mut organisation = with_token(profile);
    let (now, wall) = at(1);
    let stolen = Request::refresh("other", "secret", "given");
    let answer = organisation.handle(now, wall, &stolen);
    assert_eq!(answer.outcome.response().map(|response| response.status), Some(400));
    let (status, next) = refresh(&mut organisation, 59, "given");
    assert_eq!(status, 200, "another client's attempt spends nothing");
    assert_eq!(refresh(&mut organisation, 119, &next).0, 400, "60 s after its issue");

    let issued = organisation.issue_refresh_token(Timestamp::from_secs(120), "app");
    let issued = issued.expect("the client exists");
    assert_eq!(refresh(&mut organisation, 121, &issued).0, 200);
    assert_eq!(organisation.issue_refresh_token(Timestamp::from_secs(120), "nobody"), None);
    assert!(organisation.revoke_refresh_tokens(Some("app")) > 0);
}

#[test]
fn what_a_refresh_returns_and_ends_are_knobs() {
    let profile = Profile {
        rotation: Rotation::None,
        repeat_refresh_token: false,
        refresh_ends_access_token: true,
        refresh_token_with_client_credentials: true,
        ..Profile::genesys()
    };
    let mut organisation = with_token(profile);
    assert_eq!(refresh(&mut organisation, 1, "given"), (200, String::new()));
    let (now, wall) = at(2);
    let answer = organisation.handle(now, wall, &Request::client_credentials("app", "secret"));
    let response = answer.outcome.response().cloned().expect("an answer");
    let (access, token) = (response.text("access_token"), response.text("refresh_token"));
    assert_eq!(refresh(&mut organisation, 3, &token).0, 200);
    let answer = organisation.handle(now, wall, &Request::get("/api/v2/users/me", &access));
    let status = answer.outcome.response().map(|response| response.status);
    assert_eq!(status, Some(401), "the refresh ended the token before it");
}
