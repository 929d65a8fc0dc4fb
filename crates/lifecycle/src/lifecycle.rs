//! One credential's life: its held tokens, its renewals, its troubles and its waiters.
//!
//! A credential holds one access token, or several in a pool. Each *member* of the pool is renewed
//! ahead of its end. Vendors that cap live tokens evict the oldest, so a pool renews its oldest
//! token first and replaces few at once. What fails, fails for the credential as a whole: its
//! members share the client and the grant, and so one back-off and one answer to all who wait.

use std::time::Duration;

use crate::chance::Chance;
use crate::damper::{Damper, Ruling};
use crate::event::{Action, Event, Need, Verdict, WaiterId};
use crate::failure::{Cause, Failure};
use crate::lead::Held;
use crate::policy::{Demand, Policy, Replay};
use crate::status::{NextAction, State, Status};
use crate::time::Timestamp;

/// Members of a pool whose live tokens are replaced at the same time: the more, the more live
/// tokens there are for a moment, and a cap would evict one in use.
const REPLACED_AT_ONCE: usize = 2;
/// What a caller is told to wait where nothing better is known.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// Decides what one credential needs next; does nothing itself.
///
/// The caller passes `now` with each event and carries out the actions in order.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    policy: Policy,
    members: Vec<Member>,
    waiters: Vec<Waiter>,
    trouble: Trouble,
    damper: Damper,
    last_used: Timestamp,
    state: State,
    since: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    held: Option<Held>,
    /// When the held token is renewed.
    due: Timestamp,
    /// No request before this.
    not_before: Timestamp,
    renewing: bool,
    /// Refused by the API, and being replaced: not given to anyone.
    suspect: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    id: WaiterId,
    wants: Wants,
    until: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum Wants {
    Token(Need),
    Newer { member: u16, generation: u64 },
}

/// What stands in the way. What time may cure has a time; what a person must do has a probe at most.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    BackingOff {
        failures: u32,
        retry_at: Timestamp,
        failure: Failure,
    },
    InDoubt {
        failures: u32,
        retry_at: Timestamp,
        failure: Failure,
    },
    Misconfigured {
        failures: u32,
        probe_at: Timestamp,
        failure: Failure,
    },
    NeedsReauth {
        failure: Failure,
    },
}

impl Trouble {
    fn failures(self) -> u32 {
        match self {
            Self::None => 0,
            Self::BackingOff { failures, .. }
            | Self::InDoubt { failures, .. }
            | Self::Misconfigured { failures, .. } => failures,
            Self::NeedsReauth { .. } => 1,
        }
    }
}

impl Lifecycle {
    /// A credential that holds nothing yet.
    pub fn new(policy: Policy, now: Timestamp) -> Self {
        Self {
            members: vec![Member::default(); usize::from(policy.pool.max(1))],
            policy,
            waiters: Vec::new(),
            trouble: Trouble::None,
            damper: Damper::default(),
            last_used: now,
            state: State::Renewing,
            since: now,
        }
    }

    /// Takes in what happened and says what to do about it.
    pub fn handle(&mut self, now: Timestamp, event: Event, chance: &mut dyn Chance) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut just_granted = None;
        match event {
            Event::Asked {
                waiter,
                need,
                until,
            } => {
                self.last_used = now;
                self.waiters.push(Waiter {
                    id: waiter,
                    wants: Wants::Token(need),
                    until,
                });
            }
            Event::Used => self.note_used(now),
            Event::Refused {
                waiter,
                member,
                generation,
                accepted_since,
                until,
            } => {
                self.last_used = now;
                let waiter = Waiter {
                    id: waiter,
                    wants: Wants::Token(Need::Use),
                    until,
                };
                self.on_refused(
                    now,
                    waiter,
                    member,
                    generation,
                    accepted_since,
                    &mut actions,
                );
            }
            Event::Accepted { member, generation } => self.damper.accepted(member, generation),
            Event::NoCache { waiter, until } => {
                self.last_used = now;
                self.on_no_cache(now, waiter, until);
            }
            Event::FoundDead { member, generation } => {
                self.on_found_dead(member, generation, &mut actions);
            }
            Event::Renew => self.members.iter_mut().for_each(|member| member.due = now),
            Event::Reconfigured => {
                self.trouble = Trouble::None;
                self.members
                    .iter_mut()
                    .for_each(|member| member.not_before = now);
            }
            Event::Restored { member, held } => {
                self.hold(member, held, chance, &mut actions);
            }
            Event::Granted { member, held } => {
                self.on_granted(now, member, held, chance, &mut actions);
                just_granted = Some(member);
            }
            Event::Elsewhere {
                member,
                retry_after,
            } => {
                if let Some(member) = self.members.get_mut(usize::from(member)) {
                    member.renewing = false;
                    member.not_before = now + retry_after;
                }
            }
            Event::Failed { member, failure } => {
                self.on_failed(now, member, failure, chance, &mut actions);
            }
            Event::Woken => {}
        }
        self.renew_what_is_due(now, &mut actions);
        self.answer_waiters(now, just_granted, &mut actions);
        self.note_state(now);
        actions.extend(self.wake_at(now).map(Action::WakeAt));
        actions
    }

    /// Callers took tokens by themselves; as [`Event::Used`] where another event follows anyway.
    pub fn note_used(&mut self, now: Timestamp) {
        self.last_used = now;
    }

    /// What it is doing, and why.
    pub fn status(&self) -> Status {
        let (cause, next_action, next_at) = match self.trouble {
            Trouble::None if self.members.iter().any(|member| member.renewing) => {
                (None, NextAction::AwaitAnswer, None)
            }
            Trouble::None => {
                let next = self.members.iter().filter(|member| member.held.is_some());
                match next.map(|member| member.due).min() {
                    Some(due) => (None, NextAction::Renew, Some(due)),
                    None => (None, NextAction::AwaitDemand, None),
                }
            }
            Trouble::BackingOff {
                retry_at, failure, ..
            }
            | Trouble::InDoubt {
                retry_at, failure, ..
            } => (Some(failure.cause), NextAction::Retry, Some(retry_at)),
            Trouble::Misconfigured {
                probe_at, failure, ..
            } => (Some(failure.cause), NextAction::Probe, Some(probe_at)),
            Trouble::NeedsReauth { failure } => {
                (Some(failure.cause), NextAction::Reauthorize, None)
            }
        };
        Status {
            state: self.state,
            cause,
            failures: self.trouble.failures(),
            since: self.since,
            next_action,
            next_at,
        }
    }

    /// What is known of each member's token.
    pub fn held(&self) -> impl Iterator<Item = Option<Held>> + '_ {
        self.members.iter().map(|member| member.held)
    }

    /// How many callers wait.
    pub fn waiter_count(&self) -> usize {
        self.waiters.len()
    }

    /// Whether nobody has asked for so long that it may be forgotten; never for [`Demand::Always`].
    pub fn is_idle(&self, now: Timestamp) -> bool {
        !self.is_wanted(now) && !self.members.iter().any(|member| member.renewing)
    }

    fn hold(&mut self, index: u16, held: Held, chance: &mut dyn Chance, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(usize::from(index)) else {
            return;
        };
        if member
            .held
            .is_some_and(|before| before.generation > held.generation)
        {
            return;
        }
        member.held = Some(held);
        member.suspect = false;
        member.due = held.renew_at(self.policy.default_lifetime, chance);
        actions.push(Action::Publish {
            member: index,
            held,
        });
        self.put_oldest_first();
    }

    /// Gives the earliest due times to the oldest tokens.
    fn put_oldest_first(&mut self) {
        if self.members.len() == 1 {
            return;
        }
        let mut by_age: Vec<usize> = (0..self.members.len())
            .filter(|&i| self.members[i].held.is_some())
            .collect();
        by_age.sort_by_key(|&i| self.members[i].held.map(|held| held.sent_at));
        let mut dues: Vec<Timestamp> = by_age.iter().map(|&i| self.members[i].due).collect();
        dues.sort_unstable();
        for (i, due) in by_age.into_iter().zip(dues) {
            self.members[i].due = due;
        }
    }

    fn on_granted(
        &mut self,
        now: Timestamp,
        index: u16,
        held: Held,
        chance: &mut dyn Chance,
        actions: &mut Vec<Action>,
    ) {
        if let Some(member) = self.members.get_mut(usize::from(index)) {
            member.renewing = false;
            member.not_before = held.sent_at + self.policy.least_interval;
        }
        self.trouble = Trouble::None;
        self.hold(index, held, chance, actions);
        self.damper.granted(now, index, held.generation);
    }

    fn on_failed(
        &mut self,
        now: Timestamp,
        index: u16,
        failure: Failure,
        chance: &mut dyn Chance,
        actions: &mut Vec<Action>,
    ) {
        if let Some(member) = self.members.get_mut(usize::from(index)) {
            member.renewing = false;
        }
        self.damper.failed(index);
        let failures = self.trouble.failures() + 1;
        let after = |delay: Duration| now + delay.max(failure.retry_after.unwrap_or_default());
        self.trouble = match failure.cause {
            Cause::Passing | Cause::Throttled => {
                let retry_at = after(self.policy.backoff.delay(failures, chance));
                Trouble::BackingOff {
                    failures,
                    retry_at,
                    failure,
                }
            }
            Cause::InDoubt => {
                let retry_at = after(self.policy.backoff.delay(failures, chance));
                let last_life = self
                    .members
                    .iter()
                    .filter_map(|m| m.held)
                    .map(|h| h.expires_at());
                let retry_at = match self.policy.replay {
                    Replay::Free | Replay::Within(_) => retry_at,
                    Replay::LastResort => last_life.max().map_or(retry_at, |end| end.max(retry_at)),
                };
                Trouble::InDoubt {
                    failures,
                    retry_at,
                    failure,
                }
            }
            Cause::Misconfigured => {
                let probe_at = after(self.policy.probing.delay(failures, chance));
                Trouble::Misconfigured {
                    failures,
                    probe_at,
                    failure,
                }
            }
            Cause::Reauthorize => Trouble::NeedsReauth { failure },
        };
        let stops = matches!(failure.cause, Cause::Misconfigured | Cause::Reauthorize);
        self.waiters.retain(|waiter| {
            let serves =
                !stops || usable(&self.members, &self.trouble, waiter.wants, now).is_some();
            if !serves {
                let verdict = Verdict::Failed(failure);
                actions.push(Action::Answer {
                    waiter: waiter.id,
                    verdict,
                });
            }
            serves
        });
    }

    fn on_refused(
        &mut self,
        now: Timestamp,
        waiter: Waiter,
        index: u16,
        generation: u64,
        accepted_since: bool,
        actions: &mut Vec<Action>,
    ) {
        let mut answer = |verdict| {
            actions.push(Action::Answer {
                waiter: waiter.id,
                verdict,
            })
        };
        let Some(member) = self.members.get(usize::from(index)) else {
            return answer(Verdict::Keep);
        };
        let current = member.held.map_or(0, |held| held.generation);
        if current != generation || member.suspect {
            let wants = Wants::Newer {
                member: index,
                generation,
            };
            return self.waiters.push(Waiter { wants, ..waiter });
        }
        if accepted_since {
            return answer(Verdict::Keep);
        }
        match self.damper.refused(now, index, generation) {
            Ruling::Keep => answer(Verdict::Keep),
            Ruling::Join { member } => {
                let trial = &self.members[usize::from(member)];
                let known = trial.held.map_or(0, |held| held.generation);
                let generation = if trial.suspect || trial.renewing {
                    known
                } else {
                    known.saturating_sub(1)
                };
                let wants = Wants::Newer { member, generation };
                self.waiters.push(Waiter { wants, ..waiter });
            }
            Ruling::Force => {
                self.suspect(index, actions);
                let wants = Wants::Newer {
                    member: index,
                    generation,
                };
                self.waiters.push(Waiter { wants, ..waiter });
            }
        }
    }

    fn on_no_cache(&mut self, now: Timestamp, waiter: WaiterId, until: Timestamp) {
        let newest = (0_u16..)
            .zip(&self.members)
            .filter(|(_, member)| !member.suspect);
        let newest = newest.filter_map(|(i, member)| member.held.map(|held| (i, held)));
        let wants = match newest.max_by_key(|(_, held)| held.sent_at) {
            Some((member, held)) if self.damper.allows_no_cache(now, held.sent_at) => {
                self.members[usize::from(member)].due = now;
                Wants::Newer {
                    member,
                    generation: held.generation,
                }
            }
            _ => Wants::Token(Need::HandOut),
        };
        self.waiters.push(Waiter {
            id: waiter,
            wants,
            until,
        });
    }

    fn on_found_dead(&mut self, index: u16, generation: u64, actions: &mut Vec<Action>) {
        let held = self
            .members
            .get(usize::from(index))
            .and_then(|member| member.held);
        if held.is_some_and(|held| held.generation == generation) {
            self.suspect(index, actions);
        }
    }

    /// Takes a member's token out of use until it is renewed.
    fn suspect(&mut self, index: u16, actions: &mut Vec<Action>) {
        self.members[usize::from(index)].suspect = true;
        actions.push(Action::Withdraw { member: index });
    }

    fn renew_what_is_due(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let wanted = self.is_wanted(now);
        let (may_start, at_once) = match self.trouble {
            Trouble::None => (true, usize::MAX),
            Trouble::BackingOff { retry_at, .. } | Trouble::InDoubt { retry_at, .. } => {
                (now >= retry_at, 1)
            }
            Trouble::Misconfigured { probe_at, .. } => (now >= probe_at, 1),
            Trouble::NeedsReauth { .. } => (false, 0),
        };
        if !may_start || !wanted {
            return;
        }
        let mut in_flight = self.members.iter().filter(|member| member.renewing).count();
        let replacing = |member: &Member| member.held.is_some() && !member.suspect;
        let mut replaced = self
            .members
            .iter()
            .filter(|member| member.renewing && replacing(member))
            .count();
        let mut due: Vec<u16> = (0_u16..)
            .zip(&self.members)
            .filter(|(_, member)| member.is_due(now))
            .map(|(i, _)| i)
            .collect();
        due.sort_by_key(|&i| self.members[usize::from(i)].order());
        for index in due {
            let member = &mut self.members[usize::from(index)];
            if in_flight >= at_once || (replacing(member) && replaced >= REPLACED_AT_ONCE) {
                continue;
            }
            replaced += usize::from(replacing(member));
            in_flight += 1;
            member.renewing = true;
            member.not_before = now + self.policy.least_interval;
            let urgency = match member.held {
                Some(held) if !member.suspect => held.hand_out_until(),
                _ => now,
            };
            actions.push(Action::Renew {
                member: index,
                urgency,
            });
        }
    }

    fn is_wanted(&self, now: Timestamp) -> bool {
        match self.policy.demand {
            Demand::Always => true,
            Demand::WhileUsed { idle_after } => {
                let held = self.members.iter().filter_map(|member| member.held);
                let life = held.filter_map(|held| held.lifetime).max();
                let idle_after = idle_after.max(life.unwrap_or_default());
                let holds = self.members.iter().any(|member| member.held.is_some());
                !self.waiters.is_empty() || (holds && now < self.last_used + idle_after)
            }
        }
    }

    /// Leaves waiters unanswered only while a request may still serve them.
    fn answer_waiters(
        &mut self,
        now: Timestamp,
        just_granted: Option<u16>,
        actions: &mut Vec<Action>,
    ) {
        let renewing = self.members.iter().any(|member| member.renewing);
        let (members, trouble) = (&self.members, &self.trouble);
        self.waiters.retain(|waiter| {
            let serve = usable(members, trouble, waiter.wants, now)
                // A token that lives for an instant still serves those who waited for it.
                .or(just_granted.filter(|_| matches!(waiter.wants, Wants::Token(_))));
            let verdict = match serve {
                Some(member) => Verdict::Serve { member },
                None => match unserved(trouble, renewing, now, waiter.until) {
                    None => return true,
                    // Out of time: rather a short token than none.
                    Some(failure) => usable(members, trouble, Wants::Token(Need::Use), now)
                        .filter(|_| matches!(waiter.wants, Wants::Token(_)))
                        .map_or(Verdict::Failed(failure), |member| Verdict::Serve { member }),
                },
            };
            actions.push(Action::Answer {
                waiter: waiter.id,
                verdict,
            });
            false
        });
    }

    fn note_state(&mut self, now: Timestamp) {
        let state = match self.trouble {
            Trouble::None if self.members.iter().any(|member| member.renewing) => State::Renewing,
            Trouble::None => State::Fresh,
            Trouble::BackingOff { .. } => State::BackingOff,
            Trouble::InDoubt { .. } => State::InDoubt,
            Trouble::Misconfigured { .. } => State::Misconfigured,
            Trouble::NeedsReauth { .. } => State::NeedsReauth,
        };
        if state != self.state {
            (self.state, self.since) = (state, now);
        }
    }

    fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let resumes = match self.trouble {
            Trouble::None => Some(Timestamp::ZERO),
            Trouble::BackingOff { retry_at, .. } | Trouble::InDoubt { retry_at, .. } => {
                Some(retry_at)
            }
            Trouble::Misconfigured { probe_at, .. } => Some(probe_at),
            Trouble::NeedsReauth { .. } => None,
        };
        let idle = self.members.iter().filter(|member| !member.renewing);
        let next = idle
            .map(Member::due_at)
            .min()
            .filter(|_| self.is_wanted(now));
        let renewal = resumes.zip(next).map(|(resumes, due)| resumes.max(due));
        let patience = self.waiters.iter().map(|waiter| waiter.until).min();
        renewal
            .into_iter()
            .chain(patience)
            .min()
            .filter(|&at| at > now)
    }
}

impl Member {
    fn is_due(&self, now: Timestamp) -> bool {
        !self.renewing && now >= self.due_at()
    }

    fn due_at(&self) -> Timestamp {
        match self.held {
            Some(_) if !self.suspect => self.due.max(self.not_before),
            _ => self.not_before,
        }
    }

    /// Those without a token first, then the oldest.
    fn order(&self) -> Option<Timestamp> {
        self.held.filter(|_| !self.suspect).map(|held| held.sent_at)
    }
}

/// A member whose token serves, the one that lives longest.
fn usable(members: &[Member], trouble: &Trouble, wants: Wants, now: Timestamp) -> Option<u16> {
    let serves = |index: u16, member: &Member| -> Option<Timestamp> {
        let held = member
            .held
            .filter(|held| !member.suspect && held.is_alive(now))?;
        let fits = match wants {
            Wants::Token(Need::Use) => true,
            Wants::Token(Need::HandOut) => {
                now < held.hand_out_until() || !matches!(trouble, Trouble::None)
            }
            Wants::Newer { member, generation } => member == index && held.generation > generation,
        };
        fits.then(|| held.expires_at())
    };
    let candidates = (0_u16..)
        .zip(members)
        .filter_map(|(i, m)| serves(i, m).map(|end| (end, i)));
    candidates.max().map(|(_, index)| index)
}

/// What a caller nobody can serve is told now; `None` while it is worth waiting.
fn unserved(
    trouble: &Trouble,
    renewing: bool,
    now: Timestamp,
    until: Timestamp,
) -> Option<Failure> {
    let told = |failure: Failure, at: Timestamp| {
        let wait = now.until(at).max(failure.retry_after.unwrap_or_default());
        Failure {
            retry_after: Some(wait.max(RETRY_SOON)),
            ..failure
        }
    };
    match *trouble {
        Trouble::None if now < until => None,
        Trouble::None => Some(told(Failure::new(Cause::Passing), now)),
        Trouble::BackingOff {
            retry_at, failure, ..
        }
        | Trouble::InDoubt {
            retry_at, failure, ..
        } => {
            let worth_waiting = now < until && (renewing || retry_at < until);
            (!worth_waiting).then(|| told(failure, retry_at))
        }
        Trouble::Misconfigured {
            probe_at, failure, ..
        } => {
            let worth_waiting = now < until && (renewing || now >= probe_at);
            (!worth_waiting).then_some(failure)
        }
        Trouble::NeedsReauth { failure } => Some(failure),
    }
}
