//! Where something is: endpoints, listen addresses, host names and paths.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use url::{Host, Url};

/// An address that cannot be used, and whether it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InvalidUrl {
    pub(super) message: String,
    pub(super) secret: bool,
}

/// Reads the URL of a server: `https`, or `http` to this machine, and nothing in it that is not
/// needed to find the server.
pub(super) fn parse_url(text: &str) -> Result<Url, InvalidUrl> {
    let secret = text.contains(['@', '?', '#']);
    let refuse = |message: &str| Err(InvalidUrl { message: message.to_owned(), secret });
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.starts_with('/')) else {
        return refuse("must be a whole URL that begins with https:// and a host");
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return refuse(
            "has a space or another character that no URL has; write it percent-encoded",
        );
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return refuse(
            "must not hold a user or password; a client has client_id and client_secret",
        );
    }
    let Ok(url) = Url::parse(text) else {
        return refuse("is no URL; write it as in https://login.example.com/oauth/token");
    };
    if url.query().is_some() {
        return refuse("must not have a query (?…); remove it");
    }
    if url.fragment().is_some() {
        return refuse("must not have a fragment (#…); remove it");
    }
    if url.port() == Some(0) {
        return refuse("names port 0, where nobody listens; write the port of the server");
    }
    if url.scheme() == "http" && !is_this_machine(&url) {
        return refuse(
            "sends secrets in the clear; write https (http is for localhost and loopback \
             addresses alone)",
        );
    }
    Ok(url)
}

/// An endpoint given as a flag.
///
/// # Errors
/// What is wrong with it, without showing it where it may hold a secret.
pub fn parse_endpoint(text: &str) -> Result<Url, String> {
    parse_url(text).map_err(|invalid| invalid.message)
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Reads `ADDRESS:PORT`; `localhost` is 127.0.0.1, port 0 picks one.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Some(Ok(port)) = text.strip_prefix("localhost:").map(str::parse) {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| {
        format!(
            "{text:?} is no address to listen at; write an IP address and a port, as in \
             \"127.0.0.1:8484\" or \"[::1]:8484\""
        )
    })
}

/// Reads a name that callers may use for this machine in `Host`, perhaps with a port. Lower case
/// comes back, since host names know no case.
pub(super) fn parse_host(text: &str) -> Result<String, String> {
    let refuse = || {
        format!(
            "{text:?} is no host; write a name or address as callers write it, perhaps with a \
             port, as in \"broker.example.com\" or \"10.0.0.5:8484\""
        )
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_is_good = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0)
    });
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let name_is_good = !host.is_empty() && host.bytes().all(allowed);
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let literal_is_good = literal.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    if port_is_good && (name_is_good || literal_is_good) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(refuse())
    }
}

/// Reads the prefix of paths at the gateway: empty, or like `/login`.
pub(super) fn parse_prefix(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    let segment = |segment: &str| {
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(allowed)
    };
    let good =
        text.is_empty() || text.strip_prefix('/').is_some_and(|path| path.split('/').all(segment));
    if !good {
        return Err(format!(
            "{text:?} is no prefix of paths; write it as in \"/login\", with a slash at the \
             beginning and none at the end"
        ));
    }
    if text == "/bellwether" || text.starts_with("/bellwether/") {
        return Err("paths under /bellwether are taken; choose another prefix".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a path at the resource server, perhaps with a query.
pub(super) fn parse_path(text: &str) -> Result<String, String> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#".contains(&byte));
    let path = text.split('?').next().unwrap_or_default();
    let climbs = path.split('/').any(|segment| segment == "." || segment == "..");
    if visible && text.starts_with('/') && !text.starts_with("//") && !climbs {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is no path at the resource server; write it as in \"/api/v2/tokens/me\""
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_for_this_machine_alone() {
        #[rustfmt::skip]
        let cases = [
            ("https://login.example.com/oauth/token", true),
            ("http://127.0.0.1:9999/oauth/token",     true),
            ("http://127.8.8.8/",                     true),
            ("http://[::1]:9999/",                    true),
            ("http://localhost/",                     true),
            ("http://localhost.example.com/",         false),
            ("http://app.localhost/",                 false),
            ("http://10.0.0.1/",                      false),
            ("http://0.0.0.0/",                       false),
            ("http://login.example.com/",             false),
            ("http://127.0.0.1@example.com/",         false),
            ("ftp://localhost/",                      false),
        ];
        for (text, good) in cases {
            assert_eq!(parse_url(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_url_holds_nothing_but_the_place() {
        for text in [
            "",
            "login.example.com",
            "https:login.example.com",
            "https:///login.example.com",
            "https://",
            "https://user:pass@example.com/",
            "https://@example.com/",
            "https://example.com/?a=b",
            "https://example.com/?",
            "https://example.com/#a",
            "https://example.com/a b",
            "https://example.com\\evil",
            "https://example.com:0/",
            "https://exämple.com/",
            " https://example.com/",
        ] {
            assert!(parse_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn listen_addresses() {
        for text in ["127.0.0.1:8484", "0.0.0.0:0", "[::1]:8484", "localhost:8484"] {
            assert!(parse_listen(text).is_ok(), "{text}");
        }
        for text in ["", "8484", ":8484", "127.0.0.1", "example.com:80", "127.0.0.1:99999", "::1:1"]
        {
            assert!(parse_listen(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn hosts() {
        for text in ["broker", "Broker.Example.com", "10.0.0.5:8484", "[::1]", "[fe80::1]:8484"] {
            assert_eq!(parse_host(text), Ok(text.to_ascii_lowercase()));
        }
        for text in
            ["", "http://broker", "broker/", "*", "a b", "broker:", "broker:0", "::1", "[x]"]
        {
            assert!(parse_host(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn prefixes_and_paths() {
        for text in ["", "/login", "/a/b.c"] {
            assert!(parse_prefix(text).is_ok(), "{text:?}");
        }
        for text in ["/", "login", "/login/", "//", "/..", "/a?b", "/%41", "/bellwether"] {
            assert!(parse_prefix(text).is_err(), "{text:?}");
        }
        for text in ["/", "/api/v2/tokens/me", "/me?fields=id"] {
            assert!(parse_path(text).is_ok(), "{text:?}");
        }
        for text in ["", "me", "//evil.example.com", "/a/../b", "/a b", "/a#b"] {
            assert!(parse_path(text).is_err(), "{text:?}");
        }
    }
}
