//! What handles ask of the scheduler.

use std::sync::Arc;

use bellwether_lifecycle::{Need, Settled, Ticket, Timestamp};
use tokio::sync::oneshot;

use crate::doors::{DoorId, Visit};
use crate::error::NoToken;
use crate::settings::{AuthorizationServer, Credential};
use crate::shared::{CredentialId, Shared};
use crate::token::Token;

/// A waiting caller's answer: a token, the word that the refusal stands (`None`), or none.
pub(crate) type Answer = Result<Option<Arc<Token>>, NoToken>;

#[derive(Debug)]
pub(crate) enum Command {
    Add {
        shared: Arc<Shared>,
        restored: Vec<Token>,
        attempts: Vec<u64>,
        /// Whether something is to be settled before it is due.
        is_unsettled: bool,
    },
    Remove(CredentialId),
    Replace {
        id: CredentialId,
        settings: Arc<Credential>,
        done: oneshot::Sender<()>,
    },
    Ask {
        id: CredentialId,
        ask: Ask,
        until: Timestamp,
        reply: oneshot::Sender<Answer>,
    },
    Tell {
        id: CredentialId,
        tell: Tell,
    },
    /// Somebody comes for one token request; without a name if its secret is not proven.
    Visit {
        server: Arc<AuthorizationServer>,
        client: Option<String>,
        reply: oneshot::Sender<Visit>,
    },
    /// And has made it, or not.
    Leave {
        door: Arc<DoorId>,
        ticket: Ticket,
        settled: Settled,
    },
    Stop(oneshot::Sender<()>),
}

/// A question somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Token(Need),
    Cure { member: u16, generation: u64, accepted_since: bool },
    NoCache,
}

/// News nobody waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tell {
    Accepted { member: u16, generation: u64 },
    FoundDead { member: u16, generation: u64 },
    ReplayRefused { member: u16, generation: u64 },
    Renew,
    Reconfigured,
}
