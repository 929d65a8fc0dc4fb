//! One credential's life: its held tokens, its renewals, its troubles and its waiters.
//!
//! A credential holds one access token, or several in a pool. Each *member* of the pool is renewed
//! ahead of its end. Vendors that cap live tokens evict the oldest, so a pool renews its oldest
//! token first and replaces few at once. What fails, fails for the credential as a whole: its
//! members share the client and the grant, and so one back-off and one answer to all who wait.

use std::sync::Arc;
use std::time::Duration;

use crate::chance::Chance;
use crate::damper::{Damper, Ruling};
use crate::event::{Action, Event, Need, Verdict};
use crate::failure::{Cause, Failure};
use crate::lead::Held;
use crate::member::Member;
use crate::per_member::PerMember;
use crate::policy::{Demand, Policy};
use crate::status::{NextAction, State, Status};
use crate::time::Timestamp;
use crate::trouble::{Retrying, Trouble};
use crate::waiting::{Waiter, Waiting, Wants, Whom};

/// Members of a pool whose live tokens are replaced at the same time: the more, the more live
/// tokens there are for a moment, and a cap would evict one in use.
const REPLACED_AT_ONCE: usize = 2;
/// Another holder is not asked about more often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The next instant.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// Decides what one credential needs next; does nothing itself.
///
/// The caller passes `now` with each event and carries out the actions in order. The latest
/// [`Action::WakeAt`] replaces those before; none means that only another event changes anything.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    policy: Arc<Policy>,
    members: PerMember<Member>,
    waiting: Waiting,
    /// `None` most of the time, and then there is nothing to keep.
    trouble: Option<Box<Trouble>>,
    /// Since when a request may have spent the grant, with no answer kept.
    doubt_since: Option<Timestamp>,
    /// Made when a token is refused, which few are.
    damper: Option<Box<Damper>>,
    last_used: Timestamp,
    woken_at: Option<Timestamp>,
    state: State,
    since: Timestamp,
}

/// What an event changed for those who wait.
#[derive(Clone, Copy, Debug)]
enum News {
    /// Nothing for the better.
    Asked,
    Changed,
    /// This member's token has just come.
    Granted(u16),
    /// More of the same may follow, before anything is requested.
    Restored,
}

impl Lifecycle {
    /// A credential that holds nothing yet. A policy can be shared.
    pub fn new(policy: impl Into<Arc<Policy>>, now: Timestamp) -> Self {
        let policy = policy.into();
        Self {
            members: (0..policy.pool.max(1)).map(|_| Member::default()).collect(),
            policy,
            waiting: Waiting::default(),
            trouble: None,
            doubt_since: None,
            damper: None,
            last_used: now,
            woken_at: None,
            state: State::Renewing,
            since: now,
        }
    }

    /// Takes in what happened and says what to do about it.
    pub fn handle(&mut self, now: Timestamp, event: Event, chance: &mut dyn Chance) -> Vec<Action> {
        let mut actions = Vec::new();
        let news = self.take_in(now, event, chance, &mut actions);
        if !matches!(news, News::Restored) {
            self.renew_what_is_due(now, &mut actions);
        }
        self.answer_waiters(now, news, &mut actions);
        self.note_state(now);
        self.woken_at = self.wake_at(now, news);
        actions.extend(self.woken_at.map(Action::WakeAt));
        actions
    }

    fn take_in(
        &mut self,
        now: Timestamp,
        event: Event,
        chance: &mut dyn Chance,
        actions: &mut Vec<Action>,
    ) -> News {
        match event {
            Event::Asked { waiter: id, need, until } => {
                self.last_used = now;
                self.waiting.push(Waiter { id, wants: Wants::Token(need), until });
                return News::Asked;
            }
            Event::Used => {
                self.note_used(now);
                return News::Asked;
            }
            Event::Refused { waiter: id, member, generation, accepted_since, until } => {
                self.last_used = now;
                match self.on_refused(now, member, generation, accepted_since, actions) {
                    Some(wants) => self.waiting.push(Waiter { id, wants, until }),
                    None => actions.push(Action::Answer { waiter: id, verdict: Verdict::Keep }),
                }
                return News::Asked;
            }
            Event::ReplayRefused { member, generation } => {
                if let Some(damper) = &mut self.damper {
                    damper.replay_refused(member, generation);
                }
                self.no_doubts();
                return News::Asked;
            }
            Event::Accepted { member, generation } => {
                self.on_accepted(member, generation, actions);
                return News::Asked;
            }
            Event::NoCache { waiter: id, until } => {
                self.last_used = now;
                let wants = self.on_no_cache(now);
                self.waiting.push(Waiter { id, wants, until });
                return News::Asked;
            }
            Event::FoundDead { member, generation } => {
                self.on_found_dead(now, member, generation, actions);
            }
            Event::Renew => self.members.iter_mut().for_each(|member| member.due = now),
            Event::Reconfigured => {
                self.trouble = None;
                self.doubt_since = None;
                self.members.iter_mut().for_each(|member| member.not_before = now);
            }
            Event::Restored { member, held } => {
                self.hold(now, member, held, chance, actions);
                return News::Restored;
            }
            Event::Granted { member, held } => {
                if self.on_granted(now, member, held, chance, actions) {
                    return News::Granted(member);
                }
            }
            Event::Elsewhere { member, retry_after } => {
                if let Some(member) = self.members.get_mut(usize::from(member)) {
                    member.renewing_since = None;
                    member.not_before = now + retry_after.max(LOOK_AGAIN);
                }
            }
            Event::Failed { member, failure, doubt_since } => {
                self.doubt_since = doubt_since.or(self.doubt_since);
                self.on_failed(now, member, failure, chance);
            }
            Event::Woken => {}
        }
        News::Changed
    }

    /// Callers took tokens by themselves; as [`Event::Used`] where another event follows anyway.
    pub fn note_used(&mut self, now: Timestamp) {
        self.last_used = now;
    }

    /// What it is doing, and why.
    pub fn status(&self) -> Status {
        let (next_action, next_at) = match self.trouble() {
            Trouble::None if self.is_renewing() => (NextAction::AwaitAnswer, None),
            Trouble::None => {
                let next = self.members.iter().filter(|member| member.held.is_some());
                match next.map(Member::due_at).min() {
                    Some(due) => (NextAction::Renew, Some(due)),
                    None => (NextAction::AwaitDemand, None),
                }
            }
            Trouble::Retrying(Retrying { state: State::Misconfigured, .. }) => {
                (NextAction::Probe, self.resumes_at(Timestamp::ZERO))
            }
            Trouble::Retrying(_) => (NextAction::Retry, self.resumes_at(Timestamp::ZERO)),
            Trouble::Stopped(_) => (NextAction::Reauthorize, None),
        };
        Status {
            state: self.state,
            cause: self.trouble().failure().map(|failure| failure.cause),
            failures: self.trouble().failures(),
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
        self.waiting.len()
    }

    /// Whether nobody has asked for so long that it may be forgotten; never for [`Demand::Always`].
    pub fn is_idle(&self, now: Timestamp) -> bool {
        match self.policy.demand {
            Demand::Always => false,
            Demand::WhileUsed { idle_after } => {
                let used = self.waiting.len() > 0 || now < self.idle_from(idle_after);
                !used && !self.is_renewing()
            }
        }
    }

    /// The latest [`Action::WakeAt`].
    pub fn wakes_at(&self) -> Option<Timestamp> {
        self.woken_at
    }

    fn trouble(&self) -> Trouble {
        self.trouble.as_deref().copied().unwrap_or(Trouble::None)
    }

    fn is_renewing(&self) -> bool {
        self.members.iter().any(Member::is_renewing)
    }

    /// Whether the token is news: neither older than the one held, nor the one that was refused.
    fn hold(
        &mut self,
        now: Timestamp,
        index: u16,
        held: Held,
        chance: &mut dyn Chance,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(member) = self.members.get_mut(usize::from(index)) else {
            return false;
        };
        let known = member.generation();
        if held.generation < known || (held.generation == known && member.suspect) {
            return false;
        }
        member.held = Some(held);
        member.suspect = false;
        member.doubted = false;
        member.due = held.renew_at(self.policy.default_lifetime, chance);
        actions.push(Action::Publish { member: index, held });
        self.put_oldest_first();
        if let Some(damper) = &mut self.damper {
            damper.granted(now, index, held.generation);
        }
        true
    }

    /// Gives the earliest due times to the oldest tokens.
    fn put_oldest_first(&mut self) {
        if self.members.len() == 1 {
            return;
        }
        let mut by_age: Vec<usize> =
            (0..self.members.len()).filter(|&i| self.members[i].held.is_some()).collect();
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
    ) -> bool {
        if let Some(member) = self.members.get_mut(usize::from(index)) {
            member.renewing_since = None;
            // Not earlier than asked before: another holder's token may be older than our question.
            member.not_before = member.not_before.max(held.sent_at + self.policy.least_interval);
        }
        self.trouble = None;
        self.doubt_since = None;
        self.hold(now, index, held, chance, actions)
    }

    fn on_failed(&mut self, now: Timestamp, index: u16, failure: Failure, chance: &mut dyn Chance) {
        let member = self.members.get_mut(usize::from(index));
        let asked_at = member.and_then(|member| member.renewing_since.take());
        if let Some(damper) = &mut self.damper {
            damper.failed(index);
        }
        if failure.cause == Cause::InDoubt {
            self.doubt_since.get_or_insert(asked_at.unwrap_or(now));
        }
        let in_doubt = self.doubt_since.is_some();
        let trouble = self.trouble().after(now, failure, in_doubt, &self.policy, chance);
        self.trouble = Some(Box::new(trouble));
    }

    /// What the caller of a refused request waits for; `None` if the refusal stands.
    fn on_refused(
        &mut self,
        now: Timestamp,
        index: u16,
        generation: u64,
        accepted_since: bool,
        actions: &mut Vec<Action>,
    ) -> Option<Wants> {
        let member = self.members.get(usize::from(index))?;
        let newer = Wants::Newer { member: index, generation };
        if member.generation() != generation || member.suspect {
            return Some(newer);
        }
        if accepted_since {
            // If it was on trial, then others' requests do not make it a cure.
            if let Some(damper) = &mut self.damper {
                damper.replay_refused(index, generation);
            }
            return None;
        }
        match self.damper.get_or_insert_default().refused(now, index, generation) {
            Ruling::Keep => {
                self.no_doubts();
                None
            }
            Ruling::Join { member: on_trial } => {
                self.members[usize::from(index)].doubted = true;
                let trial = self.members.get(usize::from(on_trial))?;
                let known = trial.generation();
                let is_granted = !trial.suspect && !trial.is_renewing();
                let generation = known.saturating_sub(u64::from(is_granted));
                Some(Wants::Newer { member: on_trial, generation })
            }
            Ruling::Force => {
                self.suspect(index, actions);
                Some(newer)
            }
        }
    }

    /// A cure that works tells of the others, too, that were refused meanwhile: they are renewed
    /// together, instead of each being refused again for a trial of its own.
    fn on_accepted(&mut self, index: u16, generation: u64, actions: &mut Vec<Action>) {
        let member = self.members.get_mut(usize::from(index));
        if let Some(member) = member.filter(|member| member.generation() == generation) {
            member.doubted = false;
        }
        let ends_well =
            self.damper.as_mut().is_some_and(|damper| damper.accepted(index, generation));
        if !ends_well {
            return;
        }
        for (index, member) in (0_u16..).zip(self.members.iter_mut()) {
            if std::mem::take(&mut member.doubted) && member.unsuspected().is_some() {
                member.suspect = true;
                actions.push(Action::Withdraw { member: index });
            }
        }
    }

    /// The fault is not the tokens'.
    fn no_doubts(&mut self) {
        self.members.iter_mut().for_each(|member| member.doubted = false);
    }

    fn on_no_cache(&mut self, now: Timestamp) -> Wants {
        let held = (0_u16..).zip(self.members.iter_mut());
        let held = held.filter_map(|(i, member)| Some((i, member.unsuspected()?, member)));
        match held.max_by_key(|(_, held, _)| held.sent_at) {
            Some((index, held, member)) => {
                let damper = self.damper.get_or_insert_default();
                let forces = damper.allows_no_cache(now, held.sent_at);
                if forces {
                    member.due = now;
                }
                if forces || member.is_renewing() {
                    return Wants::Fresher { member: index, generation: held.generation };
                }
                Wants::Token(Need::HandOut)
            }
            None => Wants::Token(Need::HandOut),
        }
    }

    fn on_found_dead(
        &mut self,
        now: Timestamp,
        index: u16,
        generation: u64,
        actions: &mut Vec<Action>,
    ) {
        let held = self.members.get(usize::from(index)).and_then(Member::unsuspected);
        if held.is_some_and(|held| held.generation == generation) {
            match self.damper.get_or_insert_default().refused(now, index, generation) {
                Ruling::Keep => {}
                Ruling::Join { .. } | Ruling::Force => self.suspect(index, actions),
            }
        }
    }

    /// Takes a member's token out of use until it is renewed.
    fn suspect(&mut self, index: u16, actions: &mut Vec<Action>) {
        self.members[usize::from(index)].suspect = true;
        actions.push(Action::Withdraw { member: index });
    }

    fn renew_what_is_due(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if !self.is_wanted(now) || self.resumes_at(now).is_none_or(|at| now < at) {
            return;
        }
        // One request finds out whether client, grant and server are good, before many are sent.
        let is_proven = self.trouble().is_none() && self.members.iter().any(|m| m.held.is_some());
        let at_once = if is_proven { usize::MAX } else { 1 };
        let mut in_flight = self.members.iter().filter(|member| member.is_renewing()).count();
        let replacing = |member: &Member| member.unsuspected().is_some();
        let mut replaced =
            self.members.iter().filter(|member| member.is_renewing() && replacing(member)).count();
        let mut due: Vec<u16> = (0_u16..)
            .zip(self.members.iter())
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
            member.renewing_since = Some(now);
            member.not_before = now + self.policy.least_interval;
            let urgency = member.unsuspected().map_or(now, |held| held.hand_out_until());
            actions.push(Action::Renew { member: index, urgency });
        }
    }

    /// When a request may go; `None` if none may. One in doubt is not sent again outside the
    /// server's window while a usable token is left to lose.
    fn resumes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let resumes_at = self.trouble().resumes_at()?;
        let Some(since) = self.doubt_since else {
            return Some(resumes_at);
        };
        if resumes_at.max(now) < self.policy.replay.safe_until(since) {
            return Some(resumes_at);
        }
        Some(resumes_at.max(self.usable_until()))
    }

    /// When the last token ends that may be given to someone; [`Timestamp::ZERO`] if there is none.
    pub fn usable_until(&self) -> Timestamp {
        let usable = self.members.iter().filter_map(Member::unsuspected);
        usable.map(|held| held.expires_at()).max().unwrap_or_default()
    }

    fn is_wanted(&self, now: Timestamp) -> bool {
        match self.policy.demand {
            Demand::Always => true,
            Demand::WhileUsed { idle_after } => {
                let holds = self.members.iter().any(|member| member.held.is_some());
                self.waiting.len() > 0 || (holds && now < self.idle_from(idle_after))
            }
        }
    }

    /// When nobody asked for `idle_after`, and for a whole lifetime.
    fn idle_from(&self, idle_after: Duration) -> Timestamp {
        let held = self.members.iter().filter_map(|member| member.held);
        let life = held.filter_map(|held| held.lifetime).max();
        self.last_used + idle_after.max(life.unwrap_or_default())
    }

    /// Leaves waiters unanswered only while a request may still serve them.
    fn answer_waiters(&mut self, now: Timestamp, news: News, actions: &mut Vec<Action>) {
        let was_due = self.woken_at.is_some_and(|at| at <= now);
        let whom = match news {
            News::Asked if !was_due => Whom::Newcomers,
            News::Asked | News::Changed | News::Granted(_) | News::Restored => Whom::Everyone,
        };
        let (members, trouble) = (&self.members, &self.trouble());
        let (renewing, resumes_at) = (self.is_renewing(), self.resumes_at(now));
        self.waiting.answer(whom, actions, |waiter| {
            let served = usable(members, trouble, waiter.wants, now).or_else(|| match news {
                // A token that lives for an instant still serves those who waited for it.
                News::Granted(member) => waiter.wants.takes(member).then_some(member),
                News::Asked | News::Changed | News::Restored => None,
            });
            if let Some(member) = served {
                return Some(Verdict::Serve { member });
            }
            let failure = trouble.tells(now, waiter.until, renewing, resumes_at)?;
            // Out of time: rather a short token than none.
            let short = match waiter.wants {
                Wants::Token(_) | Wants::Fresher { .. } => {
                    usable(members, trouble, Wants::Token(Need::Use), now)
                }
                Wants::Newer { .. } => None,
            };
            Some(short.map_or(Verdict::Failed(failure), |member| Verdict::Serve { member }))
        });
    }

    fn note_state(&mut self, now: Timestamp) {
        let state = match self.trouble() {
            Trouble::None if self.is_renewing() => State::Renewing,
            Trouble::None => State::Fresh,
            Trouble::Retrying(retrying) => retrying.state,
            Trouble::Stopped(_) => State::NeedsReauth,
        };
        if state != self.state {
            (self.state, self.since) = (state, now);
        }
    }

    fn wake_at(&self, now: Timestamp, news: News) -> Option<Timestamp> {
        let idle = self.members.iter().filter(|member| !member.is_renewing());
        let due = idle.map(Member::due_at).min().filter(|_| self.is_wanted(now));
        let renewal = self.resumes_at(now).zip(due).map(|(resumes, due)| resumes.max(due));
        let renewal = match news {
            // What is due already was put off until the rest is restored.
            News::Restored => renewal.map(|at| at.max(now + AT_ONCE)),
            News::Asked | News::Changed | News::Granted(_) => renewal,
        };
        let first_until = self.waiting.first_until();
        let slow = self.members.iter().filter_map(Member::slow_at);
        let slow = slow.filter(|_| first_until.is_some());
        slow.chain(renewal).chain(first_until).filter(|&at| at > now).min()
    }
}

/// A member whose token serves, the one that lives longest.
fn usable(members: &[Member], trouble: &Trouble, wants: Wants, now: Timestamp) -> Option<u16> {
    let serves = |index: u16, member: &Member| -> Option<Timestamp> {
        let held = member.usable(now)?;
        // While renewal fails, what is held is served to its end.
        let failing = || !trouble.is_none() || member.slow_at().is_some_and(|at| at <= now);
        let is_newer = |wanted, generation| index == wanted && held.generation > generation;
        let fits = match wants {
            Wants::Token(Need::Use) => true,
            Wants::Token(Need::HandOut) => now < held.hand_out_until() || failing(),
            Wants::Newer { member, generation } => is_newer(member, generation),
            Wants::Fresher { member, generation } => is_newer(member, generation) || failing(),
        };
        fits.then(|| held.expires_at())
    };
    let candidates = (0_u16..).zip(members).filter_map(|(i, m)| serves(i, m).map(|end| (end, i)));
    candidates.max().map(|(_, index)| index)
}
