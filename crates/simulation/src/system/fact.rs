//! What truly happened, told to the checkers by the world; no process knows all of it.

use std::time::Duration;

use bellwether_lifecycle::renewal::{Change, Source};
use bellwether_lifecycle::{Cause, State, Timestamp};

use super::store::{Lease, Row};

/// A process and one of its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) incarnation: u32,
    pub(super) credential: usize,
}

/// What a process had in hand when it sent a refresh token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dispatch {
    pub(super) request: usize,
    /// The refresh token, if one was sent.
    pub(super) token: Option<u64>,
    /// The lease that it was sent under.
    pub(super) fence: u64,
    /// When it was looked whether it is too late, and when it left.
    pub(super) checked_at: Timestamp,
    pub(super) left_at: Timestamp,
    /// The row of that moment holds this very request's intent.
    pub(super) has_intent: bool,
    /// The row of that moment says that the token may be spent.
    pub(super) has_doubt: bool,
    /// When the last token ends that this process could give to callers.
    pub(super) usable_until: Timestamp,
    /// The row is older than one before, and nobody could tell here.
    pub(super) is_blind: bool,
    /// Since when the token may be spent, as this process reads the row.
    pub(super) doubt_since: Option<Timestamp>,
    /// A wall clock is off by more than networks leave.
    pub(super) clocks_are_wrong: bool,
    /// The escrow of this machine has what came after the token.
    pub(super) escrow_knows_better: bool,
    /// Room for the answer was made.
    pub(super) has_room: bool,
    /// The row marks the token as refused.
    pub(super) is_refused: bool,
    /// An answer this process read before is nowhere durable.
    pub(super) owes: bool,
}

/// What happened. The trace shows all of it, the checkers mind what they need.
#[allow(dead_code, reason = "the trace shows every field")]
#[allow(clippy::large_enum_variant, reason = "a fact lives as long as it is told")]
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact {
    /// Faults come from now on, or come no more.
    Storm(bool),
    Started {
        node: usize,
    },
    Killed {
        node: usize,
    },
    /// A request left its process.
    Sent {
        place: Place,
        dispatch: Dispatch,
    },
    /// The server processed it; `spent` if it made a new pair.
    Processed {
        credential: usize,
        request: usize,
        token: Option<u64>,
        spent: bool,
    },
    /// The server told to wait, and the process read it.
    ToldToWait {
        place: Place,
        wait: Duration,
    },
    /// The server refused a refresh token.
    Refused {
        credential: usize,
        token: u64,
    },
    /// An answer is durable in an escrow.
    Kept {
        credential: usize,
        request: usize,
        carries: bool,
    },
    /// An answer is not in the escrow, and the process knows.
    NotKept {
        request: usize,
    },
    /// The process begins to read an answer; `durable` if what it must not lose is safe.
    Read {
        request: usize,
        carries: bool,
    },
    /// A lease was granted while `before` was not given back.
    Leased {
        place: Place,
        fence: u64,
        before: Option<(Lease, bool)>,
        asked: Duration,
    },
    /// A lease was given back.
    Released {
        place: Place,
        is_own: bool,
    },
    /// A row was written.
    Saved {
        place: Place,
        fence: u64,
        /// The fence of the key's lease, if there is one.
        lease: Option<u64>,
        change: Change,
        before: Option<Row>,
        after: Row,
        presented: Option<u64>,
        /// Whether the row was older than one before.
        fell_back: bool,
    },
    /// The last durable copy of a refresh token that the server takes was given up.
    GivenUp {
        credential: usize,
        token: u64,
    },
    /// A process has a new token for its callers.
    Published {
        /// Generations are counted twice where a store fell back and machines do not know of each
        /// other's.
        is_forked: bool,
        place: Place,
        generation: u64,
        serial: u64,
        owner: usize,
        source: Source,
        durable: bool,
    },
    Withdrawn {
        place: Place,
    },
    /// A renewal told its process of a failure.
    Failed {
        place: Place,
        cause: Cause,
        in_doubt: bool,
        /// A request of this renewal may have been processed, and its answer was not read.
        unheard: bool,
        /// The failure was met by others with another client secret.
        foreign: bool,
        state: State,
    },
    /// The state changed.
    Became {
        place: Place,
        state: State,
    },
    /// A person authorised again, or changed the configuration.
    Reconfigured {
        node: usize,
        credential: usize,
    },
    /// A caller got a token.
    Served {
        place: Place,
        owner: usize,
        ends_at: Timestamp,
        tolerance: Duration,
        withdrawn: bool,
        just_granted: bool,
    },
    /// A caller got none, and a token was held that serves until then.
    TurnedAway {
        place: Place,
        usable_until: Option<Timestamp>,
    },
    /// A caller was to be answered at `until` and was not.
    Forgotten {
        place: Place,
        until: Timestamp,
    },
    /// How a process and its credential do, long after the last fault.
    Looked {
        place: Place,
        look: Look,
    },
}

/// What is found after the last fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) state: State,
    pub(super) has_token: bool,
    /// Something that the server takes is kept where it can be found.
    pub(super) recoverable: bool,
    /// It waits, as it was told to.
    pub(super) may_wait: bool,
    /// Nothing that the system knows of explains why the grant was lost.
    pub(super) lost_for_no_reason: bool,
}
