//! The callers that wait, and what each of them waits for.

use crate::event::{Action, Need, Verdict, WaiterId};
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) id: WaiterId,
    pub(crate) wants: Wants,
    pub(crate) until: Timestamp,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wants {
    Token(Need),
    /// This member's token, after `generation` was refused.
    Newer {
        member: u16,
        generation: u64,
    },
    /// The same, but rather what is held than none.
    Fresher {
        member: u16,
        generation: u64,
    },
}

impl Wants {
    /// Whether a token that has just come to `granted` is what was waited for.
    pub(crate) fn takes(self, granted: u16) -> bool {
        match self {
            Self::Token(_) => true,
            Self::Newer { member, .. } | Self::Fresher { member, .. } => member == granted,
        }
    }
}

/// Who is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Everyone,
    /// Nothing got better since the others were looked at.
    Newcomers,
}

/// Those who wait; most of the time nobody does, and then there is nothing to keep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Option<Box<Crowd>>);

impl Waiting {
    pub(crate) fn push(&mut self, waiter: Waiter) {
        self.0.get_or_insert_default().push(waiter);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |crowd| crowd.waiters.len())
    }

    /// When the first of them must be answered.
    pub(crate) fn first_until(&self) -> Option<Timestamp> {
        self.0.as_ref()?.first_until
    }

    /// Answers those whom `verdict` has an answer for, in the order they came.
    pub(crate) fn answer(
        &mut self,
        whom: Whom,
        actions: &mut Vec<Action>,
        verdict: impl Fn(&Waiter) -> Option<Verdict>,
    ) {
        if let Some(crowd) = &mut self.0 {
            crowd.answer(whom, actions, verdict);
            if crowd.waiters.is_empty() {
                self.0 = None;
            }
        }
    }
}

/// A crowd that comes one by one is looked at one by one.
#[derive(Clone, Debug, Default)]
struct Crowd {
    waiters: Vec<Waiter>,
    newcomers: usize,
    first_until: Option<Timestamp>,
}

impl Crowd {
    fn push(&mut self, waiter: Waiter) {
        self.first_until = Some(self.first_until.map_or(waiter.until, |at| at.min(waiter.until)));
        self.waiters.push(waiter);
        self.newcomers += 1;
    }

    fn answer(
        &mut self,
        whom: Whom,
        actions: &mut Vec<Action>,
        verdict: impl Fn(&Waiter) -> Option<Verdict>,
    ) {
        let from = match whom {
            Whom::Everyone => 0,
            Whom::Newcomers => self.waiters.len() - self.newcomers,
        };
        self.newcomers = 0;
        let (first_until, mut first_went) = (self.first_until, false);
        let stays = |waiter: &Waiter| {
            let answer =
                verdict(waiter).map(|verdict| Action::Answer { waiter: waiter.id, verdict });
            actions.extend(answer);
            first_went |= answer.is_some() && Some(waiter.until) == first_until;
            answer.is_none()
        };
        if from == 0 {
            self.waiters.retain(stays);
        } else {
            let mut newcomers = self.waiters.split_off(from);
            newcomers.retain(stays);
            self.waiters.append(&mut newcomers);
        }
        if first_went {
            self.first_until = self.waiters.iter().map(|waiter| waiter.until).min();
        }
    }
}
