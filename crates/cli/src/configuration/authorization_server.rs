//! `[[authorization_server]]`: who issues tokens, and what they are good for.

use std::path::PathBuf;
use std::time::Duration;

use bellwether_broker::provider::{Budget, Endpoints, Provider, Rotation};
use url::Url;

use super::file::{self, Protection};
use super::gateway::{read_duration, set};
use super::section::{Context, Field, Section};
use super::{Named, address, budget, name};

/// An authorization server and the resource server that takes its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationServer {
    /// Its name in this configuration.
    pub name: String,
    /// The preset it began with.
    pub provider: Option<&'static Provider>,
    /// Its own name for itself, under which its metadata is found (RFC 8414), exactly.
    pub issuer: Option<String>,
    /// RFC 6749 §3.2.
    pub token_endpoint: Url,
    /// Where a person authorizes a client (RFC 6749 §3.1).
    pub authorization_endpoint: Option<Url>,
    /// RFC 8628 §3.1.
    pub device_authorization_endpoint: Option<Url>,
    /// RFC 7009 §2.
    pub revocation_endpoint: Option<Url>,
    /// The base of the API's addresses.
    pub resource_server: Option<Url>,
    /// The API speaks HTTP/2 in the clear (RFC 9113 §3.3); over TLS it is asked.
    pub resource_server_http2: bool,
    /// What a spent refresh token brings.
    pub rotation: Rotation,
    /// For how long a spent refresh token is taken again, counted from its first use.
    pub rotation_window: Option<Duration>,
    /// The path at the resource server that tells whether an access token is still good.
    pub verify: Option<String>,
    /// When a token without `expires_in` is renewed.
    pub default_lifetime: Duration,
    /// How long a token request may take.
    pub request_timeout: Duration,
    /// The only certificate authorities to trust for it, instead of the system's.
    pub ca: Option<CertificateAuthorities>,
    /// What each client may ask of the token endpoint.
    pub request_budget: Option<Budget>,
}

/// Certificate authorities from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateAuthorities {
    /// Where to read them again.
    pub path: PathBuf,
    /// One or more certificates (RFC 7468).
    pub pem: String,
}

const DEFAULT_LIFETIME: Duration = Duration::from_secs(60 * 60);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST_REQUEST: Duration = Duration::from_millis(100);
const LONGEST_REQUEST: Duration = Duration::from_secs(60);
const MAX_LIFETIME: Duration = Duration::from_secs(450 * 24 * 60 * 60);
const MAX_WINDOW: Duration = Duration::from_secs(90 * 24 * 60 * 60);

impl Named for AuthorizationServer {
    fn name(&self) -> &str {
        &self.name
    }
}

/// `None` when something in the section is wrong; then it was reported.
pub(super) fn read(
    context: &mut Context<'_>,
    mut section: Section<'_>,
) -> Option<AuthorizationServer> {
    let name =
        section.required("name", "\"NAME\"").and_then(|field| field.parse(context, name::check));
    let provider_field = section.optional("provider");
    let has_provider = provider_field.is_some();
    let provider = provider_field.and_then(|field| field.parse(context, Provider::named));
    let unknown_provider = has_provider && provider.is_none();

    let region = section.optional("region");
    if let (Some(field), false) = (&region, has_provider) {
        field.refuse::<()>(context, "belongs to a provider; name the provider or remove it");
    }
    let token_field = section.optional("token_endpoint");
    let endpoints = read_region(context, &mut section, provider, region, token_field.is_some());
    let token_endpoint = match &token_field {
        Some(field) => read_url(context, field),
        None => {
            endpoints.as_ref().and_then(|endpoints| preset_url(endpoints.token_endpoint.as_ref()))
        }
    };
    if token_field.is_none() && !unknown_provider {
        report_missing_endpoint(&mut section, provider, endpoints.as_ref());
    }

    let issuer = section.optional("issuer").and_then(|field| {
        // Compared character by character, so kept as it is written.
        read_url(context, &field).and_then(|_| field.as_str()).map(str::to_owned)
    });
    let authorization_endpoint = match section.optional("authorization_endpoint") {
        Some(field) => read_url(context, &field),
        // A token endpoint of one's own is of a server of one's own.
        None => endpoints
            .as_ref()
            .filter(|_| token_field.is_none())
            .and_then(|endpoints| preset_url(endpoints.authorization_endpoint.as_ref())),
    };
    let device_authorization_endpoint = section
        .optional("device_authorization_endpoint")
        .and_then(|field| read_url(context, &field));
    let revocation_endpoint =
        section.optional("revocation_endpoint").and_then(|field| read_url(context, &field));
    let resource_field = section.optional("resource_server");
    let has_resource_server = resource_field.is_some();
    let resource_server = match resource_field {
        Some(field) => read_url(context, &field),
        None => endpoints.and_then(|endpoints| preset_url(endpoints.resource_server.as_ref())),
    };
    let (rotation, rotation_window) = read_rotation(context, &mut section, provider);
    let verify = read_verify(
        context,
        &mut section,
        provider,
        has_resource_server || resource_server.is_some(),
    );
    let mut default_lifetime = DEFAULT_LIFETIME;
    set(&mut default_lifetime, section.optional("default_lifetime"), |field| {
        read_duration(context, &field, MAX_LIFETIME)
    });
    let mut request_timeout = REQUEST_TIMEOUT;
    set(&mut request_timeout, section.optional("request_timeout"), |field| {
        let timeout = read_duration(context, &field, LONGEST_REQUEST)?;
        if timeout < SHORTEST_REQUEST {
            return field.refuse(context, "is too short to be answered; write at least 100ms");
        }
        Some(timeout)
    });
    let resource_server_http2 = match section.optional("resource_server_http2") {
        Some(field) => field.boolean(context).unwrap_or_default(),
        None => false,
    };
    let ca = section.optional("ca").and_then(|field| read_ca(context, &field));
    let request_budget =
        section.optional("request_budget").and_then(|field| field.parse(context, budget::parse));
    section.finish(context);
    Some(AuthorizationServer {
        name: name?.to_owned(),
        provider,
        issuer,
        token_endpoint: token_endpoint?,
        authorization_endpoint,
        device_authorization_endpoint,
        revocation_endpoint,
        resource_server,
        resource_server_http2,
        rotation,
        rotation_window,
        verify,
        default_lifetime,
        request_timeout,
        ca,
        request_budget,
    })
}

/// Where the preset's servers are. A token endpoint of one's own makes the region dispensable.
fn read_region(
    context: &mut Context<'_>,
    section: &mut Section<'_>,
    provider: Option<&'static Provider>,
    region: Option<Field<'_>>,
    has_token_endpoint: bool,
) -> Option<Endpoints> {
    match (provider, region) {
        (Some(provider), Some(region)) => {
            region.parse(context, |name| provider.endpoints(Some(name)))
        }
        (Some(provider), None) => match provider.endpoints(None) {
            Ok(endpoints) => Some(endpoints),
            Err(_) if has_token_endpoint => None,
            Err(error) => {
                section.missing("region", error.to_string());
                None
            }
        },
        (None, _) => None,
    }
}

fn report_missing_endpoint(
    section: &mut Section<'_>,
    provider: Option<&'static Provider>,
    endpoints: Option<&Endpoints>,
) {
    let message = match (provider, endpoints) {
        (Some(provider), Some(Endpoints { token_endpoint: None, .. })) => {
            format!(
                "differs between customers of {}; write token_endpoint = \"https://…\"",
                provider.name
            )
        }
        (None, _) => {
            let names: Vec<_> = Provider::all().iter().map(|provider| provider.name).collect();
            format!(
                "is missing; write token_endpoint = \"https://…\", or a provider: {}",
                names.join(", ")
            )
        }
        (Some(_), _) => return,
    };
    section.missing("token_endpoint", message);
}

/// A preset's URLs are constants that a test reads.
fn preset_url(url: Option<&String>) -> Option<Url> {
    address::parse_url(url?).ok()
}

fn read_url(context: &mut Context<'_>, field: &Field<'_>) -> Option<Url> {
    match address::parse_url(field.string(context)?) {
        Ok(url) => Some(url),
        Err(invalid) => {
            if invalid.secret {
                field.hide(context);
            }
            field.refuse(context, invalid.message)
        }
    }
}

/// A window comes with the class it belongs to: the preset's goes when another class is chosen.
fn read_rotation(
    context: &mut Context<'_>,
    section: &mut Section<'_>,
    provider: Option<&'static Provider>,
) -> (Rotation, Option<Duration>) {
    let preset = provider.map_or(Rotation::Strict, |provider| provider.rotation);
    let rotation_field = section.optional("rotation");
    let window_field = section.optional("rotation_window");
    let mut rotation = preset;
    if let Some(field) = &rotation_field {
        match field.parse(context, Rotation::parse) {
            Some(chosen) => rotation = chosen,
            None => return (rotation, None),
        }
    }
    let Some(field) = window_field else {
        let window = provider.and_then(|provider| provider.rotation_window);
        let window = window.filter(|_| rotation == preset);
        if let (Rotation::NewPair | Rotation::SamePair, None, Some(field)) =
            (rotation, window, &rotation_field)
        {
            let message =
                format!("{rotation} needs to know for how long; add rotation_window = \"30s\"");
            field.refuse::<()>(context, message);
        }
        return (rotation, window);
    };
    if !rotation.has_window() {
        let message = format!(
            "rotation {rotation} has no window; choose rotation = \"new-pair\" or \"same-pair\", \
             or remove rotation_window"
        );
        field.refuse::<()>(context, message);
        return (rotation, None);
    }
    (rotation, read_duration(context, &field, MAX_WINDOW))
}

/// A path, or `false` to do without the preset's.
fn read_verify(
    context: &mut Context<'_>,
    section: &mut Section<'_>,
    provider: Option<&'static Provider>,
    has_resource_server: bool,
) -> Option<String> {
    let Some(field) = section.optional("verify") else {
        let preset = provider.and_then(|provider| provider.verify);
        return preset.filter(|_| has_resource_server).map(str::to_owned);
    };
    if field.as_bool() == Some(false) {
        return None;
    }
    let path = field.parse(context, address::parse_path)?;
    if !has_resource_server {
        return field.refuse(context, "is a path at the resource server; add resource_server");
    }
    Some(path)
}

fn read_ca(context: &mut Context<'_>, field: &Field<'_>) -> Option<CertificateAuthorities> {
    let path = context.directory.join(field.string(context)?);
    match file::read(&path, Protection::Settings) {
        Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => {
            Some(CertificateAuthorities { path, pem: pem.as_str().to_owned() })
        }
        Ok(_) => field.refuse(context, "holds no certificate; name a file in PEM format"),
        Err(message) => field.refuse(context, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_preset_can_be_used() {
        for provider in Provider::all() {
            let mut all: Vec<_> = provider.regions.iter().map(|region| Some(region.name)).collect();
            if all.is_empty() {
                all.push(None);
            }
            for region in all {
                let endpoints = provider.endpoints(region).unwrap();
                let Endpoints { token_endpoint, authorization_endpoint, resource_server } =
                    endpoints;
                let urls = [token_endpoint, authorization_endpoint, resource_server];
                for url in urls.iter().flatten() {
                    assert!(address::parse_url(url).is_ok(), "{url}");
                }
            }
        }
    }
}
