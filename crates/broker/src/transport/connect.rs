//! A connection to a configured server: its name is resolved once, and only an address that was
//! looked at is connected to.

use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use url::{Host, Url};

use super::TransportError;

/// Connects to the server of a URL: a name may not stand for this machine, its link or its cloud's
/// metadata service; a literal address and `localhost` are taken as meant.
///
/// # Errors
/// That nothing was sent, and why.
pub async fn connect(url: &Url) -> Result<TcpStream, TransportError> {
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(Host::Ipv4(address)) => vec![(address, port).into()],
        Some(Host::Ipv6(address)) => vec![(address, port).into()],
        Some(Host::Domain(name)) => {
            let found = tokio::net::lookup_host((name, port)).await;
            let found =
                found.map_err(|error| TransportError::not_sent(&format!("{name}: {error}")))?;
            let local = name == "localhost";
            found.filter(|address| local || is_elsewhere(address.ip())).collect()
        }
        None => Vec::new(),
    };
    let mut last =
        TransportError::not_sent("its name resolves to no address that may be connected to");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small requests that wait for an answer gain nothing from waiting for more bytes.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = TransportError::not_sent(&format!("{address}: {error}")),
        }
    }
    Err(last)
}

/// Whether a *name* may stand for this address: not this machine, its link, its cloud's metadata
/// service or a multicast group, in whichever notation.
fn is_elsewhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_unspecified())
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let embedded = v6.to_ipv4_mapped().or_else(|| {
                let [.., high, low] = segments;
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                (segments[..2] == [0x64, 0xff9b]).then(|| [a, b, c, d].into())
            });
            embedded.is_none_or(|v4| is_elsewhere(IpAddr::V4(v4)))
                && !(v6.is_loopback()
                    || v6.is_multicast()
                    || v6.is_unspecified()
                    || v6.is_unicast_link_local()
                    // The metadata service of a large cloud.
                    || segments == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254])
        }
    }
}

/// The name that the server's certificate must have.
///
/// # Errors
/// When TLS cannot verify such a name.
pub fn server_name(url: &Url) -> Result<ServerName<'static>, TransportError> {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(bare)
        .map_err(|_| TransportError::not_sent("its host name is not one TLS can verify"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_not_stand_for_this_machine_or_its_metadata() {
        #[rustfmt::skip]
        let cases = [
            ("93.184.216.34",          true),
            ("10.1.2.3",               true),
            ("2606:2800:220:1::1",     true),
            ("127.0.0.1",              false),
            ("127.9.9.9",              false),
            ("169.254.169.254",        false),
            ("0.0.0.0",                false),
            ("224.0.0.1",              false),
            ("::1",                    false),
            ("::ffff:127.0.0.1",       false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::a9fe:a9fe",     false),
            ("fe80::1",                false),
            ("fd00:ec2::254",          false),
        ];
        for (address, expected) in cases {
            assert_eq!(is_elsewhere(address.parse().unwrap()), expected, "{address}");
        }
    }
}
