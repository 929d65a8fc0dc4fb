//! When a held token is renewed, and when it is no longer handed out.
//!
//! A life has three marks, and each scales with its length:
//!
//! ```text
//! sent                          renew_at        hand_out_until        expires_at
//!  |------------------------------|------ lead ------|------ floor ------|
//! ```
//!
//! - The *floor* is the part nobody is given any more: callers keep a token for a while, and some
//!   SDKs log in again 60 s before its end.
//! - The *lead* starts before the floor by a share of the rest, part of it random, so that tokens
//!   granted together do not fall due together and a renewal has time to fail and be repeated.
//! - Everything counts from when the request was sent: the server's clock started no earlier.

use std::time::Duration;

use crate::chance::Chance;
use crate::time::Timestamp;

/// Lives at least this long are not handed out in their last [`LONG_FLOOR`].
const LONG_LIFE: Duration = Duration::from_secs(180);
/// Genesys' Go SDK loops without pause on 60 s or less, and whole seconds are told, rounded down.
const LONG_FLOOR: Duration = Duration::from_secs(61);
/// The share of the time before the floor that the lead takes at least …
const LEAD_SHARE: f64 = 0.10;
/// … and the random share on top.
const LEAD_SPREAD: f64 = 0.20;

/// What is known of an access token that is held; the token itself is kept elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Counts the accepted token responses of this pool member.
    pub generation: u64,
    /// When its token request was sent.
    pub sent_at: Timestamp,
    /// `expires_in` (RFC 6749 §5.1); `None` where the server did not say.
    pub lifetime: Option<Duration>,
}

impl Held {
    /// When it ends; [`Timestamp::NEVER`] if nobody knows.
    pub fn expires_at(&self) -> Timestamp {
        self.lifetime.map_or(Timestamp::NEVER, |lifetime| self.sent_at + lifetime)
    }

    /// When it is handed out for the last time while renewals succeed.
    pub fn hand_out_until(&self) -> Timestamp {
        self.lifetime.map_or(Timestamp::NEVER, |life| self.sent_at + (life - floor(life)))
    }

    /// When its renewal starts.
    pub fn renew_at(&self, default_lifetime: Duration, chance: &mut dyn Chance) -> Timestamp {
        let life = self.lifetime.unwrap_or(default_lifetime);
        let before_floor = life - floor(life);
        let lead = before_floor.mul_f64(LEAD_SHARE + LEAD_SPREAD * chance.unit());
        self.sent_at + (before_floor - lead)
    }

    /// Whether it has not ended.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now < self.expires_at()
    }
}

/// The last part of a life, which nobody is given while renewals succeed.
pub fn floor(life: Duration) -> Duration {
    if life >= LONG_LIFE {
        LONG_FLOOR
    } else if life >= Duration::from_secs(2) {
        // Whole seconds are told, and they are to be a third of the life too.
        Duration::from_secs((life / 3).as_secs() + u64::from((life / 3).subsec_nanos() > 0))
    } else {
        life / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lifetime_has_its_marks_in_order() {
        #[rustfmt::skip]
        let cases = [
            // expires_in, floor, renewed between
            (0.0,     0.0,  (0.0,     0.0)),
            (1.0,     0.33, (0.46,    0.61)),
            (60.0,    20.0, (28.0,    36.1)),
            (179.0,   60.0, (83.0,    108.0)),
            (180.0,   61.0, (83.3,    107.1)),
            (300.0,   61.0, (167.3,   215.1)),
            (86400.0, 61.0, (60437.3, 77705.1)),
        ];
        for (life, expected_floor, (earliest, latest)) in cases {
            let held = Held {
                generation: 1,
                sent_at: Timestamp::ZERO,
                lifetime: Some(Duration::from_secs_f64(life)),
            };
            let marks = |unit: f64| {
                held.renew_at(Duration::from_secs(3600), &mut || unit)
                    .since(Timestamp::ZERO)
                    .as_secs_f64()
            };
            assert!(
                (floor(Duration::from_secs_f64(life)).as_secs_f64() - expected_floor).abs() < 0.1
            );
            assert!(marks(0.999) >= earliest - 0.01, "{life}: {}", marks(0.999));
            assert!(marks(0.0) <= latest, "{life}: {}", marks(0.0));
            assert!(held.hand_out_until() <= held.expires_at());
            let renew_at = held.renew_at(Duration::ZERO, &mut || 0.0);
            assert!(life == 0.0 || renew_at < held.hand_out_until(), "{life}");
        }
    }

    #[test]
    fn an_unknown_lifetime_is_renewed_after_the_default_and_never_ends() {
        let held = Held { generation: 1, sent_at: Timestamp::from_secs(5), lifetime: None };
        let renew_at = held.renew_at(Duration::from_secs(3600), &mut || 0.5);
        assert!(renew_at > Timestamp::from_secs(2400) && renew_at < Timestamp::from_secs(3600));
        assert!(held.is_alive(Timestamp::from_secs(1 << 33)));
    }
}
