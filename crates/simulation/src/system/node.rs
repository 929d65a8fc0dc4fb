//! A process: what it keeps for each credential, its renewals under way, and what it forgets when
//! it dies.

use std::time::Duration;

use bellwether_lifecycle::renewal::{Order, Step};
use bellwether_lifecycle::{Failure, Held, Lifecycle, Renewal, State, Timestamp, WaiterId};

use super::escrow::Record;
use super::server::Response;
use super::store::{Holder, Row};
use super::world::Happening;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) machine: usize,
    /// Counts its starts.
    pub(super) incarnation: u32,
    pub(super) is_up: bool,
    pub(super) paused_until: Timestamp,
    /// What came while it was stopped.
    pub(super) deferred: Vec<Happening>,
    /// The client secret that it uses.
    pub(super) secret: u32,
    pub(super) keepers: Vec<Keeper>,
    pub(super) flights: Vec<Option<Box<Flight>>>,
}

impl Node {
    pub(super) fn new(machine: usize) -> Self {
        Self {
            machine,
            incarnation: 0,
            is_up: false,
            paused_until: Timestamp::ZERO,
            deferred: Vec::new(),
            secret: 0,
            keepers: Vec::new(),
            flights: Vec::new(),
        }
    }

    pub(super) fn flight(&mut self, id: FlightId) -> Option<&mut Flight> {
        let flight = self.flights.get_mut(id.slot)?.as_deref_mut()?;
        (flight.serial == id.serial).then_some(flight)
    }
}

/// A credential as one process keeps it.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) lifecycle: Lifecycle,
    pub(super) published: Option<Published>,
    /// What is known of the row.
    pub(super) generation: u64,
    pub(super) attempt: u64,
    pub(super) wake_at: Option<Timestamp>,
    pub(super) waiters: Vec<(WaiterId, Timestamp)>,
    pub(super) state: State,
    /// When it began, or began anew.
    pub(super) began_at: Timestamp,
    /// Its process has read the row since it started.
    pub(super) has_loaded: bool,
}

/// The token that callers take by themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    pub(super) held: Held,
    pub(super) token: Token,
    pub(super) withdrawn: bool,
    /// When it was published, and then when it was withdrawn.
    pub(super) at: Timestamp,
}

/// An access token, and how well its end is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) access: u64,
    /// Whose grant it is.
    pub(super) credential: usize,
    pub(super) tolerance: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlightId {
    pub(super) node: usize,
    pub(super) slot: usize,
    pub(super) serial: u64,
}

/// A renewal under way, with what the broker's flight has in hand.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) serial: u64,
    pub(super) credential: usize,
    pub(super) key: usize,
    pub(super) renewal: Renewal,
    pub(super) order: Order,
    pub(super) holder: Holder,
    pub(super) fence: Option<u64>,
    pub(super) step: Step,
    /// Counts what was asked for, so that an answer to something before is known as such.
    pub(super) asked: u32,
    /// The row as it is to be.
    pub(super) row: Option<Row>,
    /// What it was when the refusal came.
    pub(super) loaded: Option<Row>,
    pub(super) has_room: bool,
    /// When the row said what it is about to send.
    pub(super) intended_at: Option<Timestamp>,
    /// When it last read row and escrow.
    pub(super) loaded_at: Timestamp,
    /// When its last write was carried out.
    pub(super) saved_at: Option<Timestamp>,
    pub(super) request: Option<usize>,
    /// No answer is taken any more.
    pub(super) request_ended: bool,
    pub(super) sent_at: Timestamp,
    pub(super) presented: Option<u64>,
    pub(super) response: Option<Response>,
    pub(super) from_escrow: Option<Record>,
    /// What it met, if there was no answer.
    pub(super) met: Failure,
    /// The row's failure was met with another client secret.
    pub(super) met_by_others: bool,
    pub(super) is_published: bool,
    pub(super) is_kept: bool,
    pub(super) has_read: bool,
}

impl Flight {
    /// The refresh token that would be sent.
    pub(super) fn to_send(&self) -> Option<u64> {
        let row = self.row?;
        row.refresh.filter(|_| row.refused != row.refresh)
    }
}

/// A token request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) flight: FlightId,
    pub(super) incarnation: u32,
    pub(super) credential: usize,
    pub(super) secret: u32,
    pub(super) token: Option<u64>,
    pub(super) checked_at: Timestamp,
    /// It was processed and may have spent the token.
    pub(super) spent: bool,
    pub(super) answer: Answered,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Nothing,
    NotSent,
    Reset,
    With(Response),
}
