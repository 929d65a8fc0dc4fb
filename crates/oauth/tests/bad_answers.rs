//! Every bad answer of the corpus is read as what it is, keeps its refresh token, and repeats no
//! secret.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bellwether_oauth::corpus::{
    ACCESS_TOKEN, CLIENT_SECRET, Case, Expected, REFRESH_TOKEN, SENT_REFRESH_TOKEN, cases, secrets,
};
use bellwether_oauth::{Reading, Secret, read};

fn read_case(case: &Case) -> Reading {
    let secrets = secrets();
    let secrets: Vec<&Secret> = secrets.iter().collect();
    read(&case.message(&secrets))
}

#[test]
fn each_answer_is_read_as_what_it_is() {
    let mut wrong = Vec::new();
    for case in cases() {
        let reading = read_case(&case);
        let outcome = match &reading.outcome {
            Ok(response) if response.access_token.expose() == ACCESS_TOKEN => Expected::Token {
                expires_in: response.expires_in.map(|lifetime| lifetime.as_secs()),
            },
            Ok(_) => panic!("{}: a token that was never issued", case.name),
            Err(error) => Expected::Error { kind: error.kind(), remedy: error.remedy() },
        };
        if outcome != case.expected {
            wrong.push(format!("{}: {outcome:?} instead of {:?}", case.name, case.expected));
        }
        if let Err(error) = &reading.outcome {
            assert_eq!(error.status(), case.status, "{}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_refresh_token_that_could_be_read_is_kept_and_no_other() {
    let mut wrong = Vec::new();
    for case in cases() {
        let reading = read_case(&case);
        let kept = reading.refresh_token.as_ref().map(Secret::expose);
        if kept != case.keeps_refresh_token.then_some(REFRESH_TOKEN) {
            wrong.push(format!("{}: kept {}", case.name, kept.is_some()));
        }
        if let Ok(response) = reading.outcome {
            assert_eq!(response.refresh_token, reading.refresh_token, "{}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// So many bytes of a secret must not be seen.
const PIECE: usize = 12;

fn spellings(secret: &str) -> Vec<String> {
    let mut spellings = vec![
        secret.to_owned(),
        secret.chars().rev().collect(),
        form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ];
    for before in ["", "x", "xy"] {
        // What stands before changes the first characters, so they prove nothing.
        let text = format!("{before}{secret}");
        spellings.push(STANDARD_NO_PAD.encode(&text)[4..].to_owned());
        spellings.push(URL_SAFE_NO_PAD.encode(&text)[4..].to_owned());
    }
    spellings
}

#[test]
fn no_secret_is_repeated_in_any_spelling() {
    let spellings: Vec<String> = [ACCESS_TOKEN, REFRESH_TOKEN, SENT_REFRESH_TOKEN, CLIENT_SECRET]
        .into_iter()
        .flat_map(spellings)
        .map(|spelling| spelling.to_lowercase())
        .collect();
    let pieces: BTreeSet<&[u8]> =
        spellings.iter().flat_map(|spelling| spelling.as_bytes().windows(PIECE)).collect();
    for case in cases() {
        let reading = read_case(&case);
        let mut shown = format!("{reading:?} {reading:#?}");
        match &reading.outcome {
            Ok(response) => {
                let scope = response.scope.as_ref().map(ToString::to_string);
                shown += &format!(" {} {}", response.token_type, scope.unwrap_or_default());
            }
            Err(error) => {
                shown += &format!(" {error} {:?} {:?}", error.code(), error.description());
            }
        }
        for remark in &reading.remarks {
            shown += &format!(" {remark}");
        }
        let lower = shown.to_lowercase();
        for piece in lower.as_bytes().windows(PIECE) {
            let piece_is_secret = pieces.contains(piece);
            assert!(!piece_is_secret, "{}: {} in {shown}", case.name, piece.escape_ascii());
        }
    }
}

#[test]
fn texts_are_fit_for_a_log_a_page_and_a_header() {
    for case in cases() {
        let Err(error) = read_case(&case).outcome else { continue };
        if let Some(description) = error.description() {
            // RFC 6749 §5.2.
            let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(description.bytes().all(allowed), "{}: {description:?}", case.name);
            assert!((1..=200).contains(&description.len()), "{}: {description:?}", case.name);
        }
        if let Some(code) = error.code() {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            assert!(code.bytes().all(allowed), "{}: {code:?}", case.name);
            assert!((1..=64).contains(&code.len()), "{}: {code:?}", case.name);
        }
        let shown = error.to_string();
        assert!(!shown.contains(char::is_control) && shown.is_ascii(), "{}: {shown:?}", case.name);
    }
}

#[test]
fn the_corpus_is_large_and_its_names_differ() {
    let cases = cases();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 800, "{}", cases.len());
}

#[test]
fn a_lifetime_is_never_beyond_ten_years() {
    for case in cases() {
        if let Ok(response) = read_case(&case).outcome {
            let years = Duration::from_secs(10 * 365 * 24 * 60 * 60);
            assert!(response.expires_in.is_none_or(|lifetime| lifetime <= years), "{}", case.name);
        }
    }
}
