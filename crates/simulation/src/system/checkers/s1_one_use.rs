//! S1: each refresh token is used once, plus replays that a row written before them allows.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_lifecycle::{Replay, Timestamp};

use super::{Checker, Verdict};
use crate::system::fact::{Dispatch, Fact};
use crate::system::scenario::Scenario;

/// The server's ledger of one refresh token: what was processed, the earliest sent first.
#[derive(Debug, Default)]
struct Uses {
    first_used_at: Option<Timestamp>,
    dispatches: Vec<Dispatch>,
}

#[derive(Debug)]
pub(super) struct OneUse {
    replays: Vec<Replay>,
    request_limit: Duration,
    sent: BTreeMap<usize, Dispatch>,
    uses: Vec<BTreeMap<u64, Uses>>,
}

/// Tokens of a grant that are remembered.
const REMEMBERED: usize = 64;

impl OneUse {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            replays: scenario.plans.iter().map(super::super::scenario::Plan::replay).collect(),
            request_limit: scenario.request_limit,
            sent: BTreeMap::new(),
            uses: scenario.plans.iter().map(|_| BTreeMap::new()).collect(),
        }
    }

    /// Whether a second use was right, given the first.
    fn allowed(&self, replay: Replay, first_used_at: Timestamp, again: &Dispatch) -> Verdict {
        // The two honest limits: a process that was stopped between its last look at the clock and
        // the write, and a store that lost what nobody left remembers.
        let was_stopped = again.left_at.since(again.checked_at) > self.request_limit;
        if was_stopped || again.is_blind {
            return Ok(());
        }
        let number = again.token.unwrap_or_default();
        if !again.has_doubt {
            return Err(format!(
                "refresh token {number} was used again, and no row told of a doubt"
            ));
        }
        let has_nothing_to_lose = again.usable_until <= again.checked_at;
        let is_in_time = match replay {
            Replay::Free => true,
            Replay::Within(window) | Replay::LastPair(window) => {
                // Clocks of two machines differ by more than the window leaves.
                let since = again.doubt_since.unwrap_or_default();
                let is_misled = again.clocks_are_wrong && since > first_used_at + window / 8;
                again.checked_at <= first_used_at + window || is_misled
            }
            Replay::LastResort => false,
        };
        if is_in_time || has_nothing_to_lose {
            return Ok(());
        }
        let after = again.left_at.since(first_used_at);
        Err(format!(
            "refresh token {number} was used again after {after:?} ({replay:?}), and a usable token was left to lose"
        ))
    }
}

impl Checker for OneUse {
    fn see(&mut self, at: Timestamp, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Sent { dispatch, .. }
                if dispatch.escrow_knows_better
                    && !dispatch.is_blind
                    && dispatch.left_at.since(dispatch.checked_at) <= self.request_limit =>
            {
                return Err("a refresh token was sent whose successor is in the escrow".to_owned());
            }
            Fact::Sent { dispatch, .. } if dispatch.token.is_some() => {
                self.sent.insert(dispatch.request, dispatch);
            }
            Fact::Processed { credential, request, token: Some(token), spent: true } => {
                let Some(dispatch) = self.sent.remove(&request) else { return Ok(()) };
                let uses = &mut self.uses[credential];
                while uses.len() > REMEMBERED {
                    uses.pop_first();
                }
                let uses = uses.entry(token).or_default();
                let first = *uses.first_used_at.get_or_insert(at);
                uses.dispatches.push(dispatch);
                uses.dispatches.sort_by_key(|dispatch| dispatch.left_at);
                let again = uses.dispatches[1..].to_vec();
                for again in &again {
                    self.allowed(self.replays[credential], first, again)?;
                }
            }
            Fact::Processed { request, .. } => {
                self.sent.remove(&request);
            }
            _ => {}
        }
        Ok(())
    }
}
