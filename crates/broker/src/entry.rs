//! What the scheduler keeps of one credential.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_lifecycle::{Lifecycle, PerMember, Timestamp, Verdict, WaiterId};
use tokio::sync::{broadcast, oneshot};

use crate::command::Answer;
use crate::error::NoToken;
use crate::news::News;
use crate::shared::Shared;

/// A credential with its lifecycle and those who wait. There may be very many: nothing is kept that
/// follows from something else.
pub(crate) struct Entry {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lifecycle: Lifecycle,
    /// When the timer rings that rings first.
    pub(crate) rings_at: Timestamp,
    pub(crate) waiters: Waiters,
    /// The latest token request of each member.
    pub(crate) attempts: PerMember<u64>,
}

/// Those who wait; most of the time nobody does, and then there is nothing to keep.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "an empty map takes three times as much")]
pub(crate) struct Waiters(Option<Box<BTreeMap<WaiterId, oneshot::Sender<Answer>>>>);

impl Waiters {
    pub(crate) fn insert(&mut self, waiter: WaiterId, reply: oneshot::Sender<Answer>) {
        self.0.get_or_insert_default().insert(waiter, reply);
    }

    fn remove(&mut self, waiter: WaiterId) -> Option<oneshot::Sender<Answer>> {
        let waiters = self.0.as_mut()?;
        let reply = waiters.remove(&waiter);
        if waiters.is_empty() {
            self.0 = None;
        }
        reply
    }
}

impl Entry {
    /// The generation of the token that a member got last.
    pub(crate) fn generation(&self, member: u16) -> u64 {
        let held = self.lifecycle.held().nth(usize::from(member)).flatten();
        held.map_or(0, |held| held.generation)
    }

    /// Whether the authorization server has yet to confirm the client's secret: a token would have
    /// been its word.
    pub(crate) fn is_unverified(&self) -> bool {
        self.shared.settings.load().unverified && self.shared.generation() == 0
    }

    pub(crate) fn answer(&mut self, waiter: WaiterId, verdict: Verdict) {
        let Some(reply) = self.waiters.remove(waiter) else { return };
        let answer = match verdict {
            Verdict::Serve { member } => match self.shared.slot(member) {
                Some(token) => Ok(Some(token)),
                None => Err(NoToken::stopped()),
            },
            Verdict::Keep => Ok(None),
            Verdict::Failed(failure) => Err(NoToken::new(failure, self.shared.last_error())),
        };
        // The caller may have gone; what it waited for is kept all the same.
        let _ = reply.send(answer);
    }

    pub(crate) fn tell_status(&mut self, news: &broadcast::Sender<News>) {
        let status = self.lifecycle.status();
        let before = self.shared.set_status(status);
        if before == status {
            return;
        }
        let name = self.shared.settings.load().name.to_string();
        if before.state != status.state {
            tracing::info!(credential = %name, state = %status.state, "state");
        }
        // Nobody has to listen.
        let _ = news.send(News::Status { name, status });
    }
}
