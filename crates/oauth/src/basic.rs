//! The `Basic` scheme for client authentication (RFC 6749 §2.3.1 over RFC 7617).
//!
//! RFC 6749 has identifier and secret form-encoded before they are joined. That is what we send.
//! What we receive was often joined as it stood, so a `+` is taken for itself and only complete
//! percent escapes are undone: wrong only for secrets that hold a space and arrive encoded, or hold
//! a percent escape and arrive plain.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::Secret;

/// Bytes of an `Authorization` value that are looked at; a longer one is refused.
const MAX_HEADER: usize = 8 * 1024;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why an `Authorization` value names no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidBasic {
    /// Another scheme, or none.
    NotBasic,
    /// Not base64, not UTF-8, without a colon, with control characters, or too long.
    Malformed,
}

impl fmt::Display for InvalidBasic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBasic => "the Authorization header does not use the Basic scheme",
            Self::Malformed => "the Basic credentials are not base64 of CLIENT_ID:CLIENT_SECRET",
        })
    }
}

impl std::error::Error for InvalidBasic {}

/// The `Authorization` value for `id` and `secret`.
pub(crate) fn encode_basic(id: &str, secret: &Secret) -> Secret {
    // Form-encoding makes three bytes of one at most: with room for that, nothing is left behind
    // in a buffer that grew.
    let mut joined = Zeroizing::new(String::with_capacity(3 * (id.len() + secret.len()) + 1));
    joined.extend(form_urlencoded::byte_serialize(id.as_bytes()));
    joined.push(':');
    joined.extend(form_urlencoded::byte_serialize(secret.expose().as_bytes()));

    let mut header = Zeroizing::new(String::with_capacity(6 + joined.len().div_ceil(3) * 4));
    header.push_str("Basic ");
    STANDARD.encode_string(joined.as_bytes(), &mut header);
    Secret::from(header.as_str())
}

/// Client identifier and secret from an `Authorization` value.
///
/// # Errors
/// When the scheme is another one, or what follows it is no pair.
pub fn decode_basic(header: &str) -> Result<(String, Secret), InvalidBasic> {
    let (scheme, encoded) = header.trim().split_once(' ').ok_or(InvalidBasic::NotBasic)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(InvalidBasic::NotBasic);
    }
    if header.len() > MAX_HEADER {
        return Err(InvalidBasic::Malformed);
    }
    let encoded = encoded.trim();
    let mut bytes = Zeroizing::new(vec![0; encoded.len()]);
    let length = LENIENT.decode_slice(encoded, &mut bytes).map_err(|_| InvalidBasic::Malformed)?;
    let joined = std::str::from_utf8(&bytes[..length]).map_err(|_| InvalidBasic::Malformed)?;
    let (id, secret) = joined.split_once(':').ok_or(InvalidBasic::Malformed)?;
    let mut id = percent_decoded(id);
    let mut secret = percent_decoded(secret);
    if id.is_empty() || has_control(&id) || has_control(&secret) {
        return Err(InvalidBasic::Malformed);
    }
    Ok((std::mem::take(&mut *id), Secret::from(std::mem::take(&mut *secret))))
}

fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        return text.bytes().any(|byte| byte.is_ascii_control());
    }
    text.chars().any(char::is_control)
}

/// Undoes percent escapes; text whose escapes are no UTF-8 was not encoded and stays as it is.
fn percent_decoded(text: &str) -> Zeroizing<String> {
    if !text.contains('%') {
        return Zeroizing::new(text.to_owned());
    }
    let bytes = Zeroizing::new(percent_decode_str(text).collect::<Vec<u8>>());
    Zeroizing::new(std::str::from_utf8(&bytes).unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn basic(joined: &[u8]) -> String {
        format!("Basic {}", STANDARD.encode(joined))
    }

    #[test]
    fn id_and_secret_are_form_encoded_before_they_are_joined() {
        let cases = [
            ("client", "secret", "client:secret"),
            ("a:b", "c:d", "a%3Ab:c%3Ad"),
            ("a b", "1+1=2", "a+b:1%2B1%3D2"),
            ("é", "%", "%C3%A9:%25"),
            ("id", "", "id:"),
        ];
        for (id, secret, joined) in cases {
            let header = encode_basic(id, &Secret::from(secret));
            assert_eq!(header.expose(), basic(joined.as_bytes()), "{id}");
        }
    }

    #[test]
    fn pairs_are_read_as_clients_send_them() {
        let cases = [
            (basic(b"id:secret"), "id", "secret"),
            (basic(b"id:"), "id", ""),
            (basic(b"id:a:b"), "id", "a:b"),
            (basic(b"id:a+b/c="), "id", "a+b/c="),
            (basic(b"id:a%2Bb"), "id", "a+b"),
            (basic(b"id:100%"), "id", "100%"),
            (basic(b"id:%FF"), "id", "%FF"),
            (basic(b"a%3Ab:c"), "a:b", "c"),
            ("basic aWQ6cw".to_owned(), "id", "s"),
            ("BASIC   aWQ6cw==  ".to_owned(), "id", "s"),
        ];
        for (header, id, secret) in cases {
            assert_eq!(
                decode_basic(&header),
                Ok((id.to_owned(), Secret::from(secret))),
                "{header}",
            );
        }
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        use InvalidBasic::{Malformed, NotBasic};
        let cases = [
            (String::new(), NotBasic),
            ("Basic".to_owned(), NotBasic),
            ("Bearer aWQ6cw==".to_owned(), NotBasic),
            ("Basic ???".to_owned(), Malformed),
            ("Basic aWQ6cw== x".to_owned(), Malformed),
            (basic(b"no colon"), Malformed),
            (basic(b":secret"), Malformed),
            (basic(b"id:\xff"), Malformed),
            (basic(b"i\nd:secret"), Malformed),
            (basic(b"id:sec%0Aret"), Malformed),
            (basic(&[b':'; 9000]), Malformed),
        ];
        for (header, expected) in cases {
            assert_eq!(decode_basic(&header), Err(expected), "{header}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(id in "[!-~]{1,40}", secret in "[!-~]{0,60}") {
            let header = encode_basic(&id, &Secret::from(secret.as_str()));
            prop_assert_eq!(decode_basic(header.expose()), Ok((id, Secret::from(secret))));
        }

        #[test]
        fn no_header_panics(header in "(Basic )?.{0,80}") {
            let _ = decode_basic(&header);
        }
    }
}
