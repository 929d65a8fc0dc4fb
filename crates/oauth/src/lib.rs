//! OAuth 2.0 token requests as values, token responses read tolerantly. Pure.
//!
//! A [`TokenRequest`] says which grant, scope and further parameters; a [`Client`] says who asks and
//! how it authenticates. Together they [encode](TokenRequest::encode) into a body and, perhaps, an
//! `Authorization` header. Somebody else sends them.
//!
//! What came back is a [`Message`]. [`read`] never fails and never panics: a [`Reading`] holds a
//! [`TokenResponse`] or a [`TokenError`] that [names its remedy](TokenError::remedy), and beside
//! either whatever refresh token could be saved. A server that rotates has already spent the old
//! one, so a response that is broken in any other place must still not lose the new one.
//!
//! How a client comes to its first refresh token is here as well: the [authorization
//! request](AuthorizationRequest) and [what comes back](read_callback), the
//! [device code](DeviceAuthorizationRequest), the server's own [metadata](read_metadata). And how it
//! gives a token back: [`RevocationRequest`].
//!
//! Resource servers tell in many spellings what is left of their limits: [`read_rate_limit`].
//!
//! Servers write secrets into the strangest places. What leaves here as text (codes, descriptions,
//! remarks) is cleaned; what is secret is a [`Secret`].

mod authorization_code;
mod basic;
mod body;
mod clean;
mod client;
#[cfg(feature = "corpus")]
pub mod corpus;
mod device;
mod error;
mod members;
mod metadata;
mod pkce;
mod rate_limit;
mod refusal;
mod remark;
mod request;
mod response;
mod retry_after;
mod revocation;
mod scope;
mod secret;
mod text;

pub use authorization_code::{
    AuthorizationRequest, Callback, CallbackError, Expected, read_callback,
};
pub use basic::{InvalidBasic, decode_basic};
pub use client::{Client, ClientAuthentication};
pub use device::{
    DeviceAuthorization, DeviceAuthorizationRequest, Poll, Polling, read_device_authorization,
};
pub use error::{Details, Remedy, TokenError};
pub use metadata::{Metadata, MetadataError, read_metadata, well_known};
pub use pkce::CodeVerifier;
pub use rate_limit::{RateLimit, may_tell_of_a_limit, read_rate_limit};
pub use remark::Remark;
pub use request::{CONTENT_TYPE, EncodedRequest, Grant, TokenRequest};
pub use response::{
    MAX_ACCESS_TOKEN, MAX_BODY, MAX_EXPIRES_IN, Message, Reading, TokenResponse, TokenType, read,
};
pub use retry_after::{MAX_RETRY_AFTER, retry_after};
pub use revocation::{RevocationRequest, TokenTypeHint, read_revocation};
pub use scope::{InvalidScope, Scope};
pub use secret::Secret;
