//! `[gateway.tls]`: what the gateway proves itself with, and whose certificates it takes.

use std::path::{Path, PathBuf};

use bellwether_server::{ClientAuth, TlsError, TlsMaterial};
use zeroize::Zeroizing;

use super::file::{self, Protection};
use super::gateway::one_of;
use super::section::{Context, Field, Section};

/// Where the certificate, its key and the authorities for callers are; all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, followed by those up to the authority's.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Whether everybody may read the key.
    pub allow_readable: bool,
    /// The authorities of callers' certificates, and whether each caller shows one.
    pub client_ca: Option<(PathBuf, ClientAuth)>,
}

/// What the files held when they were read.
pub(crate) struct TlsFiles {
    certificate: Zeroizing<String>,
    key: Zeroizing<String>,
    client_ca: Option<(Zeroizing<String>, ClientAuth)>,
}

impl TlsFiles {
    pub(crate) fn material(&self) -> TlsMaterial<'_> {
        TlsMaterial {
            certificate: self.certificate.as_bytes(),
            key: self.key.as_bytes(),
            client_ca: self.client_ca.as_ref().map(|(pem, auth)| (pem.as_bytes(), *auth)),
        }
    }
}

impl Tls {
    /// The files that are watched.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let client_ca = self.client_ca.as_ref().map(|(path, _)| path);
        [&self.certificate, &self.key].into_iter().chain(client_ca).map(PathBuf::as_path)
    }

    /// Reads the files. An error names the part, its file and what to do.
    pub(crate) fn read(&self) -> Result<TlsFiles, TlsError> {
        let protection =
            if self.allow_readable { Protection::ReadableSecret } else { Protection::Secret };
        let certificate = file::read(&self.certificate, Protection::Settings);
        let client_ca = self.client_ca.as_ref().map(|(path, auth)| {
            let pem = file::read(path, Protection::Settings).map_err(TlsError::ClientCa)?;
            Ok::<_, TlsError>((pem, *auth))
        });
        Ok(TlsFiles {
            certificate: certificate.map_err(TlsError::Certificate)?,
            key: file::read(&self.key, protection).map_err(TlsError::Key)?,
            client_ca: client_ca.transpose()?,
        })
    }

    /// What is wrong with the files' content, with the file's name.
    pub(crate) fn explain(&self, error: TlsError) -> TlsError {
        let named = |path: &Path, why: String| format!("{}: {why}", path.display());
        match error {
            TlsError::Certificate(why) => TlsError::Certificate(named(&self.certificate, why)),
            TlsError::Key(why) => TlsError::Key(named(&self.key, why)),
            TlsError::ClientCa(why) => {
                let path = self.client_ca.as_ref().map(|(path, _)| path.as_path());
                TlsError::ClientCa(named(path.unwrap_or(Path::new("")), why))
            }
        }
    }
}

/// `None` when something in the section is wrong; then it was reported.
pub(super) fn read(context: &mut Context<'_>, mut section: Section<'_>) -> Option<Tls> {
    let certificate = section.required("certificate", "\"cert.pem\"");
    let key = section.required("key", "\"key.pem\"");
    let client_ca = section.optional("client_ca");
    let client_auth = section.optional("client_auth");
    let auth = match &client_auth {
        Some(field) => field.parse(context, parse_client_auth),
        None => Some(ClientAuth::Required),
    };
    section.finish(context);
    if let (Some(field), None) = (&client_auth, &client_ca) {
        return field.refuse(context, "needs client_ca, the authorities of callers' certificates");
    }
    let (certificate, key) = (certificate?, key?);
    let (key_path, allow_readable) = read_key(context, &key)?;
    let ca_path = match &client_ca {
        Some(field) => Some((path(context, field)?, auth?)),
        None => None,
    };
    let tls = Tls {
        certificate: path(context, &certificate)?,
        key: key_path,
        allow_readable,
        client_ca: ca_path,
    };
    let made = tls.read().and_then(|files| {
        bellwether_server::Tls::new(files.material()).map_err(|error| tls.explain(error))
    });
    match (made, &client_ca) {
        (Ok(_), _) => Some(tls),
        (Err(TlsError::Key(why)), _) => key.refuse(context, why),
        (Err(TlsError::ClientCa(why)), Some(field)) => field.refuse(context, why),
        (Err(TlsError::Certificate(why) | TlsError::ClientCa(why)), _) => {
            certificate.refuse(context, why)
        }
    }
}

fn path(context: &mut Context<'_>, field: &Field<'_>) -> Option<PathBuf> {
    let text = field.string(context)?;
    if text.is_empty() {
        return field.refuse(context, "is empty; name a file in PEM format");
    }
    Some(context.directory.join(text))
}

/// A path, or a table that also allows everybody to read it.
fn read_key(context: &mut Context<'_>, field: &Field<'_>) -> Option<(PathBuf, bool)> {
    if !field.is_table() {
        return path(context, field).map(|path| (path, false));
    }
    let mut section = field.section(context)?;
    let file = section.required("file", "\"key.pem\"");
    let allow_readable = section.optional("allow_readable");
    section.finish(context);
    let allow_readable = match allow_readable {
        Some(flag) => flag.boolean(context)?,
        None => false,
    };
    Some((path(context, &file?)?, allow_readable))
}

fn parse_client_auth(name: &str) -> Result<ClientAuth, String> {
    match name {
        "required" => Ok(ClientAuth::Required),
        "optional" => Ok(ClientAuth::Optional),
        _ => Err(one_of(name, &["required", "optional"])),
    }
}
