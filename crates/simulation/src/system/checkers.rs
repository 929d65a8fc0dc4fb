//! One checker for each invariant. Each keeps a model of its own, simpler than the system's, made
//! of nothing but facts.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a checker is shown every fact, and minds a few"
)]

use bellwether_lifecycle::Timestamp;

use super::fact::Fact;
use super::scenario::Scenario;

mod l1_recovers;
mod l2_reads_succeed;
mod l3_bounded_requests;
mod l4_takeover;
mod l5_terminal_is_silent;
mod s1_one_use;
mod s2_no_lost_rotation;
mod s3_never_backwards;
mod s4_intent_first;
mod s5_doubt_is_a_state;
mod s6_honest_tokens;

/// What must not happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: String,
}

/// A checker's opinion of a fact.
type Verdict = Result<(), String>;

trait Checker {
    fn see(&mut self, at: Timestamp, fact: &Fact) -> Verdict;
}

/// All of them.
#[derive(Debug)]
pub(super) struct Checkers {
    one_use: s1_one_use::OneUse,
    no_lost_rotation: s2_no_lost_rotation::NoLostRotation,
    never_backwards: s3_never_backwards::NeverBackwards,
    intent_first: s4_intent_first::IntentFirst,
    doubt_is_a_state: s5_doubt_is_a_state::DoubtIsAState,
    honest_tokens: s6_honest_tokens::HonestTokens,
    recovers: l1_recovers::Recovers,
    reads_succeed: l2_reads_succeed::ReadsSucceed,
    bounded_requests: l3_bounded_requests::BoundedRequests,
    takeover: l4_takeover::Takeover,
    terminal_is_silent: l5_terminal_is_silent::TerminalIsSilent,
}

impl Checkers {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            one_use: s1_one_use::OneUse::new(scenario),
            no_lost_rotation: s2_no_lost_rotation::NoLostRotation::default(),
            never_backwards: s3_never_backwards::NeverBackwards::default(),
            intent_first: s4_intent_first::IntentFirst::new(scenario),
            doubt_is_a_state: s5_doubt_is_a_state::DoubtIsAState::default(),
            honest_tokens: s6_honest_tokens::HonestTokens,
            recovers: l1_recovers::Recovers,
            reads_succeed: l2_reads_succeed::ReadsSucceed,
            bounded_requests: l3_bounded_requests::BoundedRequests::new(scenario),
            takeover: l4_takeover::Takeover,
            terminal_is_silent: l5_terminal_is_silent::TerminalIsSilent::default(),
        }
    }

    /// Shows them a fact; the first that objects is heard.
    pub(super) fn see(&mut self, at: Timestamp, fact: &Fact) -> Result<(), Violation> {
        let all: [(&'static str, &mut dyn Checker); 11] = [
            ("S1 one use", &mut self.one_use),
            ("S2 no lost rotation", &mut self.no_lost_rotation),
            ("S3 never backwards", &mut self.never_backwards),
            ("S4 intent first", &mut self.intent_first),
            ("S5 doubt is a state", &mut self.doubt_is_a_state),
            ("S6 honest tokens", &mut self.honest_tokens),
            ("L1 recovers", &mut self.recovers),
            ("L2 reads succeed", &mut self.reads_succeed),
            ("L3 bounded requests", &mut self.bounded_requests),
            ("L4 takeover", &mut self.takeover),
            ("L5 terminal is silent", &mut self.terminal_is_silent),
        ];
        for (invariant, checker) in all {
            checker.see(at, fact).map_err(|what| Violation { invariant, at, what })?;
        }
        Ok(())
    }
}
