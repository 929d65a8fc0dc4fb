//! Makes what a server wrote fit to be repeated.
//!
//! Servers echo what they were sent: the refresh token in a description, the `Authorization` header
//! in an error page. So text is stripped of control and escape sequences, then known secrets are
//! blotted out in every encoding they may have taken, then whatever looks like a secret. Order
//! matters: a secret with a control character in its middle must not come together afterwards.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::Secret;

/// Bytes of a description that are kept.
const MAX_DESCRIPTION: usize = 200;
/// Bytes of a description that are looked at.
const MAX_LOOK: usize = 2000;
/// Bytes of an error code.
const MAX_CODE: usize = 64;
/// So many bytes of a known secret are recognised as a piece of it.
const PIECE: usize = 8;
/// A run of token characters shorter than this can be no secret worth the name.
const SHORTEST_SECRET: usize = 12;
const BLOT: &str = "[removed]";

/// The codes of RFC 6749 §5.2 and §4.1.2.1, RFC 6750, 7009, 8628, 8707, OpenID Connect Core, and
/// the commonest of vendors' own.
const KNOWN_CODES: [&str; 28] = [
    "access_denied",
    "account_selection_required",
    "authorization_pending",
    "bad_request",
    "consent_required",
    "expired_token",
    "insufficient_scope",
    "interaction_required",
    "invalid_client",
    "invalid_client_id",
    "invalid_code",
    "invalid_dpop_proof",
    "invalid_grant",
    "invalid_refresh_token",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "login_required",
    "rate_limit_exceeded",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "too_many_requests",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_token_type",
    "use_dpop_nonce",
];

/// The code as it may be repeated: a known one, or a short plain one that is no secret.
pub(crate) fn clean_code(code: &str, secrets: &[&Secret]) -> Option<Cow<'static, str>> {
    let code = code.trim();
    if let Some(known) = KNOWN_CODES.iter().find(|known| known.eq_ignore_ascii_case(code)) {
        return Some(Cow::Borrowed(known));
    }
    let unchanged = is_code(code) && clean_text(code, secrets).as_deref() == Some(code);
    unchanged.then(|| Cow::Owned(code.to_owned()))
}

/// Whether `text` has the shape of an error code.
pub(crate) fn is_code(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !text.is_empty() && text.len() <= MAX_CODE && text.bytes().all(plain)
}

/// The text as it may be repeated, in characters that RFC 6749 §5.2 allows in `error_description`;
/// `None` when nothing is left.
pub(crate) fn clean_text(text: &str, secrets: &[&Secret]) -> Option<String> {
    let text = without_control(text);
    let mut blotted = vec![false; text.len()];
    mark_known(&text, secrets, &mut blotted);
    mark_suspicious(&text, &mut blotted);
    let cleaned = write_out(&text, &blotted);
    (!cleaned.is_empty()).then_some(cleaned)
}

/// Whether a known secret, or a piece of one, is in `text`.
pub(crate) fn holds_secret(text: &str, secrets: &[&Secret]) -> bool {
    let mut blotted = vec![false; text.len()];
    mark_known(text, secrets, &mut blotted);
    blotted.contains(&true)
}

/// At most [`MAX_LOOK`] bytes, without escape sequences, control and invisible characters; white
/// space becomes a space.
fn without_control(text: &str) -> Zeroizing<String> {
    let mut kept = Zeroizing::new(String::with_capacity(MAX_LOOK + 4));
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_escape(&mut characters),
            '\u{9b}' => skip_control_sequence(&mut characters),
            '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => kept.push(' '),
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => {}
            '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}' => {}
            _ if character.is_control() => {}
            _ => kept.push(character),
        }
        if kept.len() >= MAX_LOOK {
            // A secret that is cut here would no longer be known for one.
            let whole = kept.rfind(' ').unwrap_or(0);
            kept.truncate(whole);
            break;
        }
    }
    kept
}

/// What follows ESC: a control sequence, a string up to its terminator, or one character.
fn skip_escape(characters: &mut std::str::Chars<'_>) {
    match characters.next() {
        Some('[') => skip_control_sequence(characters),
        Some(']' | 'P' | 'X' | '^' | '_') => {
            // A string that never ends would hide the rest, so it ends with the line too.
            let ends = |character| matches!(character, '\u{7}' | '\u{9c}' | '\u{1b}' | '\n');
            if characters.find(|&character| ends(character)) == Some('\u{1b}') {
                // The backslash of ESC \, the usual terminator.
                let _ = characters.next();
            }
        }
        Some(_) | None => {}
    }
}

fn skip_control_sequence(characters: &mut std::str::Chars<'_>) {
    let _ = characters.find(|character| !matches!(character, '\u{20}'..='\u{3f}'));
}

/// Marks each piece of a known secret, in any encoding and letter case.
fn mark_known(text: &str, secrets: &[&Secret], blotted: &mut [bool]) {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    let mut pieces: Vec<(&[u8], usize)> =
        lower.as_bytes().windows(PIECE).enumerate().map(|(at, piece)| (piece, at)).collect();
    pieces.sort_unstable();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        for form in encodings(secret.expose()) {
            if form.len() < PIECE {
                for (at, _) in lower.match_indices(form.as_str()) {
                    blotted[at..at + form.len()].fill(true);
                }
            }
            for piece in form.as_bytes().windows(PIECE) {
                let first = pieces.partition_point(|(other, _)| *other < piece);
                for (_, at) in pieces[first..].iter().take_while(|(other, _)| *other == piece) {
                    blotted[*at..*at + PIECE].fill(true);
                }
            }
        }
    }
}

/// How a secret may appear, in lower case: as it is, form-encoded, in hexadecimal digits, and in
/// base64 of either alphabet wherever it stands in what was encoded.
fn encodings(secret: &str) -> Vec<Zeroizing<String>> {
    let bytes = secret.as_bytes();
    let form: String = form_urlencoded::byte_serialize(bytes).collect();
    let mut hexadecimal = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            hexadecimal.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
    }
    let mut encodings = vec![secret.to_owned(), form, hexadecimal];
    for before in 0..3 {
        let mut shifted = Zeroizing::new(vec![0; before]);
        shifted.extend_from_slice(bytes);
        let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(&shifted));
        // Characters at either end depend on what stands beside the secret.
        let whole = (before * 8).div_ceil(6)..shifted.len() * 8 / 6;
        if let Some(encoded) = encoded.get(whole).filter(|encoded| encoded.len() >= PIECE / 2) {
            encodings.push(encoded.to_owned());
            encodings.push(encoded.replace('+', "-").replace('/', "_"));
        }
    }
    encodings
        .into_iter()
        .map(|encoding| {
            let mut encoding = Zeroizing::new(encoding);
            encoding.make_ascii_lowercase();
            encoding
        })
        .collect()
}

/// Marks what looks like a secret though nobody knows it: a long run without a word in it, and what
/// follows a scheme (`Bearer …`) or a telling name (`client_secret=…`).
fn mark_suspicious(text: &str, blotted: &mut [bool]) {
    let mut announced = false;
    let mut end_of_last = 0;
    for (start, run) in runs(text) {
        // The `=` of `name=value` belongs to runs, since base64 ends in it.
        let between = &text[end_of_last..start];
        end_of_last = start + run.len();
        let value = match run.find('=') {
            Some(at) if !run[at..].trim_start_matches('=').is_empty() => at + 1,
            _ => 0,
        };
        let named = value > 0 && is_telling_name(&run[..value - 1]);
        let told = named || (announced && between.chars().all(|c| " :='\"([{".contains(c)));
        let value = &run[value..];
        if is_random(value) || (told && !is_lower_case_word(value)) {
            blotted[end_of_last - value.len()..end_of_last].fill(true);
        }
        let follows = text[end_of_last..].trim_start_matches([' ', '"', '\'']);
        announced = is_scheme(run)
            || (is_telling_name(run.trim_end_matches('='))
                && (run.ends_with('=') || follows.starts_with([':', '='])));
    }
}

/// The runs of characters that a token, base64 or percent escapes are made of, with their place.
fn runs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let in_run =
        |character: char| character.is_ascii_alphanumeric() || "-._~+/=%!$*|".contains(character);
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(in_run)?;
        let length = text[start..].find(|character| !in_run(character));
        rest = length.map_or(text.len(), |length| start + length);
        Some((start, &text[start..rest]))
    })
}

fn is_scheme(run: &str) -> bool {
    ["basic", "bearer", "dpop", "mac"].iter().any(|scheme| scheme.eq_ignore_ascii_case(run))
}

fn is_telling_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "secret", "password", "assertion", "code", "key", "authorization"]
        .iter()
        .any(|telling| name.ends_with(telling))
}

fn is_lower_case_word(run: &str) -> bool {
    run.trim_end_matches('.').bytes().all(|byte| byte.is_ascii_lowercase())
}

fn is_random(run: &str) -> bool {
    run.len() >= SHORTEST_SECRET
        && (run.starts_with("eyJ")
            || !run.split(|character: char| !character.is_ascii_alphanumeric()).all(is_word))
}

/// Whether people would write this piece: a word, a short number, or a code such as `AADSTS50196`.
fn is_word(piece: &str) -> bool {
    let letters = piece.bytes().take_while(u8::is_ascii_alphabetic).count();
    let digits = piece.len() - letters;
    if !piece.bytes().skip(letters).all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    if letters == 0 || digits > 0 {
        return digits <= 8 && letters <= 8;
    }
    let humps = piece
        .as_bytes()
        .windows(2)
        .filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
        .count();
    let vowels = piece.bytes().filter(|byte| b"aeiouyAEIOUY".contains(byte)).count();
    letters <= 24 && humps <= letters / 5 && (letters < 8 || vowels * 5 >= letters)
}

/// Blots what is marked, replaces what RFC 6749 §5.2 does not allow, and cuts.
fn write_out(text: &str, blotted: &[bool]) -> String {
    let mut cleaned = String::with_capacity(MAX_DESCRIPTION);
    let mut in_blot = false;
    for (at, character) in text.char_indices() {
        if blotted[at] {
            if !in_blot {
                cleaned.push_str(BLOT);
            }
            in_blot = true;
            continue;
        }
        in_blot = false;
        let character = match character {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => character,
            _ => '?',
        };
        if !(character == ' ' && (cleaned.is_empty() || cleaned.ends_with(' '))) {
            cleaned.push(character);
        }
        if cleaned.len() >= MAX_DESCRIPTION {
            break;
        }
    }
    cleaned.truncate(MAX_DESCRIPTION);
    cleaned.truncate(cleaned.trim_end().len());
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_stays_readable() {
        let texts = [
            "client not found",
            "authentication failed",
            "The refresh token is invalid or expired",
            "expired access/refresh token",
            "Unknown or invalid refresh token.",
            "rate limit exceeded; retry in 60 seconds",
            "Global limit has been reached",
            "AADSTS7000215: Invalid client secret provided.",
            "Parameter grant_type must be client_credentials or authorization_code",
            "Bearer authentication is required",
            "refresh token: expired",
            "see https://login.example.test/oauth/errors.html",
            "org.springframework.security.oauth.InvalidTokenException",
            "unsupported_grant_type at line 7 (code 1042)",
        ];
        for text in texts {
            assert_eq!(clean_text(text, &[]).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_blotted_out() {
        let cases = [
            ("token 9f86d081884c7d659a2feaa0c55ad015 expired", "token [removed] expired"),
            ("id 2f3a1b4c-5d6e-4f70-8a9b-0c1d2e3f4a5b", "id [removed]"),
            ("eyJhbGciOiJub25lIn0.e30. is expired", "[removed] is expired"),
            ("Basic QWxhZGRpbg==", "Basic [removed]"),
            ("bearer: Abc123", "bearer: [removed]"),
            ("client_secret=Abc1", "client_secret=[removed]"),
            ("client_secret: 'hunter2'", "client_secret: '[removed]'"),
            ("xkqzvwplmnrtbdfg", "[removed]"),
            ("hGtRwQpLmNbVcXzAqWsE", "[removed]"),
            ("123456789012", "[removed]"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean_text(text, &[]).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn known_secrets_are_blotted_out_however_plain() {
        let plain = Secret::from("correct horse battery");
        let short = Secret::from("abc");
        let secrets = [&plain, &short];
        let cases = [
            ("no correct horse battery here", "no [removed] here"),
            ("no correct+horse+battery here", "no [removed] here"),
            ("no Correct Horse, no", "no [removed], no"),
            ("no Y29ycmVjdCBob3JzZSBiYXR0ZXJ5 here", "no [removed] here"),
            ("an abc of errors", "an [removed] of errors"),
            ("abcabc", "[removed]"),
            ("correct", "correct"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean_text(text, &secrets).as_deref(), Some(expected), "{text}");
        }
        assert!(holds_secret("read correct horse", &secrets));
        assert!(!holds_secret("read write", &secrets));
    }

    #[test]
    fn control_sequences_go_and_text_stays() {
        let cases = [
            ("a\u{1b}[31;1mb\u{1b}[0mc", "abc"),
            ("a\u{1b}]0;title\u{7}b", "ab"),
            ("a\u{1b}]8;;https://x.test\u{1b}\\b", "ab"),
            ("a\r\nb\tc", "a b c"),
            ("a\0b\u{7f}c\u{85}d", "abcd"),
            ("a\u{202e}b\u{200b}c\u{feff}d", "abcd"),
            ("say \"no\" \\o/", "say 'no' /o/"),
            ("caf\u{e9}", "caf?"),
            ("  a   b  ", "a b"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean_text(text, &[]).as_deref(), Some(expected), "{text:?}");
        }
        for nothing in ["", "   ", "\u{1b}[2J", "\0\0"] {
            assert_eq!(clean_text(nothing, &[]), None, "{nothing:?}");
        }
    }

    #[test]
    fn codes() {
        let secret = Secret::from("plain_secret");
        let cases = [
            ("invalid_grant", Some("invalid_grant")),
            (" Invalid_Grant ", Some("invalid_grant")),
            ("E0000047", Some("E0000047")),
            ("bad_verification_code", Some("bad_verification_code")),
            ("plain_secret", None),
            ("9f86d081884c7d659a2feaa0c55ad015", None),
            ("two words", None),
            ("", None),
        ];
        for (code, expected) in cases {
            assert_eq!(clean_code(code, &[&secret]).as_deref(), expected, "{code}");
        }
    }
}
