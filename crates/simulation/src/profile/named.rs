//! Profiles by name, for scenarios and the command line.

use super::Profile;

/// A profile that has a name.
#[derive(Clone, Copy, Debug)]
pub struct NamedProfile {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    build: fn() -> Profile,
}

impl NamedProfile {
    /// Every one, in the order in which they are listed to people.
    pub const ALL: &[Self] = &[
        Self {
            name: "genesys",
            about: "Genesys Cloud: 50 live tokens, 300 requests per token and minute",
            build: Profile::genesys,
        },
        Self {
            name: "as-reported",
            about: "the report: 47 live tokens, 401 in a storm, clustered at the minute",
            build: Profile::as_reported,
        },
        Self {
            name: "salesforce",
            about: "Salesforce: a sixth session ends the oldest, single-use rotation",
            build: Profile::salesforce,
        },
        Self {
            name: "xero",
            about: "Xero: tokens live 30 min, a spent refresh token is good for 30 min more",
            build: Profile::xero,
        },
        Self {
            name: "quickbooks",
            about: "QuickBooks: tokens live an hour, refresh tokens change and roll for 100 days",
            build: Profile::quickbooks,
        },
        Self {
            name: "hubspot",
            about: "HubSpot: tokens live 30 min, refresh tokens stay, 10 logins in 10 s",
            build: Profile::hubspot,
        },
        Self {
            name: "okta",
            about: "Okta: rotation with 30 s of leeway, reuse ends the family, 429 at login",
            build: Profile::okta,
        },
        Self {
            name: "auth0",
            about: "Auth0: single-use rotation, reuse ends the family, a throttle in disguise",
            build: Profile::auth0,
        },
        Self {
            name: "entra",
            about: "Entra: old refresh tokens stay good, 429 in plain text at login",
            build: Profile::entra,
        },
        Self {
            name: "demo",
            about: "the organisation of `bellwether demo`: tokens live 15 s",
            build: Profile::demo,
        },
        Self { name: "plain", about: "no limits, no cap, no latency", build: Profile::plain },
    ];

    /// The profile of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|profile| profile.name == name)
    }

    /// Its knobs.
    pub fn profile(self) -> Profile {
        (self.build)()
    }
}
