//! Which peers are proxies that may speak for others.
//!
//! What came through a proxy may come from a page or an application that was tricked into asking for
//! a token: below `/bellwether/v1` it is answered for the proxies that were named alone.

use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderMap;

use super::Peer;

/// A peer, or a network of them, that may pass requests on: `10.0.0.0/8`, `10.0.0.7` or `unix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Peers whose address begins with the first `prefix` bits of this one.
    Network {
        /// Its further bits are zero.
        address: IpAddr,
        /// Bits, from 1 to 32 or 128.
        prefix: u8,
    },
    /// Whoever connects over a unix socket.
    Unix,
}

impl TrustedProxy {
    fn covers(self, peer: &Peer) -> bool {
        match (self, peer.address) {
            (Self::Network { address, prefix }, Some(of_peer)) => {
                // A listener for both families sees IPv4 as a part of IPv6.
                let of_peer = of_peer.to_canonical();
                of_peer.is_ipv4() == address.is_ipv4() && first_bits(of_peer, prefix) == address
            }
            (Self::Unix, None) => true,
            (Self::Network { .. }, None) | (Self::Unix, Some(_)) => false,
        }
    }
}

/// Whether one of them covers this peer.
pub(crate) fn is_trusted(proxies: &[TrustedProxy], peer: &Peer) -> bool {
    proxies.iter().any(|proxy| proxy.covers(peer))
}

/// Whether something between the caller and us says that it passed this on.
pub(crate) fn was_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let name = name.as_str();
        matches!(name, "forwarded" | "via") || name.starts_with("x-forwarded-")
    })
}

fn first_bits(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let unreadable = || {
            format!(
                "{text:?} is no peer; write an address, a network or the word unix, as in \
                 \"10.0.0.7\", \"10.0.0.0/8\" or \"unix\""
            )
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| unreadable())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most && !bits.starts_with('+'))
                .ok_or_else(unreadable)?,
        };
        if prefix == 0 {
            return Err(format!("{text:?} trusts everybody; name the network of the proxies"));
        }
        let network = first_bits(address, prefix);
        if network != address {
            return Err(format!(
                "{text:?} has bits beyond its prefix; write \"{network}/{prefix}\""
            ));
        }
        if address.to_canonical() != address {
            return Err(format!("{text:?} is an IPv4 address; write it as such"));
        }
        Ok(Self::Network { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_trusted_by_its_address() {
        let peer = |address: &str| Peer { address: address.parse().ok(), ..Peer::default() };
        #[rustfmt::skip]
        let cases = [
            ("127.0.0.1/32", "127.0.0.1",        true),
            ("127.0.0.1/32", "127.0.0.2",        false),
            ("10.0.0.0/8",   "10.255.0.7",       true),
            ("10.0.0.0/8",   "11.0.0.0",         false),
            ("10.0.0.0/8",   "::ffff:10.0.0.7",  true),
            ("192.0.2.7",    "192.0.2.7",        true),
            ("192.0.2.7",    "192.0.2.6",        false),
            ("128.0.0.0/1",  "200.0.0.1",        true),
            ("128.0.0.0/1",  "100.0.0.1",        false),
            ("fd00::/8",     "fd12::1",          true),
            ("fd00::/8",     "fe80::1",          false),
            ("fd00::/8",     "253.0.0.1",        false),
            ("::1",          "::1",              true),
            ("::1",          "127.0.0.1",        false),
            ("unix",         "127.0.0.1",        false),
            ("unix",         "a unix socket",    true),
            ("10.0.0.0/8",   "a unix socket",    false),
        ];
        for (proxy, from, expected) in cases {
            let proxies = [proxy.parse().expect(proxy)];
            assert_eq!(is_trusted(&proxies, &peer(from)), expected, "{proxy} {from}");
        }
        assert!(!is_trusted(&[], &peer("127.0.0.1")), "nobody is, unless named");
    }

    #[test]
    fn what_is_no_peer_is_refused_with_what_to_write() {
        #[rustfmt::skip]
        let cases = [
            ("",                  "is no peer"),
            ("localhost",         "is no peer"),
            ("10.0.0.0/33",       "is no peer"),
            ("fd00::/129",        "is no peer"),
            ("10.0.0.0/",         "is no peer"),
            ("10.0.0.0/+8",       "is no peer"),
            ("10.0.0.0/8/8",      "is no peer"),
            ("10.0.0.1:80",       "is no peer"),
            ("0.0.0.0/0",         "trusts everybody"),
            ("::/0",              "trusts everybody"),
            ("10.0.0.1/8",        "write \"10.0.0.0/8\""),
            ("fd00::1/8",         "write \"fd00::/8\""),
            ("::ffff:10.0.0.1",   "write it as such"),
        ];
        for (text, said) in cases {
            let error = TrustedProxy::from_str(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn every_header_of_a_proxy_gives_it_away() {
        for name in ["forwarded", "via", "x-forwarded-for", "x-forwarded-uri", "x-forwarded-x"] {
            let name = http::HeaderName::from_static(name);
            assert!(was_forwarded(&HeaderMap::from_iter([(name, "x".parse().unwrap())])));
        }
        let plain = HeaderMap::from_iter([(http::header::HOST, "localhost".parse().unwrap())]);
        assert!(!was_forwarded(&plain));
    }
}
