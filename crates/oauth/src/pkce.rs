//! Proof key for code exchange (RFC 7636): a code is worth nothing to who does not know the verifier.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::Secret;

/// The secret behind an authorization request. New for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeVerifier(Secret);

impl CodeVerifier {
    /// The only method that is used: the challenge is the verifier's hash.
    pub const METHOD: &'static str = "S256";

    /// The verifier made of 256 random bits (RFC 7636 §4.1).
    pub fn from_random(bits: [u8; 32]) -> Self {
        let bits = Zeroizing::new(bits);
        Self(Secret::from(URL_SAFE_NO_PAD.encode(*bits)))
    }

    /// The text, for the token request alone.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What the authorization request shows of it (RFC 7636 §4.2).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.0.expose().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_own_example() {
        let bits = [
            116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212,
            37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121,
        ];
        let verifier = CodeVerifier::from_random(bits);
        assert_eq!(verifier.expose(), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(verifier.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(format!("{verifier:?}"), "CodeVerifier(Secret(…))");
    }
}
