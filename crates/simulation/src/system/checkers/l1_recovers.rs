//! L1: once faults stop, every credential that can be recovered is fresh within one back-off cap,
//! and no renewal is wedged.

use bellwether_lifecycle::{State, Timestamp};

use super::{Checker, Verdict};
use crate::system::fact::Fact;

#[derive(Debug)]
pub(super) struct Recovers;

impl Checker for Recovers {
    fn see(&mut self, _: Timestamp, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Looked { place, look } if look.recoverable => {
                let is_well = match look.state {
                    State::Fresh | State::Renewing | State::InDoubt => look.has_token,
                    State::BackingOff | State::Misconfigured => look.may_wait,
                    State::NeedsReauth => false,
                };
                if !(is_well || look.may_wait) {
                    let (node, credential, state) = (place.node, place.credential, look.state);
                    return Err(format!(
                        "credential {credential} of process {node} is {state} long after the last fault"
                    ));
                }
            }
            Fact::Looked { place, look } => {
                let tells = match look.state {
                    State::InDoubt | State::NeedsReauth | State::Misconfigured => true,
                    State::Fresh | State::Renewing | State::BackingOff => look.has_token,
                };
                if !(tells || look.may_wait) {
                    let (credential, state) = (place.credential, look.state);
                    return Err(format!(
                        "the grant of {credential} is lost, and its state is {state}"
                    ));
                }
            }
            Fact::Failed { foreign: true, .. } => {
                return Err("a failure that was met with another secret was taken over".to_owned());
            }
            _ => {}
        }
        Ok(())
    }
}
