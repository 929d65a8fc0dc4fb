//! The way to an API's limit: at once where there is room, else in turn.

use crate::budget::{Budget, Take};
use crate::fair::{CallerId, Capacity, FairQueue, Joined, Place};
use crate::time::Timestamp;

/// A pool's budget, and who waits for it.
#[derive(Clone, Debug)]
pub struct Turnstile {
    /// What may be spent.
    pub budget: Budget,
    queue: FairQueue,
}

/// What a request is told that wants to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Send it with this member's token.
    Spend {
        /// The pool member.
        member: u16,
    },
    /// It has a place in the queue; where there was none, another has lost its own.
    Queued {
        /// Its place.
        place: Place,
        /// Whose last request goes without.
        displaced: Option<Place>,
    },
    /// Its turn would not come in time, or too many wait: then is a good time to ask again.
    Refused(Timestamp),
    /// No token is held.
    Empty,
}

/// What becomes of those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This one goes now, with this member's token.
    Go(Place, u16),
    /// Nobody goes before then.
    Wait(Timestamp),
    /// No token is held; whoever waits is to ask for one.
    Empty,
    /// Nobody waits.
    Nobody,
}

impl Turnstile {
    /// Nobody waits yet.
    pub fn new(budget: Budget, capacity: Capacity) -> Self {
        Self { budget, queue: FairQueue::new(capacity) }
    }

    /// A request of `caller` wants to spend, and can wait until `until`.
    pub fn enter(&mut self, now: Timestamp, caller: CallerId, until: Timestamp) -> Entry {
        let wait = match self.queue.is_empty() {
            true => self.budget.take(now),
            // Nobody overtakes.
            false => Take::Wait(now),
        };
        match wait {
            Take::Spend { member } => Entry::Spend { member },
            Take::Empty => Entry::Empty,
            Take::Wait(opens) if opens > until => Entry::Refused(self.turn_of(caller, now)),
            Take::Wait(_) => self.join(now, caller, until),
        }
    }

    fn join(&mut self, now: Timestamp, caller: CallerId, until: Timestamp) -> Entry {
        let places = self.queue.ahead_of(caller) as u64 + 1;
        let has_room = self.budget.left(until).is_none_or(|left| left >= places);
        // Where spans are short, room comes more than once.
        if !has_room {
            let turn = self.budget.opens_for(places, now);
            if turn > until {
                return Entry::Refused(turn);
            }
        }
        match self.queue.join(caller) {
            Joined::At(place) => Entry::Queued { place, displaced: None },
            Joined::InPlaceOf(place, other) => Entry::Queued { place, displaced: Some(other) },
            Joined::Full => Entry::Refused(self.turn_of(caller, now)),
        }
    }

    /// When a request of `caller` that came now would have its turn.
    pub fn turn_of(&self, caller: CallerId, now: Timestamp) -> Timestamp {
        self.budget.opens_for(self.queue.ahead_of(caller) as u64 + 1, now)
    }

    /// Whose turn it is.
    pub fn next(&mut self, now: Timestamp) -> Next {
        if self.queue.is_empty() {
            return Next::Nobody;
        }
        match self.budget.take(now) {
            Take::Spend { member } => match self.queue.pop() {
                Some(place) => Next::Go(place, member),
                None => Next::Nobody,
            },
            Take::Wait(opens) => Next::Wait(opens),
            Take::Empty => Next::Empty,
        }
    }

    /// Who has the next turn, whatever there is to spend; it waits no more.
    pub fn pop(&mut self) -> Option<Place> {
        self.queue.pop()
    }

    /// A request waits no more.
    pub fn leave(&mut self, caller: CallerId, place: Place) {
        self.queue.leave(caller, place);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}
