//! Where each agent's sample is found.

use std::sync::Arc;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// What in a template stands for the agent.
const PLACEHOLDER: &str = "{agent}";
/// RFC 3986 §2.3: what may stand in a path segment as it is.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The template with an agent's name for `{agent}`.
pub fn with_agent(template: &str, name: &str) -> String {
    template.replace(PLACEHOLDER, &encoded(name))
}

/// A name as it stands in an address.
pub(crate) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

/// The address of a path below a base.
///
/// # Errors
/// When it cannot be written as a URI.
pub fn address(base: &Url, path: &str) -> Result<Uri, BadTarget> {
    let base = base.as_str().trim_end_matches('/');
    let whole = format!("{base}/{}", path.trim_start_matches('/'));
    whole.parse().map_err(|_| BadTarget::NoAddress(whole))
}

/// One address for each agent. Clones share them.
#[derive(Clone, Debug)]
pub struct Resource {
    targets: Arc<[Uri]>,
}

/// A template or an agent that gives no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// No agents.
    #[error("there are no agents to poll")]
    NoAgents,
    /// The template does not say where the agent goes.
    #[error("{0:?} has no {1} in it")]
    NoPlaceholder(String, &'static str),
    /// The address cannot be written as a URI.
    #[error("{0:?} is no address")]
    NoAddress(String),
}

impl Resource {
    /// The path `template` below `base`, with each agent's name for `{agent}`.
    ///
    /// # Errors
    /// When that gives no address.
    pub fn new<A: AsRef<str>>(
        base: &Url,
        template: &str,
        agents: impl IntoIterator<Item = A>,
    ) -> Result<Self, BadTarget> {
        if !template.contains(PLACEHOLDER) {
            return Err(BadTarget::NoPlaceholder(template.to_owned(), PLACEHOLDER));
        }
        let target = |agent: A| address(base, &with_agent(template, agent.as_ref()));
        let targets: Arc<[Uri]> = agents.into_iter().map(target).collect::<Result<_, _>>()?;
        if targets.is_empty() { Err(BadTarget::NoAgents) } else { Ok(Self { targets }) }
    }

    /// How many agents there are.
    pub fn agents(&self) -> usize {
        self.targets.len()
    }

    /// Where this agent's sample is found; numbers past the last start over.
    pub(crate) fn target(&self, agent: u32) -> Uri {
        let index = usize::try_from(agent).unwrap_or(usize::MAX) % self.targets.len();
        self.targets[index].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_s_name_takes_its_place_and_no_other() {
        #[rustfmt::skip]
        let cases = [
            // base,                  template,             agent,   address
            ("http://a.test",         "/v2/{agent}/status", "7",     "http://a.test/v2/7/status"),
            ("http://a.test/base/",   "v2/{agent}",         "a b/c", "http://a.test/base/v2/a%20b%2Fc"),
            ("https://a.test:8443",   "/x?id={agent}",      "é&y=1", "https://a.test:8443/x?id=%C3%A9%26y%3D1"),
        ];
        for (base, template, agent, address) in cases {
            let resource = Resource::new(&base.parse().unwrap(), template, [agent]).unwrap();
            assert_eq!(resource.target(0).to_string(), address);
        }
    }

    #[test]
    fn what_gives_no_address_is_refused() {
        let base: Url = "http://a.test".parse().unwrap();
        let none = Resource::new(&base, "/{agent}", Vec::<String>::new()).unwrap_err();
        assert_eq!(none, BadTarget::NoAgents);
        let fixed = Resource::new(&base, "/agent", ["7"]).unwrap_err();
        assert_eq!(fixed, BadTarget::NoPlaceholder("/agent".into(), "{agent}"));
        assert!(Resource::new(&base, "/a b/{agent}", ["7"]).is_err());
    }
}
