//! Why the token endpoint gave no token, and what to do about it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::Secret;
use crate::clean::{clean_code, clean_text};

/// What the authorization server said, cleaned of whatever must not be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    status: u16,
    code: Option<Cow<'static, str>>,
    description: Option<String>,
}

impl Details {
    /// Cleans what the server said. A code longer than 64 bytes or with anything but letters,
    /// digits, `_`, `-` and `.` is dropped. A description keeps 200 of the characters that
    /// RFC 6749 §5.2 allows; `secrets`, in whatever encoding, and what looks like one are blotted
    /// out of it.
    pub fn new(
        status: u16,
        code: Option<&str>,
        description: Option<&str>,
        secrets: &[&Secret],
    ) -> Self {
        Self {
            status,
            code: code.and_then(|code| clean_code(code, secrets)),
            description: description.and_then(|text| clean_text(text, secrets)),
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The `error` code (RFC 6749 §5.2) or what the server has for it.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The description, in characters that `error_description` may hold.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

/// Why the token endpoint gave no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// `invalid_client`: unknown client, or its authentication failed. A 401 that says nothing
    /// else is read as this.
    InvalidClient {
        /// What the server said.
        details: Details,
    },
    /// `invalid_grant`: the grant or refresh token is expired, revoked or spent.
    InvalidGrant {
        /// What the server said.
        details: Details,
    },
    /// `unauthorized_client`: the client may not use this grant.
    UnauthorizedClient {
        /// What the server said.
        details: Details,
    },
    /// `invalid_scope`: unknown, malformed, or wider than what was granted.
    InvalidScope {
        /// What the server said.
        details: Details,
    },
    /// `unsupported_grant_type`: this server knows no such grant.
    UnsupportedGrantType {
        /// What the server said.
        details: Details,
    },
    /// `invalid_request`: a parameter is missing, malformed or there twice.
    InvalidRequest {
        /// What the server said.
        details: Details,
    },
    /// `access_denied`: a policy forbids it.
    AccessDenied {
        /// What the server said.
        details: Details,
    },
    /// `interaction_required` and its like: a person has to sign in again.
    InteractionRequired {
        /// What the server said.
        details: Details,
    },
    /// Refused for a reason that no RFC names.
    OtherCode {
        /// What the server said.
        details: Details,
    },
    /// Too many token requests, said by status 429 or in disguise.
    Throttled {
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
        /// What the server said.
        details: Details,
    },
    /// Overloaded, broken or blocked on the way; says nothing about the credential.
    Unavailable {
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
        /// What the server said.
        details: Details,
    },
    /// A redirect. It is not followed: the client's secret goes to the configured address alone.
    Redirected {
        /// What the server said.
        details: Details,
    },
    /// A token of a type that is not a bearer token and so cannot be used by who holds it.
    UnsupportedTokenType {
        /// What the server said.
        details: Details,
    },
    /// A success in name that gives no token that could be sent.
    Unusable {
        /// What is wrong with it.
        why: &'static str,
        /// What the server said.
        details: Details,
    },
}

/// What ends a [`TokenError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Time: ask again, not before `after` where the server said so.
    Retry {
        /// The wait that the server asked for.
        after: Option<Duration>,
    },
    /// A person: the grant is gone and has to be given again.
    Reauthorize,
    /// An operator: the same request will be refused until client or server is configured anew.
    FixConfiguration,
}

impl TokenError {
    /// What ends this error. Has no wildcard arm, so a new variant must choose its remedy.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Throttled { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                Remedy::Retry { after: *retry_after }
            }
            Self::Unusable { .. } => Remedy::Retry { after: None },
            Self::InvalidGrant { .. } | Self::InteractionRequired { .. } => Remedy::Reauthorize,
            Self::InvalidClient { .. }
            | Self::UnauthorizedClient { .. }
            | Self::InvalidScope { .. }
            | Self::UnsupportedGrantType { .. }
            | Self::InvalidRequest { .. }
            | Self::AccessDenied { .. }
            | Self::OtherCode { .. }
            | Self::Redirected { .. }
            | Self::UnsupportedTokenType { .. } => Remedy::FixConfiguration,
        }
    }

    /// Whether the server may have carried the request out nevertheless, and spent a refresh token
    /// with it: it failed half-way, or its answer is beyond reading.
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Unusable { .. }
            | Self::UnsupportedTokenType { .. } => true,
            Self::InvalidClient { .. }
            | Self::InvalidGrant { .. }
            | Self::UnauthorizedClient { .. }
            | Self::InvalidScope { .. }
            | Self::UnsupportedGrantType { .. }
            | Self::InvalidRequest { .. }
            | Self::AccessDenied { .. }
            | Self::InteractionRequired { .. }
            | Self::OtherCode { .. }
            | Self::Throttled { .. }
            | Self::Redirected { .. } => false,
        }
    }

    /// The name of the variant, for a log field or a metric label; the RFC's code where it has one.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvalidClient { .. } => "invalid_client",
            Self::InvalidGrant { .. } => "invalid_grant",
            Self::UnauthorizedClient { .. } => "unauthorized_client",
            Self::InvalidScope { .. } => "invalid_scope",
            Self::UnsupportedGrantType { .. } => "unsupported_grant_type",
            Self::InvalidRequest { .. } => "invalid_request",
            Self::AccessDenied { .. } => "access_denied",
            Self::InteractionRequired { .. } => "interaction_required",
            Self::OtherCode { .. } => "other",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::Redirected { .. } => "redirected",
            Self::UnsupportedTokenType { .. } => "unsupported_token_type",
            Self::Unusable { .. } => "unusable",
        }
    }

    /// What the server said.
    pub fn details(&self) -> &Details {
        match self {
            Self::InvalidClient { details }
            | Self::InvalidGrant { details }
            | Self::UnauthorizedClient { details }
            | Self::InvalidScope { details }
            | Self::UnsupportedGrantType { details }
            | Self::InvalidRequest { details }
            | Self::AccessDenied { details }
            | Self::InteractionRequired { details }
            | Self::OtherCode { details }
            | Self::Throttled { details, .. }
            | Self::Unavailable { details, .. }
            | Self::Redirected { details }
            | Self::UnsupportedTokenType { details }
            | Self::Unusable { details, .. } => details,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.details().status()
    }

    /// The server's code, as in [`Details::code`].
    pub fn code(&self) -> Option<&str> {
        self.details().code()
    }

    /// The server's description, as in [`Details::description`].
    pub fn description(&self) -> Option<&str> {
        self.details().description()
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::InvalidClient { .. } => {
                "the authorization server refused the client: check its id, its secret, how it \
                 authenticates, and that it belongs to this server and is active"
            }
            Self::InvalidGrant { .. } => "the grant is expired, revoked or spent: authorize again",
            Self::UnauthorizedClient { .. } => {
                "the client may not use this grant: allow it at the authorization server or \
                 configure another grant"
            }
            Self::InvalidScope { .. } => {
                "the scope is unknown or wider than what was granted: correct the scope"
            }
            Self::UnsupportedGrantType { .. } => {
                "the authorization server knows no such grant: configure another one"
            }
            Self::InvalidRequest { .. } => {
                "the authorization server does not accept the request: check the configured \
                 parameters and the token endpoint"
            }
            Self::AccessDenied { .. } => {
                "a policy of the authorization server forbids this: check the client's permissions"
            }
            Self::InteractionRequired { .. } => "a person has to sign in: authorize again",
            Self::OtherCode { .. } => {
                "the authorization server refused the request: check the token endpoint and the \
                 client's settings"
            }
            Self::Throttled { .. } => "too many token requests: wait, then ask again",
            Self::Unavailable { .. } => {
                "the authorization server is unavailable: it is asked again"
            }
            Self::Redirected { .. } => {
                "the token endpoint redirects and redirects are not followed: configure the \
                 address that answers"
            }
            Self::UnsupportedTokenType { .. } => {
                "the access token is no bearer token: have the authorization server issue bearer \
                 tokens to this client"
            }
            Self::Unusable { .. } => "the answer holds no usable access token: it is asked again",
        }
    }
}

/// The code and the status, what to do, and what the server said.
impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = self.details();
        let code = details.code().unwrap_or(self.kind());
        write!(f, "{code} (status {}): {}", details.status(), self.advice())?;
        if let Self::Unusable { why, .. } = self {
            write!(f, " ({why})")?;
        }
        match details.description() {
            Some(description) => write!(f, "; it said: {description}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(code: Option<&str>, description: Option<&str>) -> Details {
        Details::new(400, code, description, &[])
    }

    #[test]
    fn each_error_says_what_happened_and_what_to_do() {
        let cases = [
            (
                TokenError::InvalidClient {
                    details: details(Some("invalid_client"), Some("client not found")),
                },
                "invalid_client (status 400): the authorization server refused the client: check \
                 its id, its secret, how it authenticates, and that it belongs to this server and \
                 is active; it said: client not found",
            ),
            (
                TokenError::Throttled { retry_after: None, details: details(None, None) },
                "throttled (status 400): too many token requests: wait, then ask again",
            ),
            (
                TokenError::Unusable { why: "the body is empty", details: details(None, None) },
                "unusable (status 400): the answer holds no usable access token: it is asked \
                 again (the body is empty)",
            ),
        ];
        for (error, expected) in cases {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn details_cannot_be_made_unclean() {
        let secret = Secret::from("a secret");
        let details =
            Details::new(400, Some("a secret"), Some("no \"a secret\"\n\u{1b}[2J"), &[&secret]);
        assert_eq!(details.code(), None);
        assert_eq!(details.description(), Some("no '[removed]'"));
    }
}
