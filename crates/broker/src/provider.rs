//! What is known beforehand about a vendor's authorization server and resource server.
//!
//! A [`Provider`] is plain data: where tokens are requested, what a spent refresh token brings,
//! how many API requests one token allows. A configuration names one and may overrule each of its
//! facts. A vendor with regions derives its hosts from one of them; a vendor whose hosts are a
//! customer's own gives none, and the configuration must.

mod budget;
mod presets;
mod rotation;

use std::fmt;
use std::time::Duration;

pub use budget::Budget;
pub use rotation::{Rotation, UnknownRotation};

/// A vendor's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The name it has in a configuration.
    pub name: &'static str,
    /// Where it runs, if the hosts depend on that; else empty.
    pub regions: &'static [Region],
    /// The token endpoint, if there is one for all.
    pub token_endpoint: Option<&'static str>,
    /// Where a person authorizes a client, if that is the same for all (RFC 6749 §3.1).
    pub authorization_endpoint: Option<&'static str>,
    /// The path of that, beside the token path, where the hosts depend on the region.
    pub authorization_path: Option<&'static str>,
    /// The path under which its SDKs request tokens; `None` when it differs between customers.
    pub token_path: Option<&'static str>,
    /// The resource server, if there is one for all.
    pub resource_server: Option<&'static str>,
    /// What the paths of its API begin with; `None` when any path may be its API's.
    pub api_prefix: Option<&'static str>,
    /// What one access token may ask of the resource server.
    pub api_budget: Option<Budget>,
    /// What a spent refresh token brings.
    pub rotation: Rotation,
    /// For how long a spent refresh token is taken again, counted from its first use.
    pub rotation_window: Option<Duration>,
    /// The path at the resource server that tells whether an access token is still good.
    pub verify: Option<&'static str>,
    /// With which status its SDKs must be told of a refused client or grant.
    pub refusals: Refusals,
    /// Whether the client secret goes into the body (`client_secret_post`) and not the header.
    pub secret_in_body: bool,
}

/// One of the places a vendor runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The cloud's name for it.
    pub name: &'static str,
    /// The domain of its hosts.
    pub domain: &'static str,
}

/// The status of a refusal (RFC 6749 §5.2) on its way to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusals {
    /// The authorization server's own.
    AsReceived,
    /// 400, whatever was received.
    AlwaysBadRequest,
}

/// Where a provider's servers are, as far as it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// RFC 6749 §3.2.
    pub token_endpoint: Option<String>,
    /// RFC 6749 §3.1.
    pub authorization_endpoint: Option<String>,
    /// The base of the API's addresses, without a path.
    pub resource_server: Option<String>,
}

impl Provider {
    /// Every preset.
    pub fn all() -> &'static [Self] {
        presets::ALL
    }

    /// The preset of this name. The error lists the names there are.
    pub fn named(name: &str) -> Result<&'static Self, ProviderError> {
        let known = Self::all().iter().find(|provider| provider.name == name);
        known.ok_or_else(|| ProviderError::UnknownProvider { name: name.to_owned() })
    }

    /// Where the servers are. A region is named by the cloud (`ap-southeast-2`) or by its domain
    /// (`mypurecloud.com.au`), as the SDKs do.
    ///
    /// Fails when the region is unknown, missing, or one too many.
    pub fn endpoints(&self, region: Option<&str>) -> Result<Endpoints, ProviderError> {
        let Some(name) = region else {
            return if self.regions.is_empty() {
                Ok(self.endpoints_for_all())
            } else {
                Err(ProviderError::MissingRegion { provider: self.name, regions: self.regions })
            };
        };
        if self.regions.is_empty() {
            return Err(ProviderError::NoRegions { provider: self.name });
        }
        let named = |region: &&Region| region.name == name || region.domain == name;
        match self.regions.iter().find(named) {
            Some(region) => Ok(self.endpoints_in(region)),
            None => Err(ProviderError::UnknownRegion {
                provider: self.name,
                regions: self.regions,
                name: name.to_owned(),
            }),
        }
    }

    fn endpoints_for_all(&self) -> Endpoints {
        Endpoints {
            token_endpoint: self.token_endpoint.map(str::to_owned),
            authorization_endpoint: self.authorization_endpoint.map(str::to_owned),
            resource_server: self.resource_server.map(str::to_owned),
        }
    }

    fn endpoints_in(&self, Region { domain, .. }: &Region) -> Endpoints {
        let login = |path| format!("https://login.{domain}{path}");
        Endpoints {
            token_endpoint: self.token_path.map(login),
            authorization_endpoint: self.authorization_path.map(login),
            resource_server: Some(format!("https://api.{domain}")),
        }
    }
}

/// Why a name leads to no provider or to no region of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderError {
    /// No preset has this name.
    UnknownProvider {
        /// What was asked for.
        name: String,
    },
    /// The provider does not run there.
    UnknownRegion {
        /// The provider's name.
        provider: &'static str,
        /// Where it runs.
        regions: &'static [Region],
        /// What was asked for.
        name: String,
    },
    /// The hosts depend on the region and none was named.
    MissingRegion {
        /// The provider's name.
        provider: &'static str,
        /// Where it runs.
        regions: &'static [Region],
    },
    /// A region was named and the hosts do not depend on one.
    NoRegions {
        /// The provider's name.
        provider: &'static str,
    },
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownProvider { name } => {
                let names = closest_first(name, Provider::all().iter().map(|known| known.name));
                write!(
                    f,
                    "no provider is called {name:?}; choose {}, or name a token_endpoint instead",
                    names.join(", ")
                )
            }
            Self::UnknownRegion { provider, regions, name } => {
                let names = closest_first(name, regions.iter().map(|region| region.name));
                write!(f, "{provider} has no region {name:?}; choose {}", names.join(", "))
            }
            Self::MissingRegion { provider, regions } => {
                let names: Vec<_> = regions.iter().map(|region| region.name).collect();
                write!(f, "{provider} needs a region; choose {}", names.join(", "))
            }
            Self::NoRegions { provider } => {
                write!(f, "{provider} has no regions; remove the region")
            }
        }
    }
}

impl std::error::Error for ProviderError {}

/// The known names, those likest to `wanted` first.
fn closest_first<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_ascii_lowercase();
    let mut names: Vec<_> = known.into_iter().collect();
    names.sort_by_key(|name| strsim::osa_distance(&wanted, name));
    names
}

#[cfg(test)]
mod tests;
