//! The vendors whose facts are known. What a customer of theirs can change is left to the
//! configuration, and where a vendor states nothing the careful value stands.

use std::time::Duration;

use super::{Budget, Provider, Refusals, Region, Rotation};

/// Every preset, in the order in which they are listed to people.
pub(super) const ALL: &[Provider] =
    &[GENESYS, SALESFORCE, XERO, QUICKBOOKS, HUBSPOT, OKTA, AUTH0, ENTRA];

/// What is so unless a vendor says otherwise.
const PLAIN: Provider = Provider {
    name: "",
    regions: &[],
    token_endpoint: None,
    authorization_endpoint: None,
    authorization_path: None,
    token_path: Some("/oauth/token"),
    resource_server: None,
    api_prefix: None,
    api_budget: None,
    rotation: Rotation::Strict,
    rotation_window: None,
    verify: None,
    refusals: Refusals::AsReceived,
    secret_in_body: false,
};

/// Limits requests by token; its Java SDK hangs when a token request is refused with 401.
const GENESYS: Provider = Provider {
    name: "genesys",
    regions: GENESYS_REGIONS,
    authorization_path: Some("/oauth/authorize"),
    api_prefix: Some("/api/"),
    api_budget: Some(Budget::per_seconds(300, 60)),
    verify: Some("/api/v2/tokens/me"),
    refusals: Refusals::AlwaysBadRequest,
    ..PLAIN
};

/// Rotation is optional for each app; with it the spent token dies at once.
const SALESFORCE: Provider =
    Provider { name: "salesforce", token_path: Some("/services/oauth2/token"), ..PLAIN };

/// A spent token may be tried again for 30 min if the answer was lost.
const XERO: Provider = Provider {
    name: "xero",
    token_endpoint: Some("https://identity.xero.com/connect/token"),
    authorization_endpoint: Some("https://login.xero.com/identity/connect/authorize"),
    token_path: Some("/connect/token"),
    resource_server: Some("https://api.xero.com"),
    rotation: Rotation::NewPair,
    rotation_window: Some(Duration::from_secs(30 * 60)),
    ..PLAIN
};

/// The value changes about once a day; how long the old one still works is not published.
const QUICKBOOKS: Provider = Provider {
    name: "quickbooks",
    token_endpoint: Some("https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer"),
    token_path: Some("/oauth2/v1/tokens/bearer"),
    resource_server: Some("https://quickbooks.api.intuit.com"),
    ..PLAIN
};

/// Takes parameters, the client secret among them, in the body alone.
const HUBSPOT: Provider = Provider {
    name: "hubspot",
    token_endpoint: Some("https://api.hubapi.com/oauth/2026-03/token"),
    token_path: Some("/oauth/2026-03/token"),
    resource_server: Some("https://api.hubapi.com"),
    rotation: Rotation::None,
    secret_in_body: true,
    ..PLAIN
};

/// Leeway of 30 s unless an administrator set another.
const OKTA: Provider = Provider {
    name: "okta",
    token_path: None,
    rotation: Rotation::NewPair,
    rotation_window: Some(Duration::from_secs(30)),
    ..PLAIN
};

/// The overlap is each tenant's own choice and is none until chosen.
const AUTH0: Provider = Provider { name: "auth0", ..PLAIN };

/// Issues a new refresh token with each use and does not revoke the old one. The shortest life of
/// a refresh token there, 24 h, is the window.
const ENTRA: Provider = Provider {
    name: "entra",
    token_path: None,
    rotation: Rotation::NewPair,
    rotation_window: Some(Duration::from_secs(24 * 60 * 60)),
    ..PLAIN
};

#[rustfmt::skip]
const GENESYS_REGIONS: &[Region] = &[
    Region { name: "us-east-1",      domain: "mypurecloud.com" },
    Region { name: "us-east-2",      domain: "use2.us-gov-pure.cloud" },
    Region { name: "us-west-2",      domain: "usw2.pure.cloud" },
    Region { name: "ca-central-1",   domain: "cac1.pure.cloud" },
    Region { name: "mx-central-1",   domain: "mxc1.pure.cloud" },
    Region { name: "sa-east-1",      domain: "sae1.pure.cloud" },
    Region { name: "eu-west-1",      domain: "mypurecloud.ie" },
    Region { name: "eu-west-2",      domain: "euw2.pure.cloud" },
    Region { name: "eu-central-1",   domain: "mypurecloud.de" },
    Region { name: "eu-central-2",   domain: "euc2.pure.cloud" },
    Region { name: "eusc-de-east-1", domain: "edee1.eusc-pure.cloud" },
    Region { name: "me-central-1",   domain: "mec1.pure.cloud" },
    Region { name: "ap-south-1",     domain: "aps1.pure.cloud" },
    Region { name: "ap-southeast-1", domain: "apse1.pure.cloud" },
    Region { name: "ap-southeast-2", domain: "mypurecloud.com.au" },
    Region { name: "ap-northeast-1", domain: "mypurecloud.jp" },
    Region { name: "ap-northeast-2", domain: "apne2.pure.cloud" },
    Region { name: "ap-northeast-3", domain: "apne3.pure.cloud" },
];
