//! Which `Host` a listener answers to: a page that rebinds its name to this machine is refused.

use std::net::IpAddr;

use http::{HeaderMap, Uri};

/// Loopback addresses, `localhost`, the listen address and what was configured.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    listen: Vec<IpAddr>,
    further: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(listen: &[IpAddr], further: &[String]) -> Self {
        Self { listen: listen.to_vec(), further: further.to_vec() }
    }

    /// Whether a request with these headers, or this absolute target, is meant for us.
    pub(crate) fn allow(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut named = headers.get_all(http::header::HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else { return false };
        let Ok(host) = host.to_str() else { return false };
        self.is_ours(host)
            && uri.authority().is_none_or(|authority| self.is_ours(authority.as_str()))
    }

    /// Whether this value of `Host` names us.
    pub(crate) fn is_ours(&self, host: &str) -> bool {
        let (name, port) = split_port(host);
        if !port.is_none_or(is_port) {
            return false;
        }
        let is = |further: &String| {
            further.eq_ignore_ascii_case(host) || further.eq_ignore_ascii_case(name)
        };
        if self.further.iter().any(is) {
            return true;
        }
        // An IPv6 address stands in brackets, and nothing else does (RFC 3986 §3.2.2).
        let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bracketed {
            Some(bare) => bare.parse().map(IpAddr::V6),
            None => name.parse().map(IpAddr::V4),
        };
        match address {
            Ok(address) => address.is_loopback() || self.listen.contains(&address),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Digits alone: a sign is none of a port (RFC 3986 §3.2.3).
fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Splits `name:port`; a bare IPv6 address in brackets has colons of its own.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_what_was_configured() {
        let hosts = Hosts::new(&[[192, 0, 2, 7].into()], &["gw.test".to_owned()]);
        #[rustfmt::skip]
        let cases = [
            ("127.0.0.1",            true),
            ("127.0.0.1:8484",       true),
            ("127.9.9.9:1",          true),
            ("[::1]:8484",           true),
            ("[::1]",                true),
            ("localhost",            true),
            ("LOCALHOST:8484",       true),
            ("192.0.2.7:8484",       true),
            ("gw.test",              true),
            ("gw.test:443",          true),
            ("evil.test",            false),
            ("evil.test:8484",       false),
            ("localhost.evil.test",  false),
            ("127.0.0.1.evil.test",  false),
            ("192.0.2.8",            false),
            ("localhost:port",       false),
            ("localhost:+80",        false),
            ("localhost:",           false),
            ("gw.test:evil",         false),
            ("[127.0.0.1]",          false),
            ("127.0.0.1]",           false),
            ("[[::1]]",              false),
            ("::1",                  false),
            ("",                     false),
        ];
        for (host, expected) in cases {
            let headers = HeaderMap::from_iter([(http::header::HOST, host.parse().unwrap())]);
            assert_eq!(hosts.allow(&headers, &Uri::from_static("/")), expected, "{host}");
        }
        assert!(!hosts.allow(&HeaderMap::new(), &Uri::from_static("/")), "no Host");
        let headers = HeaderMap::from_iter([(http::header::HOST, "localhost".parse().unwrap())]);
        assert!(!hosts.allow(&headers, &Uri::from_static("http://evil.test/")), "absolute target");
    }
}
