//! Successes whose parameters are odd, one at a time.

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = expires_in();
    cases.extend(token_type());
    cases.extend(access_token());
    cases.extend(refresh_token());
    cases.extend(scope());
    cases.extend(further());
    cases
}

fn expires_in() -> Vec<Case> {
    const TEN_YEARS: Option<u64> = Some(315_360_000);
    #[rustfmt::skip]
    let spellings = [
        ("3600", Some(3600)),
        ("1", Some(1)),
        ("0", Some(0)),
        ("-0", Some(0)),
        ("-1", Some(0)),
        ("-9223372036854775808", Some(0)),
        ("3600.0", Some(3600)),
        ("3599.9999", Some(3599)),
        ("0.5", Some(0)),
        ("3.6e3", Some(3600)),
        ("36E+2", Some(3600)),
        ("36e-1", Some(3)),
        ("315360000", TEN_YEARS),
        ("315360001", TEN_YEARS),
        ("4294967296", TEN_YEARS),
        ("9223372036854775807", TEN_YEARS),
        ("9223372036854775808", TEN_YEARS),
        ("18446744073709551616", TEN_YEARS),
        ("1e300", TEN_YEARS),
        ("1e400", None),
        ("-1e400", None),
        ("1e99999999999999999999", None),
        ("1e-400", Some(0)),
        ("NaN", None),
        ("Infinity", None),
        ("-Infinity", None),
        ("inf", None),
        ("00600", Some(600)),
        ("+600", Some(600)),
        ("600.", Some(600)),
        (".5", Some(0)),
        ("0x10", None),
        ("1_000", None),
        ("--1", None),
        ("undefined", None),
        ("None", None),
        ("null", None),
        ("true", None),
        ("false", None),
        ("[]", None),
        ("[3600]", None),
        ("{}", None),
        ("{\"seconds\":3600}", None),
        ("\"\"", None),
        ("\" \"", None),
        ("\"3600\"", Some(3600)),
        ("\" 3600 \"", Some(3600)),
        ("\"3600.7\"", Some(3600)),
        ("\"3600s\"", None),
        ("\"1 hour\"", None),
        ("\"3,600\"", None),
        ("\"-5\"", Some(0)),
        ("\"1e3\"", Some(1000)),
        ("\"1e400\"", None),
        ("\"NaN\"", None),
        ("\"infinity\"", None),
        ("\"９９\"", None),
        ("\"\\u0033600\"", Some(3600)),
        ("\"2026-01-01T00:00:00Z\"", None),
    ];
    let mut cases: Vec<Case> = spellings
        .into_iter()
        .map(|(spelling, expected)| {
            let body = format!(
                r#"{{"access_token":"@A","token_type":"Bearer","expires_in":{spelling},"refresh_token":"@R"}}"#
            );
            Case::token(format!("expires_in {spelling}"), &body, expected)
        })
        .collect();
    let digits = "9".repeat(10_000);
    cases.push(Case::token(
        "expires_in of ten thousand digits",
        &format!(r#"{{"access_token":"@A","token_type":"Bearer","expires_in":{digits},"refresh_token":"@R"}}"#),
        // Beyond the range of a float, like 1e400.
        None,
    ));
    cases.push(Case::token(
        "expires_in missing",
        r#"{"access_token":"@A","token_type":"Bearer","refresh_token":"@R"}"#,
        None,
    ));
    let twice = [
        ("twice", "3600", "1800", Some(1800)),
        ("twice, the last null", "3600", "null", Some(3600)),
        ("twice, the last rubbish", "3600", "\"soon\"", Some(3600)),
        ("twice, the first rubbish", "[]", "3600", Some(3600)),
        ("twice, both rubbish", "NaN", "{}", None),
    ];
    for (name, first, second, expected) in twice {
        let body = format!(
            r#"{{"expires_in":{first},"access_token":"@A","token_type":"Bearer","expires_in":{second},"refresh_token":"@R"}}"#
        );
        cases.push(Case::token(format!("expires_in {name}"), &body, expected));
    }
    cases
}

fn token_type() -> Vec<Case> {
    let with = |token_type: &str| {
        format!(
            r#"{{"access_token":"@A","token_type":{token_type},"expires_in":60,"refresh_token":"@R"}}"#
        )
    };
    let bearer = [
        "\"Bearer\"",
        "\"bearer\"",
        "\"BEARER\"",
        "\"bEaReR\"",
        "\" Bearer \"",
        "\"BearerToken\"",
        "\"\"",
        "null",
        "7",
        "true",
        "[\"Bearer\"]",
        "{}",
    ];
    let other = [
        "\"mac\"",
        "\"MAC\"",
        "\"DPoP\"",
        "\"dpop\"",
        "\"N_A\"",
        "\"pop\"",
        "\"bearer mac\"",
        "\"Bearer,DPoP\"",
        "\"Bеarer\"",
        "\"urn:ietf:params:oauth:token-type:jwt\"",
        "\"@C\"",
    ];
    let usable = bearer.into_iter().map(|token_type| {
        Case::token(format!("token_type {token_type}"), &with(token_type), Some(60))
    });
    let not_usable = other.into_iter().map(|token_type| {
        let name = format!("token_type {token_type}");
        Case::error(name, 200, &with(token_type), "unsupported_token_type")
    });
    let missing = r#"{"access_token":"@A","expires_in":60,"refresh_token":"@R"}"#;
    let twice = r#"{"token_type":"mac","access_token":"@A","expires_in":60,"token_type":"Bearer","refresh_token":"@R"}"#;
    usable
        .chain(not_usable)
        .chain([
            Case::token("token_type missing", missing, Some(60)),
            Case::token("token_type twice", twice, Some(60)),
        ])
        .collect()
}

fn access_token() -> Vec<Case> {
    let with = |access_token: &str| {
        format!(
            r#"{{"access_token":{access_token},"token_type":"Bearer","expires_in":60,"refresh_token":"@R"}}"#
        )
    };
    let unusable = [
        ("empty", "\"\""),
        ("null", "null"),
        ("a number", "12345"),
        ("true", "true"),
        ("a list", "[\"@A\"]"),
        ("an object", "{\"value\":\"@A\"}"),
        ("a bare word", "@A"),
        ("a space alone", "\" \""),
        ("a space inside", "\"@A @A\""),
        ("a space at the end", "\"@A \""),
        ("CR LF", "\"@A\\r\\nX-Injected: 1\""),
        ("a raw line feed", "\"@A\nX-Injected: 1\""),
        ("a line feed escaped by number", "\"@A\\u000aX\""),
        ("a tab", "\"@A\\t\""),
        ("NUL", "\"@A\\u0000\""),
        ("a raw NUL", "\"@A\0\""),
        ("DEL", "\"@A\u{7f}\""),
        ("ESC", "\"\\u001b[31m@A\""),
        ("an accented letter", "\"@Aé\""),
        ("an escaped accented letter", "\"@A\\u00e9\""),
        ("a no-break space", "\"@A\u{a0}\""),
        ("an emoji", "\"@A\\ud83d\\ude00\""),
        ("half a surrogate pair", "\"@A\\ud800\""),
        ("the wrong half of a surrogate pair", "\"@A\\udc00x\""),
        ("an unknown escape", "\"@A\\q\""),
        ("an incomplete escape", "\"@A\\u12\""),
        ("a byte order mark", "\"\u{feff}@A\""),
        ("a zero-width space", "\"@A\u{200b}\""),
        ("a line separator", "\"@A\u{2028}\""),
    ];
    let mut cases: Vec<Case> = unusable
        .into_iter()
        .map(|(name, access_token)| {
            Case::unusable(format!("access_token: {name}"), &with(access_token))
        })
        .collect();
    for (name, size) in [("17 KiB", 17 * 1024), ("60 KiB", 60 * 1024)] {
        let access_token = format!("\"{}\"", "@A".repeat(size / super::ACCESS_TOKEN.len() + 1));
        cases.push(Case::unusable(format!("access_token of {name}"), &with(&access_token)));
    }
    let missing = r#"{"token_type":"Bearer","expires_in":60,"refresh_token":"@R"}"#;
    cases.push(Case::unusable("access_token missing", missing));
    let misspelt = r#"{"accessToken":"@A","token_type":"Bearer","refresh_token":"@R"}"#;
    cases.push(Case::unusable("access_token misspelt", misspelt));
    let nested = r#"{"data":{"access_token":"@A"},"refresh_token":"@R"}"#;
    cases.push(Case::unusable("access_token nested", nested));
    let twice = [
        ("twice, first null", r#"{"access_token":null,"access_token":"@A","refresh_token":"@R"}"#),
        ("twice, last null", r#"{"access_token":"@A","access_token":null,"refresh_token":"@R"}"#),
        ("twice, last empty", r#"{"access_token":"@A","access_token":"","refresh_token":"@R"}"#),
        ("twice, differing", r#"{"access_token":"old","access_token":"@A","refresh_token":"@R"}"#),
    ];
    for (name, body) in twice {
        cases.push(Case::token(format!("access_token {name}"), body, None));
    }
    let escaped = super::ACCESS_TOKEN.replacen('a', r"\u0061", 1);
    let body = format!(r#"{{"\u0061ccess_token":"{escaped}","refresh_token":"@R"}}"#);
    cases.push(Case::token("access_token written in escapes", &body, None));
    cases
}

fn refresh_token() -> Vec<Case> {
    let with = |refresh_token: &str| {
        format!(
            r#"{{"access_token":"@A","token_type":"Bearer","expires_in":60,"refresh_token":{refresh_token}}}"#
        )
    };
    let none = [
        "null",
        "\"\"",
        "0",
        "false",
        "[]",
        "{}",
        "[\"@R\"]",
        "{\"value\":\"@R\"}",
        "\"\\ud800\"",
        "undefined",
    ];
    let mut cases: Vec<Case> = none
        .into_iter()
        .map(|spelling| {
            let name = format!("refresh_token {spelling}");
            Case::token(name, &with(spelling), Some(60)).keeps(false)
        })
        .collect();
    let missing = r#"{"access_token":"@A","token_type":"Bearer","expires_in":60}"#;
    cases.push(Case::token("refresh_token missing", missing, Some(60)));
    let kept = [
        ("twice, last null", r#"{"refresh_token":"@R","access_token":"@A","refresh_token":null}"#),
        ("twice, last empty", r#"{"refresh_token":"@R","access_token":"@A","refresh_token":""}"#),
        ("twice, first other", r#"{"refresh_token":"x","access_token":"@A","refresh_token":"@R"}"#),
        ("before a bare word", r#"{"refresh_token":"@R","access_token":"@A","x":undefined}"#),
        ("after a bare word", r#"{"access_token":"@A","x":undefined,"refresh_token":"@R"}"#),
    ];
    for (name, body) in kept {
        cases.push(Case::token(format!("refresh_token {name}"), body, None).keeps(true));
    }
    cases
}

fn scope() -> Vec<Case> {
    let spellings = [
        "\"a b\"",
        "\"\"",
        "null",
        "[]",
        "[\"a\",\"b\"]",
        "[\"a b\"]",
        "[1]",
        "{}",
        "7",
        "true",
        "\"a\\nb\"",
        "\"\\\"a\\\"\"",
        "\"é\"",
        "\"a,b\"",
        "\"@R\"",
        "\"read @C\"",
        "[\"@A\"]",
    ];
    spellings
        .into_iter()
        .map(|spelling| {
            let body = format!(
                r#"{{"access_token":"@A","token_type":"Bearer","expires_in":60,"scope":{spelling},"refresh_token":"@R"}}"#
            );
            Case::token(format!("scope {spelling}"), &body, Some(60))
        })
        .collect()
}

/// Members that nobody asked for, and errors that say nothing.
fn further() -> Vec<Case> {
    let members = [
        ("error null", r#""error":null"#),
        ("error empty", r#""error":"""#),
        ("error false", r#""error":false"#),
        ("error an empty object", r#""error":{}"#),
        ("error 0", r#""error":0"#),
        ("a code", r#""code":"success""#),
        ("a message", r#""message":"OK","status":200"#),
        ("an id_token", r#""id_token":"eyJhbGciOiJub25lIn0.e30.""#),
        ("a 1e400", r#""x":1e400"#),
        ("a NaN", r#""x":NaN"#),
        ("half a surrogate pair", r#""x":"\ud83d""#),
        ("half a surrogate pair as a name", r#""\udc00":1"#),
        ("a raw control character", "\"x\":\"\u{1}\""),
        ("an unknown escape", r#""x":"\x41""#),
        ("an empty name", r#""":1"#),
        ("a prototype", r#""__proto__":{"access_token":"x"}"#),
        ("lists in lists", r#""x":[[[[[[[[]]]]]]]]"#),
        ("many objects", r#""x":[{},{"y":[{}]},{"z":{"z":{}}}]"#),
        ("brackets in strings", r#""x":"}]{[\"","y":["}","]"]"#),
        ("a trailing comma inside", r#""x":[1,2,],"y":{"z":1,}"#),
    ];
    members
        .into_iter()
        .map(|(name, member)| {
            let body = format!(
                r#"{{"access_token":"@A","token_type":"Bearer",{member},"expires_in":60,"refresh_token":"@R"}}"#
            );
            Case::token(format!("beside the token: {name}"), &body, Some(60))
        })
        .collect()
}
