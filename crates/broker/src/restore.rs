//! What the store held when we started, and what it is to hold no longer.

use bellwether_lifecycle::renewal::{Answer, Change, Escrowed, Source};
use bellwether_store::{Acquired, Clock, Key, Kind, StoreError};

use crate::grant_row::{GrantRow, escrowed};
use crate::record::Record;
use crate::settings::Credential;
use crate::surroundings::Surroundings;
use crate::token::Token;

use std::time::Duration;

use bellwether_lifecycle::Demand;
use bellwether_oauth::{Client, ClientAuthentication, Scope};

/// A pool member as the store has it.
pub(crate) struct Restored {
    pub(crate) token: Option<Token>,
    pub(crate) attempt: u64,
    /// Whether something is to be settled at once: a doubt has a window that passes, and what only the
    /// escrow has is unknown to others.
    pub(crate) is_unsettled: bool,
    /// Digests of access tokens that were handed out, this one's and those before.
    pub(crate) known: Vec<String>,
}

/// Reads a pool member's row, and in the escrow what the row does not have yet; one of another
/// configuration, or that does not open, is none.
pub(crate) async fn restore(
    surroundings: &Surroundings,
    settings: &Credential,
    member: u16,
) -> Option<Restored> {
    let key = settings.key.clone().with_member(member);
    let without = |error: &StoreError, what: &str| {
        tracing::warn!(credential = %settings.name(), %error, what, "starting without it");
    };
    let mut row = GrantRow::load(surroundings, settings, &key).await.unwrap_or_else(|error| {
        without(&error, "row");
        GrantRow::unknown(surroundings, settings)
    });
    let found = row.generation;
    if let Err(error) = catch_up(surroundings, settings, &key, &mut row).await {
        without(&error, "escrow");
    }
    let is_behind = found < row.generation;
    let GrantRow { generation, record, .. } = row;
    let clock: &dyn Clock = &*surroundings.clock;
    let token = record.token(member, generation, clock);
    let held =
        token.as_ref().map(|token| surroundings.access_digest(token.access_token()).to_hex());
    let is_news = record.is_news();
    let known = held.into_iter().chain(record.earlier).collect();
    let token = token.filter(|token| token.held().is_alive(clock.now()));
    // What the latest request met is news to us: it is shared while it is recent.
    let attempt = record.attempt.saturating_sub(u64::from(is_news));
    let is_unsettled = is_behind || record.intent.is_some() || record.doubt.is_some();
    Some(Restored { token, attempt, is_unsettled, known })
}

/// Adds what the escrow has and the row has not.
pub(crate) async fn catch_up(
    surroundings: &Surroundings,
    settings: &Credential,
    key: &Key,
    row: &mut GrantRow,
) -> Result<(), StoreError> {
    // Which member it is tells nothing about the escrow.
    let recorded = row.recorded(surroundings, settings, 0);
    let kept = escrowed(surroundings, settings, key, row, &recorded).await?;
    if let Some((Escrowed { generation, answer: Answer::Granted { .. }, .. }, read)) = kept.best
        && generation > row.generation
    {
        let change = Change::Accept { generation, source: Source::Escrow, doubt_since: None };
        row.change(surroundings, settings, change, Some(&read), None);
    }
    Ok(())
}

/// Removes a credential's rows, and what the escrow has for them.
pub(crate) async fn forget(surroundings: &Surroundings, settings: &Credential) {
    for member in 0..settings.pool.max(1) {
        let key = settings.key.clone().with_member(member);
        let store = &surroundings.store;
        if let Ok(Acquired::Lease(lease)) = surroundings.acquire(&key).await {
            let removed = store.remove(&key, lease.fence).await;
            let forgotten = surroundings.escrow.remove(&key).await;
            let released = store.release(&key, lease.fence).await;
            if let Err(error) = removed.map(|_| ()).and(forgotten).and(released) {
                tracing::debug!(credential = %settings.name(), %error, "its row stays for now");
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
