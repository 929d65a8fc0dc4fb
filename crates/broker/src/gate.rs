//! Requests before an API's limit: at once where there is room, else in turn.
//!
//! Whoever finds room takes one lock and goes. Those who wait are served by one task that lives
//! while somebody does: it alone sleeps until there is room, and wakes whose turn it is. So nobody
//! is woken in vain, and a caller that goes away takes only its own place with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_lifecycle::{
    Budget, CallerId, Capacity, Entry, Next, Place, Quota, Timestamp, Turnstile,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use crate::shared::Shared;

/// Timers stand still while the machine sleeps; so look at the clock at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Gate {
    inner: Mutex<Inner>,
    /// There may be room earlier than thought.
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    turnstile: Turnstile,
    waiting: BTreeMap<Place, oneshot::Sender<Turn>>,
    is_served: bool,
}

/// What a request is told that wants to spend.
pub(crate) enum Pass {
    /// Send it with this member's token.
    Spend(u16),
    /// It waits.
    Wait(Waiting),
    /// Then is a good time to ask again.
    Refused(Timestamp),
    /// No token is held.
    Empty,
}

/// What one that waits is told.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Go {
        member: u16,
        generation: Option<u64>,
    },
    /// No token is held any more.
    Again,
    /// Another took its place.
    Displaced,
}

/// How waiting ended.
pub(crate) enum Waited {
    /// Send it with this member's token.
    Spend(u16),
    /// Ask anew.
    Again,
    /// Then is a good time to ask again.
    Refused(Timestamp),
}

/// A place in the queue, given up when this is dropped.
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    caller: CallerId,
    place: Place,
    turn: oneshot::Receiver<Turn>,
}

impl Gate {
    pub(crate) fn new(quota: Option<Quota>, members: u16) -> Self {
        let turnstile = Turnstile::new(Budget::new(quota, members), Capacity::DEFAULT);
        let inner = Inner { turnstile, waiting: BTreeMap::new(), is_served: false };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, now: Timestamp) -> Option<Duration> {
        self.lock().serve(now)
    }

    /// Changes the budget; if there may be more room after that, those who wait hear of it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Budget) -> R) -> R {
        let mut inner = self.lock();
        let changed = change(&mut inner.turnstile.budget);
        if inner.is_served {
            self.changed.notify_one();
        }
        changed
    }

    /// A request of `caller` wants to spend, and can wait until `until`.
    pub(crate) fn enter(
        &self,
        shared: &Arc<Shared>,
        caller: CallerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Pass {
        let mut inner = self.lock();
        let (place, displaced) = match inner.turnstile.enter(now, caller, until) {
            Entry::Spend { member } => return Pass::Spend(member),
            Entry::Refused(at) => return Pass::Refused(at),
            Entry::Empty => return Pass::Empty,
            Entry::Queued { place, displaced } => (place, displaced),
        };
        if let Some(other) = displaced.and_then(|other| inner.waiting.remove(&other)) {
            // It may have gone.
            let _ = other.send(Turn::Displaced);
        }
        let (told, turn) = oneshot::channel();
        inner.waiting.insert(place, told);
        if !std::mem::replace(&mut inner.is_served, true) {
            tokio::spawn(serve(Arc::clone(shared)));
        }
        Pass::Wait(Waiting { shared: Arc::clone(shared), caller, place, turn })
    }
}

/// Lets in whose turn it is, until nobody waits.
async fn serve(shared: Arc<Shared>) {
    let Some(gate) = shared.gate() else { return };
    while let Some(pause) = gate.serve(shared.now()) {
        tokio::select! {
            () = gate.changed.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

impl Inner {
    /// Lets in who may go, and says when to look again; not at all if nobody waits.
    fn serve(&mut self, now: Timestamp) -> Option<Duration> {
        loop {
            match self.turnstile.next(now) {
                Next::Go(place, member) => self.let_in(place, member),
                Next::Wait(opens) => return Some(now.until(opens).min(LONGEST_SLEEP)),
                Next::Empty => {
                    while let Some(place) = self.turnstile.pop() {
                        self.tell(place, Turn::Again);
                    }
                    break;
                }
                Next::Nobody => break,
            }
        }
        self.is_served = false;
        None
    }

    /// Lets in this one, or the next if it has gone.
    fn let_in(&mut self, place: Place, member: u16) {
        let generation = self.turnstile.budget.generation(member);
        let mut next = Some(place);
        while let Some(place) = next {
            if self.tell(place, Turn::Go { member, generation }) {
                return;
            }
            next = self.turnstile.pop();
        }
        if let Some(generation) = generation {
            self.turnstile.budget.give_back(member, generation);
        }
    }

    fn tell(&mut self, place: Place, turn: Turn) -> bool {
        self.waiting.remove(&place).is_some_and(|waiting| waiting.send(turn).is_ok())
    }
}

impl Waiting {
    /// Waits for its turn, so long at most.
    pub(crate) async fn turn(mut self, patience: Duration) -> Waited {
        let turn = match timeout(patience, &mut self.turn).await {
            Ok(turn) => turn.ok(),
            Err(_) => self.turn.try_recv().ok(),
        };
        match turn {
            Some(Turn::Go { member, .. }) => Waited::Spend(member),
            Some(Turn::Again) => Waited::Again,
            Some(Turn::Displaced) | None => {
                let (now, gate) = (self.shared.now(), self.shared.gate());
                let turn_of = |gate: &Gate| gate.lock().turnstile.turn_of(self.caller, now);
                Waited::Refused(gate.map_or(now, turn_of))
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(gate) = self.shared.gate() else { return };
        let mut inner = gate.lock();
        inner.turnstile.leave(self.caller, self.place);
        inner.waiting.remove(&self.place);
        // Its turn had come, and nobody was there any more to take it.
        if let Ok(Turn::Go { member, generation: Some(generation) }) = self.turn.try_recv() {
            inner.turnstile.budget.give_back(member, generation);
            gate.changed.notify_one();
        }
    }
}
