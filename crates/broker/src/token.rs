//! An access token as it is held: what to send, until when, and what the API said of it.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bellwether_lifecycle::{Held, Timestamp, UnixTime};
use bellwether_oauth::{Scope, Secret};
use bellwether_store::Digest;
use http::HeaderValue;

/// A held access token, shared by all who use it.
pub struct Token {
    access_token: Secret,
    derived: OnceLock<Box<Derived>>,
    scope: Option<Box<Scope>>,
    member: u16,
    generation: u64,
    held: Held,
    expires_wall: Option<UnixTime>,
    /// When the latest request was sent that the API took; nanoseconds since boot, 0 for never.
    accepted_sent_at: AtomicU64,
    /// When it was last checked, whatever that told; nanoseconds since boot, 0 for never.
    checked_at: AtomicU64,
    /// When the latest request was sent that the API refused, and took none since; nanoseconds
    /// since boot, 0 for none.
    refused_sent_at: AtomicU64,
    is_inherited: bool,
    is_refused: AtomicBool,
}

/// What is made of a token when somebody wants it.
#[derive(Default)]
struct Derived {
    authorization: OnceLock<HeaderValue>,
    digest: OnceLock<Digest>,
    requested_wall: OnceLock<UnixTime>,
}

impl Token {
    pub(crate) fn new(
        access_token: Secret,
        scope: Option<Scope>,
        member: u16,
        held: Held,
        expires_wall: Option<UnixTime>,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        // So that `authorization` cannot fail.
        HeaderValue::from_str(access_token.expose())?;
        Ok(Self {
            access_token,
            derived: OnceLock::new(),
            scope: scope.map(Box::new),
            member,
            generation: held.generation,
            held,
            expires_wall,
            accepted_sent_at: AtomicU64::new(0),
            checked_at: AtomicU64::new(0),
            refused_sent_at: AtomicU64::new(0),
            is_inherited: false,
            is_refused: AtomicBool::new(false),
        })
    }

    /// Of a token that others have had, and may have spent.
    pub(crate) fn inherited(self) -> Self {
        Self { is_inherited: true, ..self }
    }

    /// Whether others have had it.
    pub(crate) fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    /// The API refused it in a request sent at `sent_at`.
    pub(crate) fn note_refused(&self, sent_at: Timestamp) {
        self.is_refused.store(true, Ordering::Relaxed);
        self.refused_sent_at.fetch_max(sent_at.as_nanos().max(1), Ordering::Relaxed);
    }

    /// The API took it in a request sent at `sent_at`: true once if it was refused before that.
    pub(crate) fn is_back(&self, sent_at: Timestamp) -> bool {
        let refused = self.refused_sent_at.load(Ordering::Relaxed);
        let relaxed = Ordering::Relaxed;
        refused != 0
            && refused < sent_at.as_nanos()
            && self.refused_sent_at.compare_exchange(refused, 0, relaxed, relaxed).is_ok()
    }

    /// Whether the API ever refused it.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Gives the token its number among all of its credential's.
    pub(crate) fn numbered(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// The token itself.
    pub fn access_token(&self) -> &Secret {
        &self.access_token
    }

    /// The value of the header `Authorization` (RFC 6750 §2.1), marked sensitive.
    pub fn authorization(&self) -> &HeaderValue {
        self.derived().authorization.get_or_init(|| {
            let text = format!("Bearer {}", self.access_token.expose());
            let mut value = HeaderValue::try_from(text).expect("checked when the token came");
            value.set_sensitive(true);
            value
        })
    }

    /// The scope the server granted, where it said so.
    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_deref()
    }

    /// Which of the pool's tokens this is.
    pub fn member(&self) -> u16 {
        self.member
    }

    /// Goes up by one with each token response accepted for the credential.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What the lifecycle knows of it.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// What is left of its life; `None` if nobody knows.
    pub fn expires_in(&self, now: Timestamp) -> Option<Duration> {
        self.held.lifetime.map(|_| now.until(self.held.expires_at()))
    }

    /// When it ends by the wall clock; `None` if nobody knows.
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.expires_wall
    }

    /// When it was asked for by the wall clock, as `on_the_wall` told the first time: two looks at
    /// two clocks tell two times.
    pub fn requested_at(&self, on_the_wall: impl FnOnce(Timestamp) -> UnixTime) -> UnixTime {
        *self.derived().requested_wall.get_or_init(|| on_the_wall(self.held.sent_at))
    }

    /// When the latest request was sent that the API took with it.
    pub fn accepted_sent_at(&self) -> Option<Timestamp> {
        instant(&self.accepted_sent_at)
    }

    /// When it was last checked, whatever that told.
    pub(crate) fn checked_at(&self) -> Option<Timestamp> {
        instant(&self.checked_at)
    }

    /// Notes that it was checked.
    pub(crate) fn note_checked(&self, now: Timestamp) {
        self.checked_at.fetch_max(now.as_nanos().max(1), Ordering::Relaxed);
    }

    /// Its digest, made by `digest` the first time.
    pub(crate) fn digest(&self, digest: impl FnOnce(&Secret) -> Digest) -> &Digest {
        self.derived().digest.get_or_init(|| digest(&self.access_token))
    }

    fn derived(&self) -> &Derived {
        self.derived.get_or_init(Box::default)
    }

    /// Notes that the API took it; true the first time.
    pub(crate) fn note_accepted(&self, sent_at: Timestamp) -> bool {
        self.accepted_sent_at.fetch_max(sent_at.as_nanos().max(1), Ordering::Relaxed) == 0
    }
}

fn instant(nanoseconds: &AtomicU64) -> Option<Timestamp> {
    Some(nanoseconds.load(Ordering::Relaxed)).filter(|at| *at > 0).map(Timestamp::from_nanos)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("member", &self.member)
            .field("generation", &self.generation)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_was_asked_for_at_one_time_whatever_the_clocks_say_later() {
        let held =
            Held { generation: 1, sent_at: Timestamp::from_nanos(7_000_000_000), lifetime: None };
        let token = Token::new(Secret::from("a-token"), None, 0, held, None).unwrap();
        let seen =
            |ahead| move |at: Timestamp| UnixTime::from_millis(at.as_nanos() / 1_000_000 + ahead);
        assert_eq!(token.requested_at(seen(999)).as_secs(), 7);
        assert_eq!(token.requested_at(seen(1000)).as_secs(), 7);
    }
}
