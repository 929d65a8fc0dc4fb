//! L5: a process that needs somebody to authorise again sends nothing until then.

use std::collections::BTreeSet;

use bellwether_lifecycle::{Cause, State, Timestamp};

use super::{Checker, Verdict};
use crate::system::fact::{Fact, Place};

#[derive(Debug, Default)]
pub(super) struct TerminalIsSilent {
    stopped: BTreeSet<Place>,
}

impl Checker for TerminalIsSilent {
    fn see(&mut self, _: Timestamp, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Failed { place, cause: Cause::Reauthorize, state, .. } => {
                self.stopped.insert(place);
                if state != State::NeedsReauth {
                    return Err(format!("the grant was refused, and the state is {state}"));
                }
            }
            Fact::Reconfigured { node, credential } => {
                self.stopped.retain(|place| (place.node, place.credential) != (node, credential));
            }
            Fact::Killed { node } => self.stopped.retain(|place| place.node != node),
            Fact::Sent { place, .. } if self.stopped.contains(&place) => {
                return Err("a request was sent although somebody must authorise again".to_owned());
            }
            _ => {}
        }
        Ok(())
    }
}
