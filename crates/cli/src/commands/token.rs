//! `bellwether token NAME`: prints a fresh token of a configured credential.

use std::path::PathBuf;
use std::sync::Arc;

use bellwether_broker::{Broker, Environment as BrokerEnvironment};
use bellwether_store::{Clock, HolderId, SystemClock};
use clap::{Args, ValueEnum};

use super::{Failure, load_configuration, print_result};
use crate::configuration::{Configuration, Environment, StoreUrl};
use crate::local_socket::{self, Answer, Ask, TokenAnswer};
use crate::plan;

/// Print a fresh token of a credential, through a running broker or straight from the store
#[derive(Debug, Args)]
pub(super) struct Token {
    /// The credential's name in the configuration
    name: String,
    /// What to print: the token, an `Authorization` header, or all that is known
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,
    /// Same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// The configuration; else $BELLWETHER_CONFIG, ./bellwether.toml, or the user's own
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The store; else the configuration's
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Raw,
    Header,
    Json,
}

impl Token {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        crate::log::start_quiet(environment);
        let configuration = load_configuration(self.config.as_deref(), environment)?;
        if configuration.credential(&self.name).is_none() {
            let known: Vec<_> =
                configuration.credentials.iter().map(|one| one.name.as_str()).collect();
            return Err(Failure::Usage(format!(
                "no credential is named {}; there is {}",
                self.name,
                known.join(", ")
            )));
        }
        let store = plan::store(self.store.as_deref(), Some(&configuration.store), environment)
            .map_err(Failure::Usage)?;
        let token = super::runtime()?.block_on(fetch(&self.name, &configuration, &store))?;
        let format = if self.json { Format::Json } else { self.format };
        match format {
            Format::Raw => print_result(&token.access_token),
            Format::Header => {
                print_result(&format!("Authorization: Bearer {}", token.access_token))
            }
            Format::Json => print_result(&serde_json::to_string(&token).unwrap_or_default()),
        }
    }
}

async fn fetch(
    name: &str,
    configuration: &Configuration,
    store: &crate::configuration::Store,
) -> Result<TokenAnswer, Failure> {
    if let StoreUrl::Sqlite(path) = &store.url {
        let ask = Ask::Token { name: name.to_owned() };
        match local_socket::ask(&plan::beside(path, "sock"), &ask).await {
            Some(Ok(answer)) => return told(answer),
            Some(Err(error)) => tracing::warn!(%error, "the running broker is not asked"),
            None => {}
        }
    }
    let failed = |error: String| Failure::Failed(error);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let opened = plan::open_store(store, &clock).map_err(failed)?;
    let seed = HolderId::random().map_err(|error| failed(error.to_string()))?;
    let broker = Broker::start(BrokerEnvironment {
        clock: Arc::clone(&clock),
        store: opened.store,
        escrow: opened.escrow,
        keyring: opened.keyring,
        seed: seed.as_u128() as u64,
    });
    let planned = plan::credentials(configuration).map_err(failed)?;
    let planned = planned.into_iter().find(|planned| planned.settings.name == name);
    let mut settings = planned
        .map(|planned| planned.settings)
        .ok_or_else(|| Failure::Usage(format!("no credential is named {name}")))?;
    // One token is asked for: nothing else of the pool is renewed on the way.
    settings.pool = 1;
    settings.demand = bellwether_broker::WHILE_USED;
    let added = broker.add(settings).await;
    let answer = local_socket::token(&added.handle, clock.now()).await;
    broker.stop().await;
    told(answer)
}

fn told(answer: Answer) -> Result<TokenAnswer, Failure> {
    match answer {
        Answer::Token(token) => Ok(token),
        Answer::Failed { message } => Err(Failure::Failed(message)),
        Answer::Status(_) => Err(Failure::Failed("the running broker answers oddly".to_owned())),
    }
}
