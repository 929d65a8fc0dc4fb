//! The same small job for every contestant: hold an access token and hand it to whoever asks.
//!
//! `hot_path` measures what asking costs, `memory` what holding costs. Each contestant is used
//! through its public API with default options, and gets the same token of about 250 bytes.

pub mod aws;
pub mod azure;
pub mod bellwether;
pub mod endpoint;
pub mod floor;
pub mod google;

/// As long as a typical opaque or small signed token.
pub const TOKEN_LENGTH: usize = 250;
/// Seconds; nothing is renewed while we measure.
pub const LIFETIME: u64 = 24 * 3600;

/// The `n`th access token.
pub fn access_token(n: usize) -> String {
    format!("{n:0>width$}", width = TOKEN_LENGTH)
}

/// A successful token response (RFC 6749 §5.1) with the `n`th token.
pub fn token_response(n: usize) -> String {
    format!(
        r#"{{"access_token":"{}","token_type":"Bearer","expires_in":{LIFETIME}}}"#,
        access_token(n)
    )
}

/// The `n`th client's identifier and secret, as long as a vendor's.
pub fn client(n: usize) -> (String, String) {
    let (mut id, mut secret) = (format!("5f0c2a6e-1d5b-4c1e-9b57-{n:012}"), format!("{n:0>43}"));
    // Whoever keeps them keeps no more than they are.
    id.shrink_to_fit();
    secret.shrink_to_fit();
    (id, secret)
}
