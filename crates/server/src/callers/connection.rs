//! What is known of one connection, for as long as it lives.

use std::sync::OnceLock;

use http::HeaderValue;

use super::access::Latest;
use super::peer::Peer;
use super::remembered::Memory;

/// One connection of a listener.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// A value of `Host` that was found to be ours.
    pub(crate) host: OnceLock<HeaderValue>,
    /// The latest token request.
    pub(crate) memory: Memory,
    /// Who sent the latest request to the API.
    pub(crate) latest: Latest,
}

impl Connection {
    pub(crate) fn with(peer: Peer) -> Self {
        Self { peer, ..Self::default() }
    }
}
