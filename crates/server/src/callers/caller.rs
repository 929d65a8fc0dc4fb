//! One configured caller: what it may use, and where it must come from.

use std::collections::HashMap;

use bellwether_broker::Handle;
use http::Method;

use super::offered::Offered;
use super::peer::Peer;
use crate::refusal::Refusal;
use crate::settings::CallerSettings;

/// A configured caller.
#[derive(Debug)]
pub(crate) struct Caller {
    name: String,
    credentials: HashMap<String, Offered>,
    /// `None` allows every path.
    paths: Option<Vec<Path>>,
    /// `None` allows every method.
    methods: Option<Vec<Method>>,
    user: Option<u32>,
    /// DNS names in lower case; URIs as they are.
    certificates: Vec<String>,
}

/// A path of the API, in whole segments.
#[derive(Debug)]
enum Path {
    This(String),
    /// Ends with a slash.
    Below(String),
}

impl Caller {
    /// Bound to those of the credentials that are there.
    pub(crate) fn new(settings: &CallerSettings, offered: &HashMap<String, Offered>) -> Self {
        let credentials = settings.credentials.iter();
        let credentials = credentials
            .filter_map(|name| offered.get_key_value(name))
            .map(|(name, offered)| (name.clone(), offered.clone()))
            .collect();
        Self {
            name: settings.name.clone(),
            credentials,
            paths: settings.paths.as_ref().map(|paths| paths.iter().map(Path::read).collect()),
            methods: settings.methods.clone(),
            user: settings.user,
            certificates: settings.certificates.iter().map(|name| comparable(name)).collect(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The credential it names, or the only one it may use.
    pub(crate) fn credential(&self, name: Option<&str>) -> Result<&Offered, Refusal> {
        match name {
            Some(name) => self.credentials.get(name).ok_or_else(Refusal::not_found),
            None => {
                let mut all = self.credentials.values();
                match (all.next(), all.next()) {
                    (Some(only), None) => Ok(only),
                    (None, _) => Err(Refusal::not_found()),
                    (Some(_), Some(_)) => Err(Refusal::invalid_request(
                        "name one of your credentials: header Bellwether-Credential, or CALLER/NAME as client id",
                    )),
                }
            }
        }
    }

    /// Whether it may use this credential.
    pub(crate) fn may_use(&self, handle: &Handle) -> bool {
        self.credentials.contains_key(handle.settings().name())
    }

    /// Whether it may send such a request to the API. `path` is the API's own.
    pub(crate) fn may_send(&self, method: &Method, path: &str) -> bool {
        let allowed = |allowed: &Vec<Method>| {
            // HEAD tells no more than GET (RFC 9110 §9.3.2).
            allowed.contains(method) || (*method == Method::HEAD && allowed.contains(&Method::GET))
        };
        self.methods.as_ref().is_none_or(allowed)
            && self.paths.as_ref().is_none_or(|paths| paths.iter().any(|own| own.holds(path)))
    }

    /// Whether its peer, its paths or its methods are limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.has_peer() || self.paths.is_some() || self.methods.is_some()
    }

    /// Whether it must come from a certain peer.
    pub(crate) fn has_peer(&self) -> bool {
        self.user.is_some() || !self.certificates.is_empty()
    }

    /// Whether this peer is where it must come from.
    pub(crate) fn is_at(&self, peer: &Peer) -> bool {
        let named = |name: &String| self.certificates.contains(&comparable(name));
        !self.has_peer()
            || (self.user.is_some() && self.user == peer.user)
            || peer.certificate.iter().flat_map(|certificate| &certificate.names).any(named)
    }
}

impl Path {
    fn read(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        match text.strip_suffix("/*") {
            Some(above) => Self::Below(format!("{above}/")),
            None => Self::This(text.to_owned()),
        }
    }

    fn holds(&self, path: &str) -> bool {
        match self {
            Self::This(own) => own == path,
            Self::Below(above) => path.strip_prefix(above.as_str()).is_some_and(stays_below),
        }
    }
}

/// Whether no server behind could read its way up out of this: decoded twice, or with parameters cut
/// off a segment.
fn stays_below(rest: &str) -> bool {
    if !rest.contains(['%', ';']) {
        return true;
    }
    let mut plain = rest.to_ascii_lowercase();
    while plain.contains("%25") {
        plain = plain.replace("%25", "%");
    }
    let plain = plain.replace("%2e", ".").replace("%3b", ";");
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    !plain.contains("%2f") && !plain.contains("%5c") && !plain.split('/').any(dots)
}

/// Host names have no case; URIs and mailboxes do.
fn comparable(name: &str) -> String {
    if name.contains([':', '@']) { name.to_owned() } else { name.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::Certificate;

    fn caller(change: impl FnOnce(&mut CallerSettings)) -> Caller {
        let mut settings = CallerSettings { name: "one".to_owned(), ..CallerSettings::default() };
        change(&mut settings);
        Caller::new(&settings, &HashMap::new())
    }

    #[test]
    fn paths_are_whole_segments() {
        let caller = caller(|settings| {
            let paths = ["/api/v2/users", "/api/v2/analytics/*"];
            settings.paths = Some(paths.map(str::to_owned).into());
        });
        #[rustfmt::skip]
        let cases = [
            ("/api/v2/users",                       true),
            ("/api/v2/analytics/queues",            true),
            ("/api/v2/analytics/queues/7",          true),
            ("/api/v2/analytics/",                  true),
            ("/api/v2/analytics/a%20b;v=1",         true),
            ("/api/v2/users/",                      false),
            ("/api/v2/users/7",                     false),
            ("/api/v2/usersx",                      false),
            ("/api/v2/user",                        false),
            ("/API/v2/users",                       false),
            ("/api/v2/%75sers",                     false),
            ("//api/v2/users",                      false),
            ("/api/v2/analytics",                   false),
            ("/api/v2/analyticsx/queues",           false),
            ("/api/v2/analytics/..;/users",         false),
            ("/api/v2/analytics/.;x=1/users",       false),
            ("/api/v2/analytics/..%3b/users",       false),
            ("/api/v2/analytics/%252e%252e/users",  false),
            ("/api/v2/analytics/%25252e./users",    false),
            ("/api/v2/analytics/..%252fusers",      false),
            ("/api/v2/analytics/..%255cusers",      false),
            ("",                                    false),
            ("/",                                   false),
        ];
        for (path, expected) in cases {
            assert_eq!(caller.may_send(&Method::GET, path), expected, "{path}");
        }
    }

    #[test]
    fn methods() {
        let reads = caller(|settings| settings.methods = Some(vec![Method::GET]));
        let all = caller(|_| {});
        for (method, expected) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::POST, false),
            (Method::OPTIONS, false),
            (Method::DELETE, false),
        ] {
            assert_eq!(reads.may_send(&method, "/x"), expected, "{method}");
            assert!(all.may_send(&method, "/x"));
        }
    }

    #[test]
    fn a_peer_is_a_user_or_a_certificate() {
        let user = |user| Peer { user: Some(user), ..Peer::default() };
        let certificate = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Peer { certificate: Some(Certificate { names }), ..Peer::default() }
        };
        let spiffe = "spiffe://example.com/Poller";
        let both = caller(|settings| {
            settings.user = Some(1000);
            settings.certificates = vec![spiffe.to_owned(), "Poller.example.com".to_owned()];
        });
        #[rustfmt::skip]
        let cases = [
            (user(1000),                                   true),
            (certificate(&[spiffe]),                       true),
            (certificate(&["x.test", "poller.EXAMPLE.com"]), true),
            (user(0),                                      false),
            (user(1001),                                   false),
            (certificate(&[]),                             false),
            (certificate(&["spiffe://example.com/poller"]), false),
            (certificate(&["example.com"]),                false),
            (certificate(&["*.example.com"]),              false),
            (Peer::default(),                              false),
        ];
        for (peer, expected) in cases {
            assert_eq!(both.is_at(&peer), expected, "{peer:?}");
        }
        assert!(caller(|_| {}).is_at(&Peer::default()), "without one, anywhere");
        let only = caller(|settings| settings.certificates = vec![spiffe.to_owned()]);
        assert!(!only.is_at(&Peer::default()), "no user is not any user");
    }
}
