//! What a credential is doing, and why, for people.

use std::fmt;

use crate::failure::Cause;
use crate::time::Timestamp;

/// The states of the public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Every held token is good for a while.
    Fresh,
    /// A token request is under way or waits for its turn.
    Renewing,
    /// A fault that may pass: the next attempt has its time.
    BackingOff,
    /// A token request may have reached the server and no answer was kept.
    InDoubt,
    /// A person must authorise again; nothing is sent until then.
    NeedsReauth,
    /// A person must change the configuration; probed ever more rarely.
    Misconfigured,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Fresh,
        Self::Renewing,
        Self::BackingOff,
        Self::InDoubt,
        Self::NeedsReauth,
        Self::Misconfigured,
    ];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Renewing => "renewing",
            Self::BackingOff => "backing_off",
            Self::InDoubt => "in_doubt",
            Self::NeedsReauth => "needs_reauth",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextAction {
    /// The next renewal.
    Renew,
    /// The answer to the request under way.
    AwaitAnswer,
    /// The next attempt after a passing fault or in doubt.
    Retry,
    /// The next probe of what a person must fix.
    Probe,
    /// Nothing until somebody authorises again.
    Reauthorize,
    /// Nothing until somebody asks.
    AwaitDemand,
}

impl NextAction {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Renew => "renew",
            Self::AwaitAnswer => "await_answer",
            Self::Retry => "retry",
            Self::Probe => "probe",
            Self::Reauthorize => "reauthorize",
            Self::AwaitDemand => "await_demand",
        }
    }
}

/// One credential's state with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// What led to it, where something failed.
    pub cause: Option<Cause>,
    /// Failures in a row.
    pub failures: u32,
    /// When the state began.
    pub since: Timestamp,
    /// What comes next.
    pub next_action: NextAction,
    /// When, where that is known.
    pub next_at: Option<Timestamp>,
}
