//! Hosts, forms of the target (RFC 9112 §3.2), and paths that are not what they look like.

use super::{HOST_AND_KEY, case, once};
use crate::case::{Case, Expected, Seen};

pub(super) fn hosts() -> Vec<Case> {
    const FAMILY: &str = "Host";
    let mut cases = Vec::new();
    let with =
        |hosts: &str| format!("GET /in HTTP/1.1\r\n{hosts}Authorization: Bearer {{KEY}}\r\n\r\n");
    let seen = || once(Seen::get("/in"));
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost:1",
        "127.0.0.1",
        "127.0.0.1:65535",
        "[::1]",
        "[::1]:80",
        "127.8.9.1",
    ] {
        cases.push(case(FAMILY, host, with(&format!("Host: {host}\r\n")), seen()));
    }
    for host in [
        "",
        "evil.test",
        "evil.test:80",
        "localhost.",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "evil.test#localhost",
        "evil.test/localhost",
        "evil.test?localhost",
        "evil.test\\localhost",
        "localhost/",
        "localhost#",
        "localhost?",
        "localhost\\",
        "a@localhost",
        "localhost@evil.test",
        "localhost:80@evil.test",
        "localhost, evil.test",
        "localhost,localhost",
        "localhost evil.test",
        "localhost:",
        "localhost:x",
        "localhost:-1",
        "localhost:+80",
        "localhost:65536",
        "localhost:80:80",
        "localhost:0x50",
        "localhost:８０",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.01",
        "0.0.0.0",
        "[::]",
        "::1",
        "[::1",
        "::1]",
        "[[::1]]",
        "[127.0.0.1]",
        "127.0.0.1]",
        "[127.0.0.1",
        "[localhost]",
        "[::1%lo]",
        "[::1%25lo]",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:0:0:1].evil.test",
        "[::1].evil.test",
        "[v1.x]",
        "ｌocalhost",
        "xn--localhost-",
        "localhost\u{a0}",
        "lo%63alhost",
        "localhost%00",
        "*",
        "/",
        "http://localhost",
        "localhost:80 ",
        "[::1]:+80",
        "[::1]x",
        "%6c",
    ] {
        // White space around a value is no part of it.
        let expected = if host == "localhost:80 " { seen() } else { Expected::Refused };
        cases.push(case(FAMILY, format!("{host:?}"), with(&format!("Host: {host}\r\n")), expected));
    }
    for (name, lines) in [
        ("none", ""),
        ("twice the same", "Host: localhost\r\nHost: localhost\r\n"),
        ("ours and a foreign one", "Host: localhost\r\nHost: evil.test\r\n"),
        ("a foreign one and ours", "Host: evil.test\r\nHost: localhost\r\n"),
        ("ours and nothing", "Host: localhost\r\nHost:\r\n"),
        ("folded", "Host:\r\n localhost\r\n"),
        ("a space before the colon", "Host : localhost\r\n"),
        ("a space before it", " Host: localhost\r\n"),
    ] {
        cases.push(case(FAMILY, name, with(lines), Expected::Refused));
    }
    let aliased = with("Host: localhost\r\nX-Forwarded-Host: evil.test\r\n");
    cases.push(case(FAMILY, "and a forwarded one", aliased, seen()));
    cases
}

fn request(method: &str, target: &str, host: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {{KEY}}\r\n\r\n")
}

pub(super) fn forms() -> Vec<Case> {
    const FAMILY: &str = "form of the target";
    let mut cases = Vec::new();
    for (target, arrives) in [
        ("http://localhost/in", "/in"),
        ("http://localhost:8484/in?x=y", "/in?x=y"),
        ("HTTP://LOCALHOST/in", "/in"),
        ("http://localhost", "/"),
        ("http://localhost?x", "/?x"),
        ("http://127.0.0.1/in", "/in"),
        ("http://[::1]:80/in", "/in"),
        ("https://localhost/in", "/in"),
        ("ftp://localhost/in", "/in"),
    ] {
        let either = Expected::Either(Seen::get(arrives));
        cases.push(case(FAMILY, target, request("GET", target, "localhost"), either));
    }
    for target in [
        "http://evil.test/in",
        "http://evil.test",
        "http://localhost@evil.test/in",
        "http://evil.test@localhost/in",
        "http://a:b@localhost/in",
        "http://localhost:80@evil.test/in",
        "http://evil.test:80#@localhost/in",
        "http://evil.test\\@localhost/in",
        "http://localhost\\@evil.test/in",
        "http:///in",
        "http:/in",
        "http:in",
        "http://",
        "http://localhost:99999/in",
        "http://localhost:x/in",
        "http://localhost./in",
        "http://[::1%25lo]/in",
        "http://[::1/in",
        "http://loc%61lhost/in",
        "http://127.1/in",
        "http://2130706433/in",
        "http://ｌocalhost/in",
        "http://localhost evil/in",
        "localhost:80",
        "localhost",
        "evil.test:80",
        "*",
        "in",
        "?x",
        "#x",
        "\\in",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "//",
        "http://localhost:80:80/in",
    ] {
        let expected =
            if target == "//" { Expected::Either(Seen::get("//")) } else { Expected::Refused };
        cases.push(case(
            FAMILY,
            format!("{target:?}"),
            request("GET", target, "localhost"),
            expected,
        ));
    }
    let foreign = request("GET", "http://localhost/in", "evil.test");
    cases.push(case(FAMILY, "ours, and a foreign Host", foreign, Expected::Refused));
    let none = "GET http://localhost/in HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\r\n";
    cases.push(case(FAMILY, "ours, and no Host", none, Expected::Refused));
    for (method, target) in [
        ("OPTIONS", "*"),
        ("CONNECT", "localhost:80"),
        ("CONNECT", "evil.test:443"),
        ("CONNECT", "/in"),
        ("CONNECT", "http://localhost/"),
        ("POST", "*"),
        ("TRACE", "*"),
    ] {
        let bytes = request(method, target, "localhost");
        cases.push(case(FAMILY, format!("{method} {target}"), bytes, Expected::Refused));
    }
    cases
}

pub(super) fn paths() -> Vec<Case> {
    const FAMILY: &str = "path";
    let mut cases = Vec::new();
    for path in [
        "/..",
        "/.",
        "/../",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/%2e%2e/x",
        "/%2E%2E/x",
        "/.%2e/x",
        "/%2e./x",
        "/a/%2e/x",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a%5Cb",
        "/a\\b",
        "/\\evil.test/x",
        "\\\\evil.test\\x",
        "/a%00b",
        "/%00",
        "/a/..;/b",
        "/a/..;x=y/b",
        "/a/.;/b",
        "/a/%2e%2e;/b",
        "/a/..%3b/b",
        "//evil.test/../x",
        "/a/..%00/b",
        "/a/..%5c..%5cb",
    ] {
        let bytes = request("GET", path, "localhost");
        cases.push(case(FAMILY, path, bytes, Expected::Refused));
    }
    for path in [
        "/",
        "//evil.test/x",
        "///x",
        "/x//y",
        "/@evil.test",
        "/x@y:z",
        "/;x",
        "/x;y=z/w",
        "/a..b/c...",
        "/...",
        "/:80",
        "/http://evil.test/x",
        "/x?y=../..",
        "/x?y=%2f..%2f",
        "/x?",
        "/x??y",
        "/x?y=http://evil.test/",
        "/x?y=%0d%0aX:%20z",
        "/x%20y",
        "/x+y",
        "/%0d%0aX-Injected:%20y",
        "/%0aX",
        "/x%09y",
        "/%252e%252e/x",
        "/%c0%ae%c0%ae/x",
        "/%c0%af",
        "/%e0%80%af",
        "/%u002e",
        "/%",
        "/%2",
        "/%zz",
        "/x%",
        "/%fc",
        "/%f0%9f%90%91",
        "/~x",
        "/x|y",
        "/x^y",
        "/{x}",
        "/x`y",
        "/x'y",
        "/x*",
        "/x!$&(),=",
        "/.well-known/x",
        "/x.",
        "/%7e",
    ] {
        // Whatever it means to the API: it arrives as it was written, or not at all.
        let either = Expected::Either(Seen::get(path));
        cases.push(case(FAMILY, path, request("GET", path, "localhost"), either));
    }
    for path in ["/a b", "/a  b", "/a\tb", "/a\u{b}b", "/é", "/\u{202e}x", "/a\"b", "/<x>"] {
        let either = Expected::Either(Seen::get(path));
        let refused = path.contains([' ', '\t', '\u{b}']) || !path.is_ascii();
        let expected = if refused { Expected::Refused } else { either };
        cases.push(case(FAMILY, format!("{path:?}"), request("GET", path, "localhost"), expected));
    }
    // A fragment is never part of a request; it is dropped, or the request refused.
    for path in ["/x#y", "/x#/../z", "/x?y#z"] {
        let (before, _) = path.split_once('#').unwrap_or((path, ""));
        let either = Expected::Either(Seen::get(before));
        cases.push(case(FAMILY, path, request("GET", path, "localhost"), either));
    }
    let injected = format!("GET /x\r\nX-Injected: y HTTP/1.1\r\n{HOST_AND_KEY}\r\n");
    cases.push(case(FAMILY, "a line end in the middle", injected, Expected::Refused));
    let two = format!("GET /x HTTP/1.1 HTTP/1.1\r\n{HOST_AND_KEY}\r\n");
    cases.push(case(FAMILY, "two versions", two, Expected::Refused));
    cases
}
