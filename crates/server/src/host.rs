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
        let is = |further: &String| {
            further.eq_ignore_ascii_case(host) || further.eq_ignore_ascii_case(name)
        };
        if self.further.iter().any(is) {
            return true;
        }
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return false;
        }
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || self.listen.contains(&address),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }
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
