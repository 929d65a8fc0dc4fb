//! What a renewal is asked for, and what it finds.

use std::time::Duration;

use crate::failure::Failure;
use crate::lead::Held;
use crate::policy::Replay;
use crate::time::Timestamp;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The generation that is to be replaced, as this process knows it.
    pub generation: u64,
    /// The latest token request this process knows of.
    pub attempt: u64,
    /// Whether the grant is spent by its use, as a refresh token is.
    pub spends: bool,
    /// What a request in doubt allows.
    pub replay: Replay,
    /// When the last token that this process could give ends; [`Timestamp::ZERO`] if there is none.
    pub usable_until: Timestamp,
    /// Whether it only looks if a person has acted.
    pub is_probe: bool,
    /// The longest that a token request may take.
    pub request_limit: Duration,
}

impl Order {
    /// For how long the lease is asked: a request that is sent while half of it is left has ended
    /// before it does, even if its holder was paused for a while.
    pub fn lease(&self) -> Duration {
        self.request_limit * 2
    }
}

/// What the grant's row says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Its generation; 0 if there is no row.
    pub generation: u64,
    /// Counts the token requests, answered or not.
    pub attempt: u64,
    /// Its access token, if that is what is asked for.
    pub held: Option<Held>,
    /// What there is to ask with.
    pub grant: Grant,
    /// What the latest request met, if it failed.
    pub failure: Option<Met>,
    /// When a request was written down that nobody has heard the answer of.
    pub intent: Option<Timestamp>,
    /// Since when a request before that may have spent the refresh token.
    pub doubt_since: Option<Timestamp>,
    /// Whether the store was copied or restored from a backup since the row was written.
    pub is_restored: bool,
}

/// What there is to ask with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grant {
    /// What the server has not refused; or nothing is needed.
    Usable,
    /// The server refused the refresh token: it is not sent again.
    Refused,
    /// There is no refresh token.
    #[default]
    Missing,
}

/// A failure that the row tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The failure.
    pub failure: Failure,
    /// When.
    pub at: Timestamp,
    /// Whether it was met with the client secret that is in use here.
    pub is_ours: bool,
}

/// What a server's answer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A token.
    Granted {
        /// When its request was sent.
        sent_at: Timestamp,
        /// `expires_in`.
        lifetime: Option<Duration>,
    },
    /// None.
    Failed {
        /// How.
        failure: Failure,
        /// Whether it refuses the refresh token that was sent.
        refused: bool,
        /// Whether it carries a refresh token all the same.
        rotated: bool,
    },
}

/// An answer that the escrow has for this grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escrowed {
    /// The generation that it begins, if it is a token.
    pub generation: u64,
    /// The token request that it answers.
    pub attempt: u64,
    /// Whether that carried the refresh token that would be sent next. Numbers alone do not tell: a
    /// store that was set back, or a person who authorised again, counts from an older row.
    pub is_ours: bool,
    /// What it comes to.
    pub answer: Answer,
}

impl Escrowed {
    /// Whether a refresh token or an access token came with it.
    pub fn brings_something(&self) -> bool {
        match self.answer {
            Answer::Granted { .. } => true,
            Answer::Failed { rotated, .. } => rotated,
        }
    }

    /// Whether it is the answer to the request that the row knows no answer of.
    pub(super) fn settles(&self, recorded: &Recorded) -> bool {
        recorded.intent.is_some() && self.is_ours && self.attempt == recorded.attempt
    }
}

impl Recorded {
    /// Which of the escrow's answers counts beside this row, if one does: the newest that brings
    /// what the row lacks; else the one that settles its intent. A failure that brings nothing
    /// never hides a token, however many came after it.
    pub fn best_of(&self, answers: impl IntoIterator<Item = Escrowed>) -> Option<usize> {
        let rank = |kept: &Escrowed| match kept.brings_something() {
            true => (kept.generation > self.generation).then_some((kept.generation, kept.attempt)),
            false => kept.settles(self).then_some((0, kept.attempt)),
        };
        let ranked = answers.into_iter().enumerate();
        let ranked = ranked.filter_map(|(index, kept)| Some((rank(&kept)?, index)));
        ranked.max().map(|(_, index)| index)
    }
}
