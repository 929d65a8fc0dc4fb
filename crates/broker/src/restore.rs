//! What the store held when we started, and what it is to hold no longer.

use bellwether_store::{Acquired, Clock, Kind, StoreError};

use crate::flight::Surroundings;
use crate::record::Record;
use crate::settings::Credential;
use crate::token::Token;

use std::time::Duration;

use bellwether_lifecycle::Demand;
use bellwether_oauth::{Client, ClientAuthentication, Scope};

/// A pool member as the store has it.
pub(crate) struct Restored {
    pub(crate) token: Option<Token>,
    pub(crate) attempt: u64,
    /// Digests of access tokens that were handed out, this one's and those before.
    pub(crate) known: Vec<String>,
}

/// Reads a pool member's row; one of another configuration, or that does not open, is none.
pub(crate) async fn restore(
    surroundings: &Surroundings,
    settings: &Credential,
    member: u16,
) -> Option<Restored> {
    let key = settings.key.clone().with_member(member);
    let row = match surroundings.store.load(&key).await {
        Ok(row) => row?,
        Err(error) => {
            tracing::warn!(credential = %settings.name, %error, "starting without its row");
            return None;
        }
    };
    let record = match Record::open(&surroundings.keyring, &key, &row) {
        Ok(record) => record,
        Err(error) => {
            tracing::warn!(credential = %settings.name, %error, "starting without its row");
            return None;
        }
    };
    if record.identity != settings.identity(&surroundings.keyring).to_hex() {
        return None;
    }
    let clock: &dyn Clock = &*surroundings.clock;
    let token = record.token(member, row.generation, clock);
    let held =
        token.as_ref().map(|token| surroundings.access_digest(token.access_token()).to_hex());
    let known = held.into_iter().chain(record.earlier).collect();
    let token = token.filter(|token| token.held().is_alive(clock.now()));
    // If the latest request failed, that is news to us: it is shared while it is recent.
    let is_news = record.failure.is_some() || record.intent.is_some();
    let attempt = record.attempt.saturating_sub(u64::from(is_news));
    Some(Restored { token, attempt, known })
}

/// Removes a credential's rows.
pub(crate) async fn forget(surroundings: &Surroundings, settings: &Credential) {
    for member in 0..settings.pool.max(1) {
        let key = settings.key.clone().with_member(member);
        let store = &surroundings.store;
        if let Ok(Acquired::Lease(lease)) = surroundings.acquire(&key).await {
            let removed = store.remove(&key, lease.fence).await;
            let released = store.release(&key, lease.fence).await;
            if let Err(error) = removed.map(|_| ()).and(released) {
                tracing::debug!(credential = %settings.name, %error, "its row stays for now");
            }
        }
    }
}

/// A client that a caller brought before a restart.
#[derive(Debug)]
pub struct RememberedClient {
    /// The client, with its secret.
    pub client: Client,
    /// The scope it asks for.
    pub scope: Scope,
    /// Its further parameters.
    pub parameters: Vec<(String, String)>,
}

/// The clients that callers brought and the authorization server confirmed.
pub(crate) async fn remembered_clients(
    surroundings: &Surroundings,
) -> Result<Vec<RememberedClient>, StoreError> {
    let rows = surroundings.store.list(&Kind::CLIENT).await?;
    let open = |(key, row)| Record::open(&surroundings.keyring, &key, &row).ok()?.client;
    let clients = rows.into_iter().filter_map(open).map(|stored| RememberedClient {
        client: Client {
            id: stored.id,
            authentication: if stored.in_body {
                ClientAuthentication::Post(stored.secret)
            } else {
                ClientAuthentication::Basic(stored.secret)
            },
        },
        scope: Scope::parse(&stored.scope).unwrap_or_default(),
        parameters: stored.parameters,
    });
    Ok(clients.collect())
}

/// How long callers' own credentials are renewed although nobody asks.
pub const WHILE_USED: Demand = Demand::WhileUsed { idle_after: Duration::from_secs(24 * 3600) };
