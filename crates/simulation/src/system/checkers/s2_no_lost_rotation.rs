//! S2: what an answer brought is durable before it is read, told or followed by another request,
//! and is not given up before something better is durable.

use std::collections::BTreeSet;

use bellwether_lifecycle::Timestamp;
use bellwether_lifecycle::renewal::Source;

use super::{Checker, Verdict};
use crate::system::fact::Fact;

#[derive(Debug, Default)]
pub(super) struct NoLostRotation {
    /// Requests whose answers are durable, or could not be made so.
    handled: BTreeSet<usize>,
}

/// Requests that are remembered.
const REMEMBERED: usize = 256;

impl Checker for NoLostRotation {
    fn see(&mut self, _: Timestamp, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Kept { request, .. } | Fact::NotKept { request } => {
                self.handled.insert(request);
                if self.handled.len() > REMEMBERED {
                    self.handled.pop_first();
                }
            }
            Fact::Read { request, carries } if carries && !self.handled.contains(&request) => {
                return Err(format!("the answer of request {request} was read before it was kept"));
            }
            Fact::Published { place, source: Source::Server, durable: false, .. } => {
                let credential = place.credential;
                return Err(format!(
                    "callers of credential {credential} got a token whose refresh token can be lost"
                ));
            }
            Fact::Sent { dispatch, .. } if dispatch.owes => {
                return Err("a request was sent before the last answer was durable".to_owned());
            }
            Fact::Sent { dispatch, .. } if dispatch.token.is_some() && !dispatch.has_room => {
                return Err("a request was sent without room for its answer".to_owned());
            }
            Fact::GivenUp { token, .. } => {
                return Err(format!("the last copy of refresh token {token} was given up"));
            }
            Fact::Looked { place, look } if look.lost_for_no_reason => {
                let credential = place.credential;
                return Err(format!("the grant of credential {credential} is lost"));
            }
            _ => {}
        }
        Ok(())
    }
}
