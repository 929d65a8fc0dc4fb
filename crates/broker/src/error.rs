//! Why there is no token, for the caller and for the log.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::{Cause, Failure};
use bellwether_oauth::{Remedy, TokenError};
use bellwether_store::StoreError;

/// Why one renewal gave no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RenewalError {
    /// The authorization server answered, with no token.
    #[error("{0}")]
    Refused(TokenError),
    /// No connection: the request was surely not sent.
    #[error("the authorization server cannot be reached: {0}")]
    Unreachable(String),
    /// The request may have been processed, and its answer was lost.
    #[error("the authorization server's answer was lost: {0}")]
    AnswerLost(String),
    /// The store refused what a renewal needs.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no refresh token to send.
    #[error("no refresh token is held: somebody has to authorize once")]
    NoRefreshToken,
    /// The refresh token is known to be refused and is not sent again.
    #[error("the refresh token was refused before: authorize again")]
    KnownRefused,
    /// The store is an older copy of itself.
    #[error(
        "the store is an older copy of itself, restored from a backup or copied: its refresh token \
         may have been used since, and is tried once nothing is left to lose"
    )]
    StoreIsOlder,
    /// Our own fault; the renewal is tried again.
    #[error("the renewal ended without a result; this is a defect of Bellwether")]
    Defect,
}

impl RenewalError {
    /// What the lifecycle makes of it. `spends` says whether the grant is spent by use.
    pub fn failure(&self, spends: bool) -> Failure {
        match self {
            Self::Refused(error) => refused(error, spends),
            Self::StoreIsOlder => Failure::new(Cause::InDoubt),
            Self::AnswerLost(_) | Self::Defect if spends => Failure::new(Cause::InDoubt),
            Self::Unreachable(_) | Self::AnswerLost(_) | Self::Defect => {
                Failure::new(Cause::Passing)
            }
            Self::Store(error) if error.is_passing() => Failure::new(Cause::Passing),
            Self::Store(_) => Failure::new(Cause::Misconfigured),
            Self::NoRefreshToken | Self::KnownRefused => Failure::new(Cause::Reauthorize),
        }
    }

    /// The authorization server's own error, if it gave one.
    pub fn token_error(&self) -> Option<&TokenError> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Unreachable(_)
            | Self::AnswerLost(_)
            | Self::Store(_)
            | Self::NoRefreshToken
            | Self::KnownRefused
            | Self::StoreIsOlder
            | Self::Defect => None,
        }
    }
}

fn refused(error: &TokenError, spends: bool) -> Failure {
    let in_doubt = spends && error.leaves_doubt();
    match error.remedy() {
        Remedy::Retry { after } => {
            let throttled = matches!(error, TokenError::Throttled { .. });
            let passing = if throttled { Cause::Throttled } else { Cause::Passing };
            let cause = if in_doubt { Cause::InDoubt } else { passing };
            Failure { cause, retry_after: after }
        }
        Remedy::Reauthorize | Remedy::FixConfiguration if in_doubt => Failure::new(Cause::InDoubt),
        Remedy::Reauthorize if spends => Failure::new(Cause::Reauthorize),
        Remedy::Reauthorize | Remedy::FixConfiguration => Failure::new(Cause::Misconfigured),
    }
}

/// What a caller gets instead of a token.
#[derive(Clone, Debug)]
pub struct NoToken {
    /// By what helps.
    pub cause: Cause,
    /// When to ask again, where that is known.
    pub retry_after: Option<Duration>,
    /// What the last renewal met.
    pub error: Option<Arc<RenewalError>>,
}

impl NoToken {
    pub(crate) fn new(failure: Failure, error: Option<Arc<RenewalError>>) -> Self {
        Self { cause: failure.cause, retry_after: failure.retry_after, error }
    }

    /// The broker has stopped.
    pub(crate) fn stopped() -> Self {
        Self { cause: Cause::Passing, retry_after: None, error: None }
    }
}

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => error.fmt(f),
            None => f.write_str("no access token is held, and none arrived in time"),
        }
    }
}

impl std::error::Error for NoToken {}
