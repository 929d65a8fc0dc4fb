//! A refresh token from elsewhere, by way of standard input: never a flag, which others could read.

use std::io::{BufRead, IsTerminal, Read};

use bellwether_broker::oauth::Secret;
use zeroize::Zeroizing;

use crate::commands::Failure;
use crate::tell::tell;

/// The longest refresh token that is taken, in bytes.
const LONGEST: usize = 16 * 1024;

/// A line from a terminal, else everything there is.
pub(super) fn from_standard_input() -> Result<Secret, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(LONGEST + 2));
    let input = std::io::stdin();
    let mut limited = input.lock().take(LONGEST as u64 + 2);
    let read = if input.is_terminal() {
        tell!("Paste the refresh token and press Enter:");
        limited.read_line(&mut text)
    } else {
        limited.read_to_string(&mut text)
    };
    if let Err(error) = read {
        return Err(Failure::Usage(format!("standard input cannot be read: {error}")));
    }
    check(&text).map_err(|why| Failure::Usage(format!("standard input {why}")))
}

/// White space around it is dropped; inside there is none in any refresh token.
fn check(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty; put the refresh token there");
    }
    if text.len() > LONGEST {
        return Err("holds more than a refresh token");
    }
    if text.starts_with(['{', '<']) {
        return Err("holds a document; put the refresh token alone there");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("holds more than one word, or characters that no refresh token has; put the \
                    refresh token alone there");
    }
    Ok(Secret::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_alone_is_taken_and_nothing_else() {
        for text in ["abc", " abc\n", "\tabc\r\n\n", "a.b-c_d~e+f/g="] {
            assert_eq!(check(text), Ok(Secret::from(text.trim())), "{text:?}");
        }
        let long = "x".repeat(LONGEST + 1);
        for text in ["", " \n", "a b", "a\nb", "é", "{\"refresh_token\":\"a\"}", "<html>", &long] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }
}
