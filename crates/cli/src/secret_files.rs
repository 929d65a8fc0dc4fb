//! Notices when a client secret's file changes, so that a corrected secret is tried at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bellwether_broker::Handle;
use bellwether_broker::oauth::ClientAuthentication;

use crate::configuration::{Environment, SecretSource};

/// How often the files are looked at.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// The files that are watched.
pub(crate) struct Watch<'a> {
    files: Vec<Watched<'a>>,
}

struct Watched<'a> {
    handle: &'a Handle,
    source: &'a SecretSource,
    path: PathBuf,
    seen: Option<Version>,
}

impl<'a> Watch<'a> {
    /// Watches the sources that are files.
    pub(crate) fn new(sources: &'a [(Handle, SecretSource)]) -> Self {
        let files = sources.iter().filter_map(|(handle, source)| match source {
            SecretSource::File { path, .. } => {
                Some(Watched { handle, source, seen: version(path), path: path.clone() })
            }
            SecretSource::Env(_) => None,
        });
        Self { files: files.collect() }
    }

    /// The next credential whose secret's file changed.
    pub(crate) async fn changed(&mut self) -> (&'a Handle, &'a SecretSource) {
        loop {
            for file in &mut self.files {
                let now = version(&file.path);
                if now != file.seen && now.is_some() {
                    file.seen = now;
                    return (file.handle, file.source);
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// What changes with a file.
pub(crate) type Version = (SystemTime, u64);

pub(crate) fn version(path: &Path) -> Option<Version> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads the secret again and has the credential use it.
pub(crate) async fn renew_secret(
    handle: &Handle,
    source: &SecretSource,
    environment: Environment<'_>,
) {
    let name = handle.name();
    let secret = match source.read(environment) {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(credential = %name, %error, "the secret stays as it was");
            return;
        }
    };
    let mut settings = handle.settings().to_settings();
    settings.client.authentication = match settings.client.authentication {
        ClientAuthentication::Basic(_) => ClientAuthentication::Basic(secret),
        ClientAuthentication::Post(_) => ClientAuthentication::Post(secret),
        ClientAuthentication::None => return,
    };
    handle.replace(settings).await;
    tracing::info!(credential = %name, "the secret was read again");
}
