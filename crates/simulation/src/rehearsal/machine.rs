//! What a strategy is to a rehearsal: a machine that is told what happened and says what to do.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use crate::by_number::Granted;

/// A worker's number, over all processes.
pub(super) type WorkerNumber = u32;

/// An access token as workers pass it round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    /// The organisation's number for it.
    pub(super) serial: u64,
    /// The pool member it is, where there is a pool.
    pub(super) member: u16,
    /// The member's generation.
    pub(super) generation: u64,
}

impl Bearer {
    /// A token outside any pool.
    pub(super) const fn lone(serial: u64) -> Self {
        Self { serial, member: 0, generation: 0 }
    }
}

/// A worker wants a token; one that has none by `until` needs none any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub(super) worker: WorkerNumber,
    pub(super) until: Timestamp,
}

/// A request to the API that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) worker: WorkerNumber,
    pub(super) bearer: Bearer,
    pub(super) sent_at: Timestamp,
}

/// A token request that was answered, or never will be.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoginAnswer {
    /// The machine's own, from [`Order::LogIn`].
    pub(super) tag: u64,
    pub(super) sent_at: Timestamp,
    pub(super) outcome: Result<Granted, NoLogin>,
}

/// What a worker gets that wants a token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Send the request with this one.
    Use(Bearer),
    /// There is none: try again after so long, or after a pause of its own.
    None { retry_after: Option<Duration> },
    /// 429, without a request to the API.
    Throttled { retry_after: Duration },
    /// Wait until told.
    Wait,
}

/// What a worker does that was refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// It sees the refusal, pauses for so long or as it sees fit, and tries again.
    Seen { retry_after: Option<Duration> },
    /// It sees the refusal and waits until told; then it pauses and tries again.
    SeenAndWaits,
    /// It sees nothing: a cure is under way, and it waits until told.
    Unseen,
    /// It sees nothing: the request is sent once more.
    Again(Bearer),
}

/// Why a login gave no token.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoLogin {
    /// The status code; `None` if no whole answer came.
    pub(super) status: Option<u16>,
    /// `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// The server says that there are too many, in whatever words.
    pub(super) throttled: bool,
}

/// What a machine wants done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Send a token request after so long; the machine hears of it under this tag.
    LogIn { tag: u64, delay: Duration },
    /// A waiting worker goes on.
    Resume(WorkerNumber),
    /// A waiting worker goes on then, unless it has before.
    ResumeAt(WorkerNumber, Timestamp),
    /// A waiting worker gets no token, or its refusal stands.
    Fail(WorkerNumber, Option<Duration>),
    /// Tell this process that time passed; replaces what it asked for before.
    WakeAt(u32, Timestamp),
}

/// Orders, in the order to carry out.
pub(super) type Orders = Vec<Order>;

/// A strategy. It holds the state of all its processes.
pub(super) trait Machine {
    /// Whether workers see nothing of what the token endpoint says to whoever logs in.
    const SHIELDS: bool = false;

    /// A worker wants a token.
    fn ask(&mut self, now: Timestamp, want: Want, orders: &mut Orders) -> Access;

    /// The API took the token.
    fn accepted(&mut self, _now: Timestamp, _call: Call, _orders: &mut Orders) {}

    /// The API answered 401.
    fn refused(&mut self, now: Timestamp, call: Call, orders: &mut Orders) -> Refusal;

    /// The API answered 429. By default the worker does as it is asked.
    fn throttled(&mut self, _now: Timestamp, _call: Call, retry_after: Duration) -> Refusal {
        Refusal::Seen { retry_after: Some(retry_after) }
    }

    /// A token request gave a token, or none.
    fn login_answered(&mut self, now: Timestamp, answer: LoginAnswer, orders: &mut Orders);

    /// How many processes there are that ask to be woken; each is, when the rehearsal begins.
    fn sleepers(&self) -> u32 {
        0
    }

    /// The time came that a process asked for.
    fn woken(&mut self, _now: Timestamp, _process: u32, _orders: &mut Orders) {}
}

/// A token as its owner sees it, counted from the answer, as everybody does: a little too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    bearer: Bearer,
    expires_at: Timestamp,
}

impl Own {
    pub(super) fn new(now: Timestamp, granted: Granted) -> Self {
        let expires_at = granted.expires_in.map_or(Timestamp::NEVER, |lifetime| now + lifetime);
        Self { bearer: Bearer::lone(granted.serial), expires_at }
    }

    pub(super) fn is(&self, bearer: Bearer) -> bool {
        self.bearer == bearer
    }

    /// What to send, until its owner sees it expired.
    pub(super) fn unexpired(self, now: Timestamp) -> Option<Bearer> {
        (now < self.expires_at).then_some(self.bearer)
    }
}
