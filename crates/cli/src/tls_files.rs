//! Has the gateway use a certificate that was renewed, without a restart.

use std::future::pending;
use std::sync::Arc;

use bellwether_server::Tls;

use crate::configuration::Tls as TlsSection;
use crate::secret_files::{INTERVAL, Version, version};

/// The files of `[gateway.tls]`, watched.
pub(crate) struct TlsWatch {
    section: TlsSection,
    tls: Arc<Tls>,
    seen: Vec<Option<Version>>,
}

impl TlsWatch {
    pub(crate) fn new(section: TlsSection, tls: Arc<Tls>) -> Self {
        let seen = versions(&section);
        Self { section, tls, seen }
    }

    /// Waits until a file changes.
    async fn changed(&mut self) {
        loop {
            let now = versions(&self.section);
            // Between two files' renaming one may be missing.
            if now != self.seen && now.iter().all(Option::is_some) {
                self.seen = now;
                return;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Reads the files again; what cannot be used changes nothing.
    pub(crate) fn reload(&mut self) {
        self.seen = versions(&self.section);
        let replaced = self.section.read().and_then(|files| {
            self.tls.replace(files.material()).map_err(|error| self.section.explain(error))
        });
        match replaced {
            Ok(()) => tracing::info!("the gateway's certificate was read again"),
            Err(error) => tracing::error!("the gateway's certificate stays as it was: {error}"),
        }
    }
}

/// Waits until a file changes; for ever where there is no TLS.
pub(crate) async fn changed(watch: &mut Option<TlsWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => pending().await,
    }
}

fn versions(section: &TlsSection) -> Vec<Option<Version>> {
    section.paths().map(version).collect()
}
