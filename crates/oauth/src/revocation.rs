//! Giving a token back (RFC 7009).

use crate::body::Body;
use crate::refusal::refusal;
use crate::remark::Remarks;
use crate::request::encode_for;
use crate::{Client, EncodedRequest, Message, Secret, TokenError};

/// What sort of token it is, so that the server need not search (RFC 7009 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenTypeHint {
    /// Ends the grant, and with it usually every access token.
    RefreshToken,
    /// Ends this token alone.
    AccessToken,
}

impl TokenTypeHint {
    /// The value of `token_type_hint`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::AccessToken => "access_token",
        }
    }
}

/// A wish that a token be good no longer.
#[derive(Clone, Copy, Debug)]
pub struct RevocationRequest<'a> {
    /// The token.
    pub token: &'a Secret,
    /// Of which sort it is.
    pub hint: TokenTypeHint,
}

impl RevocationRequest<'_> {
    /// The request as `client` sends it.
    pub fn encode(&self, client: &Client) -> EncodedRequest {
        let form = vec![("token", self.token.expose()), ("token_type_hint", self.hint.as_str())];
        encode_for(client, form)
    }
}

/// Reads the answer: success means that the token is good no longer, or never was (RFC 7009 §2.2).
///
/// # Errors
/// What the server said.
pub fn read_revocation(message: &Message<'_>) -> Result<(), TokenError> {
    let mut remarks = Remarks::default();
    let body = Body::parse(message, &mut remarks);
    if matches!(message.status, 200 | 204) && !body.is_error() {
        return Ok(());
    }
    Err(refusal(message, &body, &mut remarks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientAuthentication;

    #[test]
    fn the_token_and_its_sort() {
        let token = Secret::from("a/b");
        let request = RevocationRequest { token: &token, hint: TokenTypeHint::RefreshToken };
        let client = Client { id: "c".to_owned(), authentication: ClientAuthentication::None };
        assert_eq!(
            request.encode(&client).body.expose(),
            "token=a%2Fb&token_type_hint=refresh_token&client_id=c"
        );
    }

    #[test]
    fn only_success_is_success() {
        let read = |status, body: &str| {
            read_revocation(&Message { status, body: body.as_bytes(), ..Message::default() })
        };
        for (status, body) in [(200, ""), (200, "{}"), (200, "OK"), (204, "")] {
            assert_eq!(read(status, body), Ok(()), "{status} {body}");
        }
        #[rustfmt::skip]
        let failed = [
            (200, r#"{"error":"invalid_client"}"#, "invalid_client"),
            (302, "",                              "redirected"),
            (400, r#"{"error":"unsupported_token_type"}"#, "other"),
            (401, r#"{"error":"invalid_client"}"#, "invalid_client"),
            (429, "",                              "throttled"),
            (503, "",                              "unavailable"),
        ];
        for (status, body, kind) in failed {
            assert_eq!(read(status, body).unwrap_err().kind(), kind, "{status} {body}");
        }
    }
}
