//! The client: who asks for tokens, and how it proves it (RFC 6749 §2).

use crate::Secret;

/// A client as the authorization server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client identifier. Not a secret.
    pub id: String,
    /// How the client authenticates at the token endpoint.
    pub authentication: ClientAuthentication,
}

/// Client authentication (RFC 6749 §2.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Identifier and secret in the `Authorization` header (`client_secret_basic`).
    Basic(Secret),
    /// Identifier and secret in the body (`client_secret_post`).
    Post(Secret),
    /// A public client: the identifier alone, in the body.
    None,
}

impl ClientAuthentication {
    /// The client secret, for a confidential client.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Basic(secret) | Self::Post(secret) => Some(secret),
            Self::None => None,
        }
    }
}
