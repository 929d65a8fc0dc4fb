//! Text from a log, made fit to be shown: no secret, no control character, not long.
//!
//! - What follows a word such as `access_token`, `secret`, `Authorization`, `Bearer` or `Basic` goes.
//! - So does whatever looks like a token: a long run of letters and digits mixed, or three parts
//!   with dots between.

/// Longer quotes are cut.
const LONGEST: usize = 200;
/// A run of token characters this long, with a digit and a letter in it, is taken for a secret.
const TELLING: usize = 20;

const SHOWS_A_SECRET: [&str; 14] = [
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "secret",
    "password",
    "assertion",
    "authorization",
    "bearer",
    "basic",
    "code_verifier",
    "api_key",
    "cookie",
    "device_code",
];

/// `text` without what must not be seen.
pub fn cleaned(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * LONGEST)]);
    let mut shown = String::with_capacity(LONGEST);
    let mut hide_next = false;
    for piece in pieces(&text) {
        let Piece::Word(word) = piece else {
            let Piece::Between(between) = piece else { continue };
            shown.extend(between.chars().map(printable));
            // A secret follows its name at once, after `=`, `": "` and the like.
            hide_next &= between.chars().all(|c| matches!(c, ' ' | '=' | ':' | '"' | '\\' | '\''));
            continue;
        };
        let lower = word.to_ascii_lowercase();
        let names_a_secret = SHOWS_A_SECRET.iter().any(|name| lower == *name);
        if names_a_secret {
            shown.push_str(word);
            hide_next = true;
        } else if looks_like_a_secret(word) || (hide_next && !is_plain(word)) {
            shown.push('…');
            hide_next = false;
        } else {
            shown.push_str(word);
            hide_next = false;
        }
    }
    if shown.chars().count() > LONGEST {
        shown = shown.chars().take(LONGEST).chain(['…']).collect();
    }
    shown
}

/// A path or URL without its query, and with long identifiers shortened.
pub fn cleaned_target(target: &[u8]) -> String {
    let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
    let target = &target[..end];
    // `user:password@` in a URL.
    let target = match (memchr::memmem::find(target, b"://"), memchr::memchr(b'@', target)) {
        (Some(scheme), Some(at)) if at > scheme => &target[at + 1..],
        _ => target,
    };
    cleaned(target)
}

enum Piece<'a> {
    Word(&'a str),
    Between(&'a str),
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let in_word = is_word(first);
        let end = rest.find(|c| is_word(c) != in_word).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(if in_word { Piece::Word(piece) } else { Piece::Between(piece) })
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '+' | '%')
}

fn looks_like_a_secret(word: &str) -> bool {
    let digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let letter = word.bytes().any(|byte| byte.is_ascii_alphabetic());
    let jwt = word.starts_with("eyJ");
    jwt || (word.len() >= TELLING && digit && letter) || word.len() >= 2 * TELLING
}

/// Words that error texts have after `token` or `secret`, as opposed to values.
fn is_plain(word: &str) -> bool {
    const PLAIN: [&str; 24] = [
        "is",
        "was",
        "has",
        "invalid",
        "expired",
        "or",
        "and",
        "not",
        "token",
        "tokens",
        "the",
        "required",
        "missing",
        "failed",
        "header",
        "revoked",
        "unknown",
        "was",
        "auth",
        "error",
        "realm",
        "authentication",
        "grant",
        "null",
    ];
    PLAIN.contains(&word.to_ascii_lowercase().as_str())
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::{cleaned, cleaned_target};

    #[test]
    fn what_is_secret_goes_and_what_explains_stays() {
        #[rustfmt::skip]
        let cases = [
            (r#"{"access_token":"abc","expires_in":3600}"#, r#"{"access_token":"…","expires_in":3600}"#),
            ("Authorization: Bearer s3cret", "Authorization: Bearer …"),
            ("Authorization: Basic YTpi", "Authorization: Basic …"),
            ("grant_type=refresh_token&refresh_token=hunter2", "grant_type=refresh_token&refresh_token=…"),
            ("client_secret=pa55%20word&x=1", "client_secret=…&x=1"),
            ("token 3KqX9v2LmPz8Rt5Yw1Bn7 refused", "token … refused"),
            (r#"{"message":"The refresh token is invalid or expired","status":401}"#,
             r#"{"message":"The refresh token is invalid or expired","status":401}"#),
            ("a\r\n\u{1b}[31mb", "a   [31mb"),
        ];
        for (text, expected) in cases {
            assert_eq!(cleaned(text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_target_loses_its_query_and_its_password() {
        assert_eq!(cleaned_target(b"/oauth/token?client_secret=x"), "/oauth/token");
        assert_eq!(cleaned_target(b"https://a:b@login.example/t"), "login.example/t");
    }
}
