//! L4: a lease is taken over when its holder is dead or its time is over, and not before.

use bellwether_lifecycle::Timestamp;

use super::{Checker, Verdict};
use crate::system::fact::Fact;

#[derive(Debug)]
pub(super) struct Takeover;

impl Checker for Takeover {
    fn see(&mut self, at: Timestamp, fact: &Fact) -> Verdict {
        if let Fact::Released { place, is_own: false } = *fact {
            return Err(format!("process {} gave back a lease of another", place.node));
        }
        let Fact::Leased { place, before: Some((lease, is_alive)), asked, .. } = *fact else {
            return Ok(());
        };
        let until = lease.taken_at + asked;
        if is_alive && at < until {
            return Err(format!(
                "process {} took a lease that process {} holds for {:?}",
                place.node,
                lease.holder.node,
                at.until(until)
            ));
        }
        Ok(())
    }
}
