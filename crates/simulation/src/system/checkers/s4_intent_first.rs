//! S4: no refresh token leaves before the row says so, for this very request.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::{Checker, Verdict};
use crate::system::fact::Fact;
use crate::system::scenario::Scenario;

#[derive(Debug)]
pub(super) struct IntentFirst {
    request_limit: Duration,
    /// Leases that were sent under, of each credential: an intent allows one request.
    sent: BTreeSet<(usize, u64)>,
}

impl IntentFirst {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self { request_limit: scenario.request_limit, sent: BTreeSet::new() }
    }
}

impl Checker for IntentFirst {
    fn see(&mut self, _: Timestamp, fact: &Fact) -> Verdict {
        let Fact::Sent { place, dispatch } = *fact else { return Ok(()) };
        let Some(token) = dispatch.token else { return Ok(()) };
        if dispatch.left_at.since(dispatch.checked_at) > self.request_limit {
            return Ok(());
        }
        if !dispatch.has_intent {
            return Err(format!("refresh token {token} left without an intent"));
        }
        if !self.sent.insert((place.credential, dispatch.fence)) {
            return Err(format!("one intent sent refresh token {token} twice"));
        }
        Ok(())
    }
}
