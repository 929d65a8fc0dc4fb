//! Forced renewals: a refused token is renewed, and a 401 that no token cures never becomes a loop.
//!
//! A forced renewal opens a *trial*: the new token is sent with the refused request. If the API
//! takes it, the cure worked. If it is refused too, the fault is not the token's (a missing
//! permission, say): no renewal is forced for 30 s, then 60 s, up to 10 min, until a refused
//! request is cured. Other requests that the API takes with the same token cure nothing: a replay
//! that is refused outweighs them. One trial at a time: what is refused meanwhile is tried with
//! the token on trial. When that ends well, those refused meanwhile and not taken since died with
//! the first, and are renewed together.

use std::time::Duration;

use crate::time::Timestamp;

const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A trial nobody reports on keeps others from forcing a renewal no longer than this.
const TRIAL_ENDS_AFTER: Duration = Duration::from_secs(10);
/// Between renewals forced by `Cache-Control: no-cache`, and the age below which they are not.
const NO_CACHE_INTERVAL: Duration = Duration::from_secs(10);

/// Remembers forced renewals of one credential.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Damper {
    pause: Duration,
    blocked_until: Timestamp,
    trial: Option<Trial>,
    no_cache_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    member: u16,
    /// The generation under trial, once granted.
    granted: Option<(u64, Timestamp)>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Open,
    Accepted {
        /// What the last pause was, should a replay be refused after all.
        pause: Duration,
    },
    Refused,
}

/// What a refused token leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// Renew it.
    Force,
    /// Another member's forced renewal will tell: use its token.
    Join {
        /// Whose.
        member: u16,
    },
    /// Not the token's fault, as far as anyone can tell: the refusal stands.
    Keep,
}

impl Damper {
    /// `member`'s token of `generation`, which is still held, was refused.
    pub(crate) fn refused(&mut self, now: Timestamp, member: u16, generation: u64) -> Ruling {
        let trial = self.trial.map(|trial| (trial, trial.granted, trial.outcome));
        match trial {
            Some((trial, Some((tried, _)), Outcome::Open))
                if trial.member == member && generation >= tried =>
            {
                self.replay_refused(member, generation);
            }
            Some((trial, None, _)) => return Ruling::Join { member: trial.member },
            Some((trial, Some((_, since)), Outcome::Open)) if now < since + TRIAL_ENDS_AFTER => {
                return Ruling::Join { member: trial.member };
            }
            Some(_) | None => {}
        }
        if now < self.blocked_until {
            return Ruling::Keep;
        }
        self.trial = Some(Trial { member, granted: None, outcome: Outcome::Open });
        Ruling::Force
    }

    /// `member` got a token of `generation`.
    pub(crate) fn granted(&mut self, now: Timestamp, member: u16, generation: u64) {
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.member == member) {
            trial.granted.get_or_insert((generation, now));
        }
    }

    /// `member`'s renewal failed; a trial that got no token tells nothing.
    pub(crate) fn failed(&mut self, member: u16) {
        if self.trial.is_some_and(|trial| trial.member == member && trial.granted.is_none()) {
            self.trial = None;
        }
    }

    /// A replay with `member`'s token of `generation` was refused: if it is on trial, it failed.
    pub(crate) fn replay_refused(&mut self, member: u16, generation: u64) {
        let Some(trial) = &mut self.trial else { return };
        let Some((tried, since)) = trial.granted else { return };
        if trial.member != member || generation < tried {
            return;
        }
        let pause = match trial.outcome {
            Outcome::Open => self.pause,
            Outcome::Accepted { pause } => pause,
            Outcome::Refused => return,
        };
        trial.outcome = Outcome::Refused;
        self.pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.blocked_until = since + self.pause;
    }

    /// The API took `member`'s token of `generation`. Whether that ends a trial well.
    pub(crate) fn accepted(&mut self, member: u16, generation: u64) -> bool {
        let Some(trial) = &mut self.trial else { return false };
        let on_trial = trial.granted.is_some_and(|(tried, _)| generation >= tried);
        let ends_well = trial.member == member && on_trial && trial.outcome == Outcome::Open;
        if ends_well {
            trial.outcome = Outcome::Accepted { pause: self.pause };
            (self.pause, self.blocked_until) = (Duration::ZERO, Timestamp::ZERO);
        }
        ends_well
    }

    /// Whether a caller's `no-cache` renews a token whose request was sent at `sent_at`.
    pub(crate) fn allows_no_cache(&mut self, now: Timestamp, sent_at: Timestamp) -> bool {
        let recent = |at: Timestamp| now < at + NO_CACHE_INTERVAL;
        let allowed = !recent(sent_at) && !self.no_cache_at.is_some_and(recent);
        if allowed {
            self.no_cache_at = Some(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An API that always answers 401, asked every second for a day: how often is it renewed?
    #[test]
    fn a_hopeless_401_is_renewed_ever_more_rarely() {
        let (mut damper, mut generation, mut forced) = (Damper::default(), 1, Vec::new());
        for second in 0..86_400 {
            let now = Timestamp::from_secs(second);
            if damper.refused(now, 0, generation) == Ruling::Force {
                generation += 1;
                damper.granted(now, 0, generation);
                forced.push(second);
            }
        }
        assert_eq!(forced[..6], [0, 30, 90, 210, 450, 930]);
        assert!(forced[6..].windows(2).all(|pair| pair[1] - pair[0] == 600));
    }

    #[test]
    fn a_cure_forgets_the_pauses() {
        let mut damper = Damper::default();
        let at = Timestamp::from_secs;
        assert_eq!(damper.refused(at(1), 0, 1), Ruling::Force);
        damper.granted(at(1), 0, 2);
        assert_eq!(damper.refused(at(2), 0, 2), Ruling::Keep);
        assert_eq!(damper.refused(at(40), 0, 2), Ruling::Force);
        damper.granted(at(40), 0, 3);
        assert!(damper.accepted(0, 3));
        assert_eq!(damper.refused(at(41), 0, 3), Ruling::Force);
    }

    #[test]
    fn what_is_refused_during_a_trial_is_tried_with_its_token() {
        let mut damper = Damper::default();
        let at = Timestamp::from_secs;
        assert_eq!(damper.refused(at(1), 7, 1), Ruling::Force);
        assert_eq!(damper.refused(at(1), 8, 5), Ruling::Join { member: 7 });
        damper.granted(at(2), 7, 2);
        assert_eq!(damper.refused(at(2), 8, 5), Ruling::Join { member: 7 });
        assert_eq!(damper.refused(at(3), 7, 2), Ruling::Keep, "the trial failed");
        assert_eq!(damper.refused(at(3), 8, 5), Ruling::Keep, "for every member");
    }
}
