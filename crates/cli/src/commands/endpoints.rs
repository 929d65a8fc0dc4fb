//! Where an authorization server is asked for what a login or a logout needs: as configured, else as
//! its own metadata says (RFC 8414).

use bellwether_broker::oauth::{Metadata, MetadataError, read_metadata, well_known};
use bellwether_broker::{Outgoing, Transport, TransportError};
use bellwether_store::Clock;
use url::Url;

use crate::configuration::{AuthorizationServer, parse_endpoint};

/// The endpoints beside the token endpoint.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// RFC 6749 §3.1.
    pub(super) authorization: Option<Url>,
    /// RFC 8628 §3.1.
    pub(super) device_authorization: Option<Url>,
    /// RFC 7009 §2.
    pub(super) revocation: Option<Url>,
    /// Whether each authorization response says who sent it (RFC 9207).
    pub(super) issuer_is_promised: bool,
}

impl Endpoints {
    /// Asks the server for its metadata where an issuer is configured. What is configured beside it
    /// wins, and the token endpoint is never taken from there: secrets go where the configuration
    /// says.
    ///
    /// # Errors
    /// Why its metadata cannot be relied on, and what to do.
    pub(super) async fn find(
        server: &AuthorizationServer,
        transport: &dyn Transport,
        clock: &dyn Clock,
    ) -> Result<Self, String> {
        let mut found = Self {
            authorization: server.authorization_endpoint.clone(),
            device_authorization: server.device_authorization_endpoint.clone(),
            revocation: server.revocation_endpoint.clone(),
            issuer_is_promised: false,
        };
        let Some(issuer) = &server.issuer else { return Ok(found) };
        let metadata = fetch(issuer, transport, clock).await?;
        let url = |name: &str, text: &Option<String>| match text {
            Some(text) => parse_endpoint(text)
                .map(Some)
                .map_err(|why| format!("the metadata of {issuer}: its {name} {why}")),
            None => Ok(None),
        };
        if let Some(token_endpoint) = url("token_endpoint", &metadata.token_endpoint)?
            && token_endpoint != server.token_endpoint
        {
            return Err(format!(
                "the metadata of {issuer} names the token endpoint {token_endpoint}, the \
                 configuration {}; correct token_endpoint or issuer of authorization_server {:?}",
                server.token_endpoint, server.name
            ));
        }
        let authorization = url("authorization_endpoint", &metadata.authorization_endpoint)?;
        let device = url("device_authorization_endpoint", &metadata.device_authorization_endpoint)?;
        let revocation = url("revocation_endpoint", &metadata.revocation_endpoint)?;
        found.authorization = found.authorization.or(authorization);
        found.device_authorization = found.device_authorization.or(device);
        found.revocation = found.revocation.or(revocation);
        found.issuer_is_promised = metadata.issuer_is_promised;
        Ok(found)
    }
}

async fn fetch(
    issuer: &str,
    transport: &dyn Transport,
    clock: &dyn Clock,
) -> Result<Metadata, String> {
    let mut missing = None;
    for place in well_known(issuer) {
        let url = parse_endpoint(&place).map_err(|why| format!("{place} {why}"))?;
        let outgoing = Outgoing { url, authorization: None, form: None };
        let received = transport.send(outgoing).await.map_err(|error| {
            let (TransportError::NotSent(why) | TransportError::MaybeSent(why)) = error;
            format!("the metadata of {issuer} cannot be read: {why}")
        })?;
        match read_metadata(issuer, &received.message(clock.wall(), &[])) {
            Ok(metadata) => return Ok(metadata),
            // It may be in the next place.
            Err(error @ MetadataError::Status(400..=499)) => missing = Some((place, error)),
            Err(error) => return Err(format!("the metadata at {place} {error}")),
        }
    }
    let (place, error) = missing.unwrap_or((issuer.to_owned(), MetadataError::NotJson));
    Err(format!(
        "{issuer} has no metadata ({place} {error}); correct issuer, or name the endpoints \
         themselves"
    ))
}
