//! What a failed renewal says about the next one.

use std::time::Duration;

/// Why a renewal gave no token, by what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Overloaded or out of reach; says nothing about the credential.
    Passing,
    /// The token endpoint's own limit; said by status, header or text.
    Throttled,
    /// The request may have spent the refresh token, and no answer was kept.
    InDoubt,
    /// `invalid_grant`: the grant or refresh token is expired, revoked or spent.
    Reauthorize,
    /// `invalid_client` and its like: a person must change the configuration.
    Misconfigured,
}

impl Cause {
    /// Whether it says something about the server or the way to it, and nothing about the credential.
    pub fn is_passing(self) -> bool {
        match self {
            Self::Passing | Self::Throttled | Self::InDoubt => true,
            Self::Reauthorize | Self::Misconfigured => false,
        }
    }
}

/// A renewal that gave no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// By what helps.
    pub cause: Cause,
    /// `Retry-After`, already capped; never undercut.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without `Retry-After`.
    pub fn new(cause: Cause) -> Self {
        Self { cause, retry_after: None }
    }
}
