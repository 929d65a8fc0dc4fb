//! The doors before authorization servers, and the visitors who come for one request.
//!
//! Renewals and exchanged refresh tokens go through the same door, so that an outage or a vendor's
//! limit on logins is met once, whoever asks.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bellwether_lifecycle::{Admission, Allowance, Backoff, Chance, Settled, Ticket, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::command::Command;
use crate::settings::AuthorizationServer;

/// For all secrets that an authorization server has yet to confirm.
const UNVERIFIED: Allowance = Allowance { per_second: 5.0, burst: 50 };

/// A door before an authorization server; unproven secrets have one of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DoorId {
    token_endpoint: String,
    unverified: bool,
}

/// Somebody who may make one request; has left when this is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    commands: mpsc::WeakUnboundedSender<Command>,
    door: Arc<DoorId>,
    ticket: Ticket,
    settled: Settled,
}

impl Visit {
    /// Says how the request ended; without it none was sent.
    pub(crate) fn settle(&mut self, settled: Settled) {
        self.settled = settled;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let (door, ticket) = (Arc::clone(&self.door), self.ticket);
        if let Some(commands) = self.commands.upgrade() {
            // A broker that has stopped has no doors.
            let _ = commands.send(Command::Leave { door, ticket, settled: self.settled });
        }
    }
}

/// Who waits at the doors of one broker.
pub(crate) struct Doors {
    doors: HashMap<Arc<DoorId>, Admission>,
    /// Makes numbers of client identifiers for the doors, without keeping them.
    client_numbers: RandomState,
    visitors: HashMap<Ticket, oneshot::Sender<Visit>>,
    /// Weak: the scheduler is to end when nobody else is left.
    commands: mpsc::WeakUnboundedSender<Command>,
    next_ticket: u64,
}

impl Doors {
    pub(crate) fn new(commands: mpsc::WeakUnboundedSender<Command>) -> Self {
        Self {
            doors: HashMap::new(),
            client_numbers: RandomState::new(),
            visitors: HashMap::new(),
            commands,
            next_ticket: 0,
        }
    }

    /// Somebody wants in. Unproven clients come without a name: they share one small allowance.
    pub(crate) fn want(
        &mut self,
        server: &AuthorizationServer,
        client: Option<&str>,
        urgency: Timestamp,
    ) -> (Arc<DoorId>, Ticket) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let (number, allowance) = match client {
            Some(client) => (self.client_numbers.hash_one(client), server.allowance),
            None => (u64::MAX, UNVERIFIED),
        };
        let token_endpoint = server.token_endpoint.to_string();
        let door = DoorId { token_endpoint, unverified: client.is_none() };
        let door = match self.doors.get_key_value(&door) {
            Some((known, _)) => Arc::clone(known),
            None => {
                let door = Arc::new(door);
                let admission = Admission::new(allowance, Backoff::PASSING);
                self.doors.insert(Arc::clone(&door), admission);
                door
            }
        };
        if let Some(admission) = self.doors.get_mut(&door) {
            admission.want(ticket, number, urgency);
        }
        (door, ticket)
    }

    /// A visitor wants in, and is told when it is.
    pub(crate) fn visit(
        &mut self,
        server: &AuthorizationServer,
        client: Option<&str>,
        now: Timestamp,
        reply: oneshot::Sender<Visit>,
    ) -> Arc<DoorId> {
        let (door, ticket) = self.want(server, client, now);
        self.visitors.insert(ticket, reply);
        door
    }

    /// Lets in who may go now: visitors here, renewals by whoever asks. Says when to ask again.
    pub(crate) fn admit(
        &mut self,
        door: &Arc<DoorId>,
        now: Timestamp,
    ) -> (Vec<Ticket>, Option<Timestamp>) {
        let Some(admission) = self.doors.get_mut(door) else { return (Vec::new(), None) };
        let (mut admitted, wake) = admission.admit(now);
        admitted.retain(|ticket| {
            let Some(reply) = self.visitors.remove(ticket) else { return true };
            let (commands, door) = (self.commands.clone(), Arc::clone(door));
            // One who has given up leaves by this as well.
            drop(reply.send(Visit { commands, door, ticket: *ticket, settled: Settled::NotSent }));
            false
        });
        (admitted, wake)
    }

    /// Somebody no longer wants in.
    pub(crate) fn withdraw(&mut self, door: &Arc<DoorId>, ticket: Ticket) {
        if let Some(admission) = self.doors.get_mut(door) {
            admission.withdraw(ticket);
        }
    }

    /// Somebody who was let in has left.
    pub(crate) fn settle(
        &mut self,
        now: Timestamp,
        door: &Arc<DoorId>,
        ticket: Ticket,
        settled: Settled,
        chance: &mut dyn Chance,
    ) {
        if let Some(admission) = self.doors.get_mut(door) {
            admission.settle(now, ticket, settled, chance);
        }
    }
}
