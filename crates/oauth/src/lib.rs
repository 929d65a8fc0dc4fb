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
//! Servers write secrets into the strangest places. What leaves here as text (codes, descriptions,
//! remarks) is cleaned; what is secret is a [`Secret`].

mod basic;
mod body;
mod clean;
mod client;
#[cfg(feature = "corpus")]
pub mod corpus;
mod error;
mod members;
mod refusal;
mod remark;
mod request;
mod response;
mod retry_after;
mod scope;
mod secret;
mod text;

pub use basic::{InvalidBasic, decode_basic};
pub use client::{Client, ClientAuthentication};
pub use error::{Details, Remedy, TokenError};
pub use remark::Remark;
pub use request::{CONTENT_TYPE, EncodedRequest, Grant, TokenRequest};
pub use response::{
    MAX_ACCESS_TOKEN, MAX_BODY, MAX_EXPIRES_IN, Message, Reading, TokenResponse, TokenType, read,
};
pub use retry_after::{MAX_RETRY_AFTER, retry_after};
pub use scope::{InvalidScope, Scope};
pub use secret::Secret;
