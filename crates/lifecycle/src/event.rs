//! What goes into a [`Lifecycle`](crate::Lifecycle) and what comes out.

use std::time::Duration;

use crate::failure::Failure;
use crate::lead::Held;
use crate::time::Timestamp;

/// Names a waiting caller; chosen by whoever passes the event in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// What a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A token to send now: any that has not ended.
    Use,
    /// A token to keep for a while: none in the last part of its life while renewals succeed.
    HandOut,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A caller found no token it could take by itself and waits, at most until `until`.
    Asked {
        /// The caller.
        waiter: WaiterId,
        /// What for.
        need: Need,
        /// When it must be answered.
        until: Timestamp,
    },
    /// Callers took tokens by themselves since the last such event.
    Used,
    /// The resource server refused the token of `generation`, says a caller that waits for a cure.
    Refused {
        /// The caller.
        waiter: WaiterId,
        /// The pool member whose token it was.
        member: u16,
        /// The token's generation.
        generation: u64,
        /// The API took the same token in a request sent after the refused one.
        accepted_since: bool,
        /// When the caller must be answered.
        until: Timestamp,
    },
    /// A request that had been refused was replayed with this token, and is refused again: the
    /// refusal stands, and no caller waits.
    ReplayRefused {
        /// The pool member whose token it was.
        member: u16,
        /// The token's generation.
        generation: u64,
    },
    /// The resource server took the token of `generation`, or a check found it good; the first
    /// time is enough.
    Accepted {
        /// The pool member whose token it was.
        member: u16,
        /// The token's generation.
        generation: u64,
    },
    /// A caller that can say nothing else asks for a token with `Cache-Control: no-cache`.
    NoCache {
        /// The caller.
        waiter: WaiterId,
        /// When it must be answered.
        until: Timestamp,
    },
    /// A held token was checked and is no longer good.
    FoundDead {
        /// The pool member whose token it was.
        member: u16,
        /// The token's generation.
        generation: u64,
    },
    /// Every token is to be renewed now: an operator wants it, or what was found is in doubt.
    Renew,
    /// The secret, the refresh token or the configuration changed: what stopped may start again.
    Reconfigured,
    /// The store held this token when we started. Renewals begin with the next event, so that all
    /// members can be restored before.
    Restored {
        /// The pool member.
        member: u16,
        /// What is known of its token.
        held: Held,
    },
    /// The renewal that was asked for gave this token, from the server or from another holder.
    Granted {
        /// The pool member.
        member: u16,
        /// What is known of its token.
        held: Held,
    },
    /// Another holder is renewing: look again after a while.
    Elsewhere {
        /// The pool member.
        member: u16,
        /// How long.
        retry_after: Duration,
    },
    /// The renewal that was asked for failed.
    Failed {
        /// The pool member.
        member: u16,
        /// How.
        failure: Failure,
        /// Since when a request may have spent the grant, with no answer kept.
        doubt_since: Option<Timestamp>,
    },
    /// Time passed.
    Woken,
}

/// Something to carry out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Renew this member's token, and report `Granted`, `Elsewhere` or `Failed`.
    Renew {
        /// The pool member.
        member: u16,
        /// When the token is missed: the earlier, the more urgent.
        urgency: Timestamp,
    },
    /// From now on this is the member's token; precedes any answer that names it.
    Publish {
        /// The pool member.
        member: u16,
        /// What is known of its token.
        held: Held,
    },
    /// The member's token is no longer to be given to anyone.
    Withdraw {
        /// The pool member.
        member: u16,
    },
    /// Answer this caller.
    Answer {
        /// The caller.
        waiter: WaiterId,
        /// With what.
        verdict: Verdict,
    },
    /// Pass [`Event::Woken`] in then.
    WakeAt(Timestamp),
}

/// What a waiting caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take this member's published token.
    Serve {
        /// The pool member.
        member: u16,
    },
    /// The refusal stands: no newer token would cure it.
    Keep,
    /// There is no token to be had.
    Failed(Failure),
}
