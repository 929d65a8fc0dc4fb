//! One request as a log tells it, in the same words for every format.

use crate::fingerprint::Fingerprint;
use crate::moment::Moment;

/// How much of a body or a header is kept to be looked at.
pub const EXCERPT: usize = 4096;

/// Who sent a request, as far as the log says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// One thread: its requests follow one another, and its last login made its token.
    Thread,
    /// An address, behind which any number of threads may be.
    #[default]
    Address,
}

/// The `grant_type` of a token request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grant {
    /// The log does not say.
    #[default]
    Unknown,
    /// `client_credentials`.
    ClientCredentials,
    /// `refresh_token`.
    RefreshToken,
    /// Any other.
    Other,
}

/// What kind of request it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// To a resource server.
    #[default]
    Api,
    /// To a token endpoint.
    Token(Grant),
}

/// What an error answer complains of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Complaint {
    /// Nothing, or nothing that is known.
    #[default]
    None,
    /// Too many requests, in whatever disguise.
    Throttled,
    /// `invalid_grant`.
    InvalidGrant,
    /// A refresh token, without RFC 6749's code for it.
    RefreshToken,
    /// `invalid_client`.
    InvalidClient,
    /// A token or assertion that has expired.
    Expired,
    /// A token or assertion from the future.
    NotYetValid,
    /// A permission or scope.
    Permissions,
}

/// One request and its answer.
///
/// Its buffers are used again for the next one. `message` and `request` may hold secrets and are
/// never shown but through [`cleaned`](crate::redaction::cleaned).
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Which of the files.
    pub file: usize,
    /// Line in it, from 1; where the format has no lines, the number of the entry.
    pub line: u64,
    /// When it was answered.
    pub done_at: Moment,
    /// Milliseconds from sending to the answer.
    pub elapsed: i64,
    /// Thread or address.
    pub caller: Vec<u8>,
    /// What `caller` is.
    pub identity: Identity,
    /// What a test calls this request.
    pub label: Vec<u8>,
    /// Its method, where known.
    pub method: Vec<u8>,
    /// URL or path.
    pub target: Vec<u8>,
    /// Of the answer; none where there was no answer.
    pub status: Option<u16>,
    /// What is there of the answer's body, or of a message about it.
    pub message: Vec<u8>,
    /// What is there of the request's headers and body.
    pub request: Vec<u8>,
    /// The access token it was sent with.
    pub token: Option<Fingerprint>,
    /// The answer's `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// The answer's `Date`.
    pub server_date: Option<Moment>,

    /// What kind of request it is.
    pub kind: Kind,
    /// What the answer complains of.
    pub complaint: Complaint,
    /// The answer's `expires_in`, in seconds.
    pub expires_in: Option<u32>,
    /// The access token that the answer issued.
    pub issued: Option<Fingerprint>,
    /// When the authorization server says it issued that token (`iat`).
    pub issued_at: Option<Moment>,
    /// True where the answer has a refresh token.
    pub issued_refresh_token: bool,
    /// The refresh token that the request spent.
    pub spent: Option<Fingerprint>,
    /// True for client authentication as `null:null`, or an empty refresh token.
    pub null_credentials: bool,
}

impl Observation {
    /// As new, with its buffers kept.
    pub fn clear(&mut self) {
        let Self { caller, label, method, target, message, request, .. } = self;
        let mut buffers = [caller, label, method, target, message, request].map(std::mem::take);
        for buffer in &mut buffers {
            buffer.clear();
        }
        let [caller, label, method, target, message, request] = buffers;
        *self = Self { caller, label, method, target, message, request, ..Self::default() };
    }

    /// When it was sent.
    pub fn sent_at(&self) -> Moment {
        self.done_at.plus(-self.elapsed)
    }

    /// Is it a token request?
    pub fn is_token_request(&self) -> bool {
        matches!(self.kind, Kind::Token(_))
    }

    /// A 2xx.
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// The API refused the access token.
    pub fn is_refused_token(&self) -> bool {
        self.status == Some(401) && !self.is_token_request()
    }
}

/// Puts the beginning of `text` into `buffer`.
pub fn excerpt(buffer: &mut Vec<u8>, text: &[u8]) {
    let room = EXCERPT.saturating_sub(buffer.len());
    buffer.extend_from_slice(&text[..text.len().min(room)]);
}
