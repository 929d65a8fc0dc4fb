//! L2: while an access token is valid, reads succeed, whatever is away; and everybody is answered.

use bellwether_lifecycle::Timestamp;

use super::{Checker, Verdict};
use crate::system::fact::Fact;

#[derive(Debug)]
pub(super) struct ReadsSucceed;

impl Checker for ReadsSucceed {
    fn see(&mut self, at: Timestamp, fact: &Fact) -> Verdict {
        match *fact {
            Fact::TurnedAway { place, usable_until: Some(until) } if at < until => Err(format!(
                "a caller of {} was turned away, and a token lives for {:?}",
                place.credential,
                at.until(until)
            )),
            Fact::Forgotten { place, until } => Err(format!(
                "a caller of {} was to be answered {:?} ago",
                place.credential,
                at.since(until)
            )),
            _ => Ok(()),
        }
    }
}
