//! What is known of one connection, for as long as it lives.

use std::net::IpAddr;
use std::sync::OnceLock;

use http::HeaderValue;

use super::access::Latest;
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

/// Who is at the other end, as far as the transport can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Where it connects from; `None` over a unix socket.
    pub(crate) address: Option<IpAddr>,
    /// Its user, as the kernel knows it; over a unix socket alone.
    pub(crate) user: Option<u32>,
    /// The certificate it proved to have, verified by the authority configured for callers.
    pub(crate) certificate: Option<Certificate>,
}

/// What a verified certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Its DNS, URI and e-mail names (RFC 5280 §4.2.1.6).
    pub(crate) names: Vec<String>,
}
