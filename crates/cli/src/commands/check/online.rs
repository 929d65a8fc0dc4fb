//! `--online`: does the authorization server give each credential a token?

use std::sync::Arc;

use bellwether_broker::{Broker, Environment, Obtain};
use bellwether_store::{Clock, Keyring, MemoryEscrow, MemoryStore, SystemClock};
use serde::Serialize;

use crate::commands::{Failure, runtime};
use crate::configuration::Configuration;
use crate::plan;

/// What became of one credential.
#[derive(Debug, Serialize)]
pub(super) struct Tried {
    credential: String,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Granted,
    Failed,
    NotTried,
}

impl Tried {
    /// Whether it was tried and gave no token.
    pub(super) fn failed(&self) -> bool {
        self.outcome == Outcome::Failed
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Granted => "granted",
            Outcome::Failed => "failed",
            Outcome::NotTried => "not tried",
        };
        let message = self.message.as_deref().map_or_else(String::new, |why| format!(": {why}"));
        format!("  {}: {outcome}{message}", self.credential)
    }
}

/// Requests one token for each, away from the store that is in use.
pub(super) fn try_each(configuration: &Configuration) -> Result<Vec<Tried>, Failure> {
    let planned = plan::credentials(configuration).map_err(Failure::Failed)?;
    runtime()?.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let broker = Broker::start(Environment {
            store: Arc::new(MemoryStore::new(Arc::clone(&clock))),
            clock,
            escrow: Arc::new(MemoryEscrow::new()),
            keyring: Keyring::ephemeral(),
            seed: 0,
        });
        let mut tried = Vec::new();
        for planned in planned {
            let mut settings = planned.settings;
            let credential = settings.name.clone();
            let (outcome, message) = match settings.obtain {
                Obtain::RefreshToken { .. } => {
                    let why = "a request would spend its refresh token".to_owned();
                    (Outcome::NotTried, Some(why))
                }
                Obtain::ClientCredentials => {
                    settings.pool = 1;
                    match broker.add(settings).await.handle.token().await {
                        Ok(_) => (Outcome::Granted, None),
                        Err(none) => (Outcome::Failed, Some(none.to_string())),
                    }
                }
            };
            tried.push(Tried { credential, outcome, message });
        }
        broker.stop().await;
        Ok(tried)
    })
}
