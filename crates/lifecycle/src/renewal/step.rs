//! What a renewal does next, and what that came to.

use std::time::Duration;

use crate::failure::Failure;
use crate::lead::Held;
use crate::renewal::found::{Answer, Escrowed, Grant, Recorded};
use crate::time::Timestamp;

/// What to do next; carry it out and tell [`Renewal::next`] what it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take the lease, for [`Order::lease`].
    Acquire,
    /// Read the row, and the escrow.
    Load,
    /// Make room in the escrow for the answer.
    Reserve,
    /// Write the row under the lease.
    Save(Change),
    /// Send the request, unless it would leave later than this.
    Send {
        /// The last moment.
        not_after: Timestamp,
    },
    /// Append the answer to the escrow, before it is read.
    Escrow,
    /// Read the answer.
    Read,
    /// Tell how the renewal ended. Comes once.
    Publish(Outcome),
    /// Come back later: the token serves already, and the store does not take it yet.
    Wait(Duration),
    /// Give the lease back.
    Release,
    /// Nothing is left to do.
    End,
}

/// What the row is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A request is about to be sent.
    Intent {
        /// Its number.
        attempt: u64,
        /// Since when an earlier one may have spent the refresh token.
        doubt_since: Option<Timestamp>,
    },
    /// It was not sent after all.
    Unsent,
    /// The token in hand, and its refresh token.
    Accept {
        /// The generation that begins with it.
        generation: u64,
        /// Where it comes from.
        source: Source,
        /// Since when a request may have spent the new refresh token, if the row lost word of it.
        doubt_since: Option<Timestamp>,
    },
    /// The failure in hand.
    Fail {
        /// The row's generation from now on.
        generation: u64,
        /// Whose answer it is.
        source: Source,
        /// Whether the refresh token that was sent is refused for good.
        refused: bool,
        /// Since when a request may have spent the refresh token: the new one, if one came.
        doubt_since: Option<Timestamp>,
    },
    /// The store may have lost what came after this row.
    Doubt {
        /// The row's generation, as it is.
        generation: u64,
        /// The number under which others hear of it.
        attempt: u64,
        /// Since when.
        since: Timestamp,
    },
}

impl Change {
    /// Whose answer it is about; the row's own, if about none.
    pub fn source(self) -> Source {
        match self {
            Self::Accept { source, .. } | Self::Fail { source, .. } => source,
            Self::Intent { .. } | Self::Unsent | Self::Doubt { .. } => Source::Row,
        }
    }
}

/// Where a token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The answer to this renewal's request.
    Server,
    /// The escrow.
    Escrow,
    /// The row, and so another process.
    Row,
}

/// How a renewal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a newer token.
    Granted {
        /// What is known of it.
        held: Held,
        /// Where it comes from.
        source: Source,
    },
    /// Another holder is at it, or was in the way.
    Elsewhere {
        /// When to look again.
        retry_after: Duration,
    },
    /// There is none.
    Failed {
        /// How.
        failure: Failure,
        /// Since when a request may have spent the refresh token.
        doubt_since: Option<Timestamp>,
        /// Who met the failure.
        met: Meeting,
    },
}

/// Who met a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// The request, or the step that just failed.
    Here,
    /// Another process, which left word of it in the row.
    Row,
    /// Another process, whose answer is in the escrow.
    Escrow,
    /// Nobody: an intent without an answer was found.
    Unheard,
    /// Nobody: the store is an older copy of itself.
    Restored,
    /// Nobody: there is nothing to ask with.
    Nothing(Grant),
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The lease is ours.
    Leased {
        /// Until then.
        until: Timestamp,
    },
    /// Somebody else has it.
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// What was read.
    Loaded {
        /// The row.
        recorded: Recorded,
        /// The escrow.
        escrowed: Option<Escrowed>,
    },
    /// Done: there is room, the row is written, the answer is kept, somebody was told, time passed.
    Done,
    /// Another holder has the lease, or the row has a higher generation.
    Superseded,
    /// Store or escrow failed.
    Broken(Failure),
    /// An answer came.
    Answered,
    /// None came; the failure's cause says whether the request may have been processed.
    Unanswered(Failure),
    /// It was too late to send.
    TooLate,
    /// What the answer comes to.
    Read(Answer),
    /// The process is about to end: what is in the escrow can stay there.
    Stopping,
}
