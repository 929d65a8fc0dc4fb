//! Notices that somebody authorised again: here, in another process, or on another machine.
//!
//! Who needs a person sends nothing any more, and so would never look at the row again. While it is
//! so, the row is looked at now and then.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bellwether_lifecycle::State;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::command::{Command, Tell};
use crate::handle::Handle;
use crate::record::Record;
use crate::shared::Shared;
use crate::surroundings::Surroundings;

/// How often the row of a credential that needs a person is looked at.
const LOOK: Duration = Duration::from_secs(5);

impl Handle {
    /// Another grant was put into the store: it is taken over at once.
    pub fn grant_replaced(&self) {
        self.tell(Tell::Reconfigured);
        self.tell(Tell::Renew);
    }

    /// The grant was given back: when this returns, what is held goes to nobody any more.
    pub async fn grant_ended(&self) {
        for token in self.held_tokens() {
            // Nothing to use instead is what was expected.
            let _ = self.found_dead(&token, self.shared.now()).await;
        }
        self.tell(Tell::Reconfigured);
    }
}

/// Starts to watch; ends with the broker, or with the last handle.
pub(crate) fn watch(surroundings: &Arc<Surroundings>, handle: &Handle) {
    let runtime = surroundings.runtime.clone();
    let surroundings = Arc::downgrade(surroundings);
    let (shared, commands) = (Arc::downgrade(&handle.shared), handle.commands.downgrade());
    runtime.spawn(async move {
        while look(&surroundings, &shared, &commands).await.is_some() {
            sleep(LOOK).await;
        }
    });
}

/// `None` when there is nobody left to look for.
async fn look(
    surroundings: &Weak<Surroundings>,
    shared: &Weak<Shared>,
    commands: &mpsc::WeakUnboundedSender<Command>,
) -> Option<()> {
    let (surroundings, shared) = (surroundings.upgrade()?, shared.upgrade()?);
    let commands = commands.upgrade()?;
    if shared.status().state != State::NeedsReauth || !has_new_grant(&surroundings, &shared).await {
        return (!commands.is_closed()).then_some(());
    }
    for tell in [Tell::Reconfigured, Tell::Renew] {
        commands.send(Command::Tell { id: shared.id, tell }).ok()?;
    }
    Some(())
}

/// Whether the row has a refresh token that nobody has tried yet.
async fn has_new_grant(surroundings: &Surroundings, shared: &Shared) -> bool {
    let settings = shared.settings.load_full();
    let key = settings.key.clone().with_member(0);
    // What cannot be read now is looked at again.
    let Ok(Some(row)) = surroundings.store.load(&key).await else { return false };
    let Ok(record) = Record::open(&surroundings.keyring, &key, &row) else { return false };
    // Refused may be one that came before it.
    let is_untried = |token| record.refused != Some(surroundings.refresh_digest(token).to_hex());
    record.issued_to == settings.issued_to(&surroundings.keyring).to_hex()
        && record.refresh_token.as_ref().is_some_and(is_untried)
        && record.failure.is_none()
        && record.intent.is_none()
}
