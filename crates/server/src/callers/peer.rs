//! Whom the transport shows.

use std::net::IpAddr;

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
