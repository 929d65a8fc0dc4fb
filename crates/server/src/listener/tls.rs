//! TLS on the gateway listener: a certificate that can be renewed, and callers' certificates.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConnection};
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::callers::Certificate;

/// Whether callers show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Without one there is no connection.
    Required,
    /// One that is shown must be good.
    Optional,
}

/// What a listener proves itself with; in PEM (RFC 7468).
#[derive(Clone, Copy)]
pub struct TlsMaterial<'a> {
    /// Its certificate, followed by those up to the authority's.
    pub certificate: &'a [u8],
    /// The certificate's private key.
    pub key: &'a [u8],
    /// The authorities that callers' certificates come from.
    pub client_ca: Option<(&'a [u8], ClientAuth)>,
}

/// Why nothing can be proved with it. Says which part; holds nothing of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate cannot be used.
    #[error("{0}")]
    Certificate(String),
    /// The key cannot be used.
    #[error("{0}")]
    Key(String),
    /// The authorities for callers cannot be used.
    #[error("{0}")]
    ClientCa(String),
}

/// TLS 1.2 and 1.3 for a listener; new connections meet the latest certificate.
#[derive(Debug)]
pub struct Tls(ArcSwap<ServerConfig>);

impl Tls {
    /// # Errors
    /// When a part cannot be used, or the key is not the certificate's.
    pub fn new(material: TlsMaterial<'_>) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from(configure(material)?)))
    }

    /// Uses another certificate for new connections, or stays as it is.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub fn replace(&self, material: TlsMaterial<'_>) -> Result<(), TlsError> {
        self.0.store(configure(material)?);
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

/// Sessions are resumed under the configuration they began with, so none outlives an authority that
/// was taken away.
fn configure(material: TlsMaterial<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    let TlsMaterial { certificate, key, client_ca } = material;
    let chain = certificates(certificate).map_err(TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        TlsError::Key("holds no private key; name an unencrypted one in PEM format".to_owned())
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some((ca, auth)) => {
            let mut roots = RootCertStore::empty();
            for ca in certificates(ca).map_err(TlsError::ClientCa)? {
                roots.add(ca).map_err(|error| TlsError::ClientCa(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| TlsError::ClientCa(error.to_string()))?,
            )
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            let why = "is not the key of the certificate; name the two that were made together";
            TlsError::Key(why.to_owned())
        } else {
            TlsError::Certificate(format!("cannot be used: {error}"))
        }
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err("holds no certificate; name a file in PEM format".to_owned()),
    }
}

/// The certificate that a caller proved to have.
pub(crate) fn callers_certificate(connection: &ServerConnection) -> Option<Certificate> {
    let leaf = connection.peer_certificates()?.first()?;
    Some(Certificate { names: names(leaf) })
}

/// DNS, URI and e-mail names; none where they cannot be read.
fn names(certificate: &[u8]) -> Vec<String> {
    let Ok(certificate) = x509_cert::Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate.get() else {
        return Vec::new();
    };
    let text = |name: GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::UniformResourceIdentifier(name) => Some(name.to_string()),
        GeneralName::Rfc822Name(name) => Some(name.to_string()),
        GeneralName::OtherName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    };
    names.into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn dns_uri_and_mail_names_are_read_and_addresses_are_not() {
        let mut params = CertificateParams::new(vec!["poller.test".to_owned()]).unwrap();
        params.subject_alt_names.extend([
            SanType::URI("spiffe://test/poller".try_into().unwrap()),
            SanType::Rfc822Name("poller@example.com".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
        ]);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = ["poller.test", "spiffe://test/poller", "poller@example.com"];
        assert_eq!(names(certificate.der()), expected);
        assert!(names(b"no certificate").is_empty());
    }
}
