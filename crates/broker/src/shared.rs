//! What a credential's handles read without asking anybody.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bellwether_lifecycle::{Budget, CallerId, Held, PerMember, Status, Timestamp, UnixTime};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::sleep;

use crate::error::RenewalError;
use crate::gate::{Gate, Pass};
use crate::settings::Credential;
use crate::surroundings::Surroundings;
use crate::token::Token;

/// Names a credential inside a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CredentialId(pub(crate) u64);

/// Written by the scheduler, read by everyone.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: CredentialId,
    pub(crate) settings: ArcSwap<Credential>,
    surroundings: Arc<Surroundings>,
    slots: PerMember<ArcSwapOption<Token>>,
    /// Somebody took a token since the scheduler last looked.
    used: AtomicBool,
    generation: AtomicU64,
    turn: AtomicU32,
    status: Mutex<Status>,
    rare: OnceLock<Box<Rare>>,
    pub(crate) counters: Counters,
}

/// What few credentials ever need; made when one does.
#[derive(Debug, Default)]
struct Rare {
    /// Before the API's limit, once one is known.
    gate: OnceLock<Box<Gate>>,
    /// Answers tell of a limit, and one that tells of none is news.
    is_told: AtomicBool,
    last_error: ArcSwapOption<RenewalError>,
    checking: tokio::sync::Mutex<()>,
    published: Notify,
    /// Tokens that were replaced a moment ago, for an API that does not know their successors yet.
    replaced: Mutex<Vec<Arc<Token>>>,
}

/// An API may refuse a token for so long after its issue, until word of it has spread.
const SPREADS_WITHIN: Duration = Duration::from_secs(5);

/// What happened to a credential since it was added. They start again after 2³² - 1.
#[derive(Debug, Default)]
pub struct Counters {
    /// Token requests that were sent.
    pub token_requests: AtomicU32,
    /// Token responses that were accepted, from the server or from another process.
    pub renewals: AtomicU32,
    /// Renewals another process had done.
    pub adopted: AtomicU32,
    /// Renewals that failed.
    pub failures: AtomicU32,
    /// Renewals a refused token forced.
    pub forced: AtomicU32,
    /// Callers that had to wait for a token.
    pub waited: AtomicU32,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU32) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(
        id: CredentialId,
        settings: Arc<Credential>,
        surroundings: Arc<Surroundings>,
        status: Status,
    ) -> Self {
        let rare = settings.quota.map_or_else(OnceLock::new, |quota| {
            let gate = Box::new(Gate::new(Some(quota), settings.pool)).into();
            Box::new(Rare { gate, ..Rare::default() }).into()
        });
        Self {
            id,
            surroundings,
            slots: (0..settings.pool.max(1)).map(|_| ArcSwapOption::empty()).collect(),
            settings: ArcSwap::new(settings),
            used: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            turn: AtomicU32::new(0),
            status: Mutex::new(status),
            rare,
            counters: Counters::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.surroundings.clock.now()
    }

    pub(crate) fn wall(&self) -> UnixTime {
        self.surroundings.clock.wall()
    }

    pub(crate) fn slots(&self) -> &[ArcSwapOption<Token>] {
        &self.slots
    }

    /// Held by whoever checks whether a token still lives.
    pub(crate) fn checking(&self) -> &tokio::sync::Mutex<()> {
        &self.rare.get_or_init(Box::default).checking
    }

    /// Whoever has called this and looks at the slots then either finds a token there or is told
    /// of it.
    pub(crate) fn published(&self) -> Notified<'_> {
        let published = self.rare.get_or_init(Box::default).published.notified();
        fence(Ordering::SeqCst);
        published
    }

    /// Where to start looking, so that a pool's tokens take turns.
    pub(crate) fn next_turn(&self) -> usize {
        match self.slots.len() {
            0 | 1 => 0,
            count => self.turn.fetch_add(1, Ordering::Relaxed) as usize % count,
        }
    }

    pub(crate) fn slot(&self, member: u16) -> Option<Arc<Token>> {
        self.slots.get(usize::from(member))?.load_full()
    }

    /// From now on this is the member's token, `gained` generations after the one before. Called by
    /// the scheduler alone.
    pub(crate) fn publish(self: &Arc<Self>, token: Token, gained: u64) {
        let member = token.member();
        let generation = self.generation.fetch_add(gained, Ordering::Relaxed) + gained;
        let (held, is_inherited) = (*token.held(), token.is_inherited());
        if let Some(slot) = self.slots.get(usize::from(member)) {
            let replaced = slot.swap(Some(Arc::new(token.numbered(generation))));
            self.keep_for_a_while(replaced);
        }
        // After the slot: what may be spent can be found there. Whoever makes a gate now either
        // finds it there, too, or is seen here.
        fence(Ordering::SeqCst);
        self.with_budget(|budget| match is_inherited {
            true => budget.inherit(member, held.generation, held.sent_at, self.now()),
            false => budget.publish(member, Some(held.generation)),
        });
        // Either the listener is seen here, or what is in the slot is seen there.
        fence(Ordering::SeqCst);
        if let Some(rare) = self.rare.get() {
            rare.published.notify_waiters();
        }
    }

    /// What the API took until now serves while its successor becomes known there.
    fn keep_for_a_while(self: &Arc<Self>, token: Option<Arc<Token>>) {
        let now = self.now();
        let serves = |token: &Arc<Token>| {
            let is_good = token.accepted_sent_at().is_some() && !token.is_refused();
            is_good && token.held().is_alive(now)
        };
        let Some(token) = token.filter(serves) else { return };
        self.replaced(&self.rare.get_or_init(Box::default).replaced).push(Arc::clone(&token));
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(SPREADS_WITHIN).await;
            if let Some(shared) = shared.upgrade() {
                shared.forget_replaced(&token);
            }
        });
    }

    /// The token that this one replaced a moment ago, if it still serves.
    pub(crate) fn before(&self, token: &Token) -> Option<Arc<Token>> {
        let replaced = self.replaced(&self.rare.get()?.replaced);
        let is_before = |known: &&Arc<Token>| {
            known.member() == token.member() && known.held().generation < token.held().generation
        };
        let before = replaced.iter().rev().find(is_before)?;
        before.held().is_alive(self.now()).then(|| Arc::clone(before))
    }

    /// A replaced token serves no more.
    pub(crate) fn forget_replaced(&self, token: &Token) {
        if let Some(rare) = self.rare.get() {
            let is_it = |known: &Arc<Token>| {
                known.member() == token.member()
                    && known.held().generation == token.held().generation
            };
            self.replaced(&rare.replaced).retain(|known| !is_it(known));
        }
    }

    fn replaced<'a>(
        &self,
        replaced: &'a Mutex<Vec<Arc<Token>>>,
    ) -> MutexGuard<'a, Vec<Arc<Token>>> {
        replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member's token goes to nobody any more.
    pub(crate) fn withdraw(&self, member: u16) {
        self.with_budget(|budget| budget.publish(member, None));
        if let Some(slot) = self.slots.get(usize::from(member)) {
            slot.store(None);
        }
        // Nor does the one before it, which may have been asked for otherwise.
        if let Some(rare) = self.rare.get() {
            self.replaced(&rare.replaced).retain(|known| known.member() != member);
        }
    }

    /// The member's token was found ended: it is spent no more, unless a new one came meanwhile.
    pub(crate) fn stop_spending(&self, member: u16, now: Timestamp) {
        self.with_budget(|budget| {
            if !self.slot(member).is_some_and(|token| token.held().is_alive(now)) {
                budget.publish(member, None);
            }
        });
    }

    pub(crate) fn status(&self) -> Status {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the scheduler alone; gives back what it was.
    pub(crate) fn set_status(&self, status: Status) -> Status {
        let mut known = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *known, status)
    }

    pub(crate) fn last_error(&self) -> Option<Arc<RenewalError>> {
        self.rare.get()?.last_error.load_full()
    }

    /// Called by the scheduler alone.
    pub(crate) fn set_last_error(&self, error: Option<Arc<RenewalError>>) {
        if error.is_some() || self.rare.get().is_some() {
            self.rare.get_or_init(Box::default).last_error.store(error);
        }
    }

    pub(crate) fn note_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// The way to the API's limit; none where no limit is known.
    pub(crate) fn gate(&self) -> Option<&Gate> {
        Some(self.rare.get()?.gate.get()?)
    }

    /// The same, made where there is none: an answer told of a limit.
    pub(crate) fn make_gate(&self) -> &Gate {
        let rare = self.rare.get_or_init(Box::default);
        if let Some(gate) = rare.gate.get() {
            return gate;
        }
        let count = u16::try_from(self.slots.len()).unwrap_or(u16::MAX);
        let gate = rare.gate.get_or_init(|| Box::new(Gate::new(None, count)));
        // Either what is in a slot is seen here, or the gate is seen by who puts it there.
        fence(Ordering::SeqCst);
        gate.change(|budget| {
            for (member, held) in (0_u16..).zip(self.held()) {
                budget.publish(member, held.map(|held| held.generation));
            }
        });
        gate
    }

    /// One API request of `caller` wants to go; `None` where no limit is known.
    pub(crate) fn enter(
        self: &Arc<Self>,
        caller: CallerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Option<Pass> {
        Some(self.gate()?.enter(self, caller, now, until))
    }

    pub(crate) fn with_budget<R>(&self, change: impl FnOnce(&mut Budget) -> R) -> Option<R> {
        Some(self.gate()?.change(change))
    }

    /// Whether an answer that tells of no limit is news.
    pub(crate) fn is_told(&self) -> bool {
        self.rare.get().is_some_and(|rare| rare.is_told.load(Ordering::Relaxed))
    }

    pub(crate) fn set_told(&self, is_told: bool) {
        if let Some(rare) = self.rare.get() {
            rare.is_told.store(is_told, Ordering::Relaxed);
        }
    }

    pub(crate) fn held(&self) -> impl Iterator<Item = Option<Held>> + '_ {
        self.slots.iter().map(|slot| slot.load().as_ref().map(|token| *token.held()))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}
