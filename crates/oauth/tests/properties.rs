//! What holds for any answer at all.

use bellwether_oauth::{Message, Reading, Remark, Scope, Secret, read};
use proptest::prelude::*;

fn read_json(body: &str) -> Reading {
    let content_type = Some("application/json");
    read(&Message { status: 200, content_type, body: body.as_bytes(), ..Message::default() })
}

/// A value of any kind, spelled by a server in any mood.
fn junk() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("NaN".to_owned()),
        Just("1e400".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| format!("{value:?}")),
        any::<String>().prop_map(|value| serde_json::Value::from(value).to_string()),
    ];
    scalar.prop_recursive(5, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|members| object(&members)),
        ]
    })
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name.as_str())))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn optional_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("expires_in".to_owned()),
        Just("scope".to_owned()),
        Just("id_token".to_owned()),
        "[a-z_]{0,12}".prop_filter("names that say something else", |name| {
            !["error", "access_token", "refresh_token", "token_type"].contains(&name.as_str())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_answer_panics(
        status in 0_u16..700,
        content_type in prop::option::of(".{0,30}"),
        retry_after in prop::option::of(".{0,30}"),
        www_authenticate in prop::option::of("(Bearer )?(error=)?\"?.{0,30}"),
        location in any::<bool>(),
        truncated in any::<bool>(),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            ".{0,200}".prop_map(String::into_bytes),
            "\\{\"(error|access_token|refresh_token|expires_in)\":.{0,80}".prop_map(String::into_bytes),
            "(error|access_token|refresh_token)=.{0,80}".prop_map(String::into_bytes),
        ],
        secret in ".{0,12}",
    ) {
        let secret = Secret::from(secret);
        let reading = read(&Message {
            status,
            content_type: content_type.as_deref(),
            retry_after: retry_after.as_deref(),
            date: retry_after.as_deref(),
            www_authenticate: www_authenticate.as_deref(),
            location,
            body: &body,
            truncated,
            wall: 0,
            secrets: &[&secret],
        });
        if let Err(error) = &reading.outcome {
            prop_assert!(error.to_string().is_ascii());
        }
        let _ = format!("{reading:?}");
    }

    #[test]
    fn no_optional_parameter_costs_the_tokens(
        access_token in "[!-~]{1,60}",
        refresh_token in "[!-~]{1,60}",
        mut members in prop::collection::vec((optional_name(), junk()), 0..8),
        places in any::<[prop::sample::Index; 3]>(),
    ) {
        let tokens = [
            ("access_token", &access_token),
            ("refresh_token", &refresh_token),
            ("token_type", &"Bearer".to_owned()),
        ];
        for ((name, value), place) in tokens.into_iter().zip(places) {
            let value = serde_json::Value::from(value.as_str()).to_string();
            members.insert(place.index(members.len() + 1), (name.to_owned(), value));
        }
        let body = object(&members);
        let reading = read_json(&body);
        let response = reading.outcome.unwrap_or_else(|error| panic!("{error}: {body}"));
        prop_assert_eq!(response.access_token.expose(), &access_token);
        prop_assert_eq!(&response.refresh_token, &Some(Secret::from(refresh_token)));
        prop_assert_eq!(response.refresh_token, reading.refresh_token);
    }

    /// As a form they are the same as in JSON.
    #[test]
    fn a_form_is_read_like_json(
        access_token in "[!-~]{1,60}",
        refresh_token in "[ -~é]{1,60}",
        expires_in in any::<u32>(),
        scope in "[a-z]{1,5}( [a-z]{1,5}){0,3}",
    ) {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("access_token", &access_token)
            .append_pair("token_type", "bearer")
            .append_pair("refresh_token", &refresh_token)
            .append_pair("expires_in", &expires_in.to_string())
            .append_pair("scope", &scope)
            .finish();
        let json = serde_json::json!({
            "access_token": access_token, "token_type": "bearer", "refresh_token": refresh_token,
            "expires_in": expires_in, "scope": scope,
        });
        let from_form = read_json(&form);
        let from_json = read_json(&json.to_string());
        prop_assert!(from_json.outcome.is_ok());
        prop_assert_eq!(from_form.outcome, from_json.outcome);
        prop_assert_eq!(from_form.refresh_token, from_json.refresh_token);
    }

    /// Wherever an answer breaks off, a refresh token that was there whole is kept.
    #[test]
    fn a_cut_never_costs_a_whole_refresh_token(
        before in prop::collection::vec((optional_name(), junk()), 0..4),
        after in prop::collection::vec((optional_name(), junk()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let member = ("refresh_token".to_owned(), "\"the-token\"".to_owned());
        let ahead = object(&[before.clone(), vec![member.clone()]].concat()).len() - 1;
        let body = object(&[before, vec![member], after].concat());
        let end = ahead + cut.index(body.len() - ahead + 1);
        let reading = read(&Message {
            status: 200,
            body: &body.as_bytes()[..end],
            truncated: true,
            ..Message::default()
        });
        prop_assert_eq!(reading.refresh_token, Some(Secret::from("the-token")), "{}", &body);
    }
}

#[test]
fn scope_and_remarks() {
    #[rustfmt::skip]
    let cases: [(&str, Option<&str>, &[Remark]); 9] = [
        (r#""scope":"b a b""#, Some("a b"), &[]),
        (r#""scope":["b","a"]"#, Some("a b"), &[]),
        (r#""scope":"""#, None, &[]),
        (r#""scope":null"#, None, &[]),
        (r#""scope":7"#, None, &[Remark::ScopeUnreadable]),
        (r#""scope":"a\tb""#, None, &[Remark::ScopeUnreadable]),
        (r#""scope":"the-token""#, None, &[Remark::ScopeUnreadable]),
        (r#""expires_in":"60""#, None, &[Remark::ExpiresInOdd]),
        (r#""expires_in":-1,"expires_in":-1"#, None,
         &[Remark::DuplicateParameter, Remark::ExpiresInOdd, Remark::ExpiresInClamped]),
    ];
    for (member, scope, remarks) in cases {
        let body = format!(r#"{{"access_token":"the-token","token_type":"Bearer",{member}}}"#);
        let reading = read_json(&body);
        let response = reading.outcome.unwrap();
        assert_eq!(response.scope.as_ref().map(Scope::as_str), scope, "{member}");
        assert_eq!(reading.remarks, remarks, "{member}");
    }
}
