//! L3: requests are bounded: by the back-off of each process, by `Retry-After`, by what others met
//! a moment ago; and a refused refresh token is never sent again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::{Checker, Verdict};
use crate::system::fact::{Fact, Place};
use crate::system::scenario::Scenario;

#[derive(Debug)]
pub(super) struct BoundedRequests {
    /// What each process sent in the last ten seconds, for each credential.
    sent: BTreeMap<Place, VecDeque<Timestamp>>,
    waits: BTreeMap<Place, Timestamp>,
    nodes: usize,
    request_limit: Duration,
}

const SPAN: Duration = Duration::from_secs(10);
/// Eight in a row of failures, and as many again: what is forced by refusals, by hand, by a new
/// token's short life.
const MOST: usize = 20;

impl BoundedRequests {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            sent: BTreeMap::new(),
            waits: BTreeMap::new(),
            nodes: scenario.nodes.len(),
            request_limit: scenario.request_limit,
        }
    }
}

impl Checker for BoundedRequests {
    fn see(&mut self, at: Timestamp, fact: &Fact) -> Verdict {
        match *fact {
            Fact::ToldToWait { place, wait } => {
                let until = self.waits.entry(place).or_default();
                *until = (at + wait).max(*until);
            }
            Fact::Reconfigured { node, credential } => {
                self.waits.retain(|place, _| (place.node, place.credential) != (node, credential));
            }
            Fact::Killed { node } => {
                self.waits.retain(|place, _| place.node != node);
                self.sent.retain(|place, _| place.node != node);
            }
            // Stopped on the way out: nothing helps against that.
            Fact::Sent { dispatch, .. }
                if dispatch.left_at.since(dispatch.checked_at) > self.request_limit => {}
            Fact::Sent { place, dispatch } => {
                if dispatch.is_refused {
                    return Err("a refused refresh token was sent again".to_owned());
                }
                if self.waits.get(&place).is_some_and(|&until| at < until) {
                    return Err("a request was sent earlier than the server asked".to_owned());
                }
                let sent = self.sent.entry(place).or_default();
                sent.push_back(at);
                while sent.front().is_some_and(|&first| first + SPAN < at) {
                    sent.pop_front();
                }
                if sent.len() > MOST {
                    let count = sent.len();
                    return Err(format!("a process sent {count} requests within {SPAN:?}"));
                }
                let ours = self.sent.iter().filter(|(of, _)| of.credential == place.credential);
                let all: usize = ours.map(|(_, sent)| sent.len()).sum();
                if self.nodes > 1 && dispatch.token.is_some() && all > 2 * MOST {
                    return Err(format!("{all} requests within {SPAN:?}: failures are not shared"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
