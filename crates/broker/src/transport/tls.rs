//! The one TLS stack.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of certificates cannot be read.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The machine has no root certificates.
    #[error("no root certificates were found on this machine; install them, or configure `ca`")]
    NoRoots,
}

/// The machine's own root certificates.
///
/// # Errors
/// When there are none.
pub fn machine_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

/// The certificates in a PEM file.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let error = |why: String| TlsError::File { path: path.display().to_string(), why };
    let found = rustls_native_certs::load_certs_from_paths(Some(path), None);
    if let Some(first) = found.errors.first() {
        return Err(error(first.to_string()));
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(error("no certificate in it; it must be PEM".to_owned()));
    }
    Ok(roots)
}

/// TLS 1.2 and 1.3, trusting these roots.
///
/// It names its cryptography: where another crate of the same program brings a second provider,
/// rustls does not choose between the two but panics.
pub fn tls_config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
