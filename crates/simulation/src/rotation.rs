//! What a refresh does to the refresh token it presents, in the classes that vendors show.

use std::time::Duration;

/// What a second use of a refresh token does. A window counts from the first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// R0: the refresh token never changes.
    None,
    /// R1: one use.
    Strict,
    /// R2: each use inside the window mints another pair; all of them are good.
    NewPair {
        /// How long the spent token may be used again.
        window: Duration,
    },
    /// R3: a use inside the window gets the pair that the first use got.
    SamePair {
        /// How long the spent token may be used again.
        window: Duration,
    },
    /// R4: the old token stays good until a token of a newer pair is used.
    UntilAcknowledged,
    /// R5: each use inside the window mints another pair and ends the one before.
    LastPair {
        /// How long the spent token may be used again.
        window: Duration,
    },
}

/// What follows when a spent refresh token is shown outside what its class allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// `invalid_grant`; the newer tokens stay good.
    Refused,
    /// `invalid_grant`, and every token of the family ends (RFC 9700 §4.14.2).
    RevokesFamily,
}
