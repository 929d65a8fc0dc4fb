//! What `login` and `logout` have in common: the credential, where its grant is kept, and the broker
//! that may be running on it.

use std::path::PathBuf;
use std::sync::Arc;

use bellwether_broker::{Broker, CredentialSettings};
use bellwether_server::CredentialView;
use bellwether_store::Clock;

use super::Failure;
use crate::configuration::{
    AuthorizationServer, Configuration, Credential, Environment, Grant, Store, StoreUrl,
};
use crate::local_socket::{self, Answer, Ask};
use crate::plan;

/// The credential of this name and its authorization server, if it has a grant to log in for.
///
/// # Errors
/// What names there are, or why there is nothing to log in for.
pub(super) fn credential<'c>(
    configuration: &'c Configuration,
    name: &str,
) -> Result<(&'c Credential, &'c AuthorizationServer), Failure> {
    let credential = configuration.credential(name).ok_or_else(|| {
        let known: Vec<_> = configuration.credentials.iter().map(|one| &*one.name).collect();
        Failure::Usage(format!("no credential is named {name}; there is {}", known.join(", ")))
    })?;
    if credential.grant != Grant::RefreshToken {
        return Err(Failure::Usage(format!(
            "credential {name} has grant = {:?}, which needs no login; for one that does write \
             grant = \"refresh_token\"",
            credential.grant.as_str()
        )));
    }
    let server = configuration.authorization_server(&credential.authorization_server);
    let server = server.ok_or_else(|| Failure::Usage(format!("{name} has no server")))?;
    Ok((credential, server))
}

/// Where grants are kept.
#[derive(Debug)]
pub(super) struct Place {
    store: Store,
    socket: PathBuf,
}

/// A broker that renews nothing, over the open store, and what it is to know of the credential.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) broker: Broker,
    pub(super) settings: CredentialSettings,
}

impl Place {
    /// The store of a flag or of the configuration.
    ///
    /// # Errors
    /// When it keeps nothing.
    pub(super) fn find(
        flag: Option<&str>,
        configuration: &Configuration,
        environment: Environment<'_>,
    ) -> Result<Self, Failure> {
        let store = plan::store(flag, Some(&configuration.store), environment);
        let store = store.map_err(Failure::Usage)?;
        match &store.url {
            StoreUrl::Sqlite(path) => Ok(Self { socket: plan::beside(path, "sock"), store }),
            StoreUrl::Memory => Err(Failure::Usage(
                "a store in memory forgets a refresh token at once; name one with --store \
                 sqlite:PATH"
                    .to_owned(),
            )),
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// What is wrong, with the file and what to do.
    pub(super) fn open(
        &self,
        configuration: &Configuration,
        name: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Held, Failure> {
        let failed = |error: String| Failure::Failed(error);
        let planned = plan::credentials(configuration).map_err(failed)?;
        let planned = planned.into_iter().find(|planned| planned.settings.name == name);
        let settings = planned.map(|planned| planned.settings);
        let settings = settings.ok_or_else(|| failed(format!("no credential is named {name}")))?;
        let opened = plan::open_store(&self.store, clock).map_err(failed)?;
        let broker = plan::start_broker(opened, Arc::clone(clock)).map_err(failed)?;
        Ok(Held { broker, settings })
    }

    /// Tells the running broker, and waits until it has done its part; `None` if none is running.
    ///
    /// # Errors
    /// Why it did not do it.
    pub(super) async fn tell_running(&self, ask: Ask) -> Result<Option<CredentialView>, String> {
        match local_socket::ask(&self.socket, &ask).await {
            None => Ok(None),
            Some(Ok(Answer::Status(views))) => Ok(views.into_iter().next()),
            Some(Ok(Answer::Failed { message })) => Err(message),
            Some(Ok(Answer::Token(_))) => Err("it answers oddly".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
        }
    }
}
