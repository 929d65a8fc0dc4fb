//! S6: callers get tokens that live, and their own.

use bellwether_lifecycle::Timestamp;

use super::{Checker, Verdict};
use crate::system::fact::Fact;

#[derive(Debug)]
pub(super) struct HonestTokens;

impl Checker for HonestTokens {
    fn see(&mut self, at: Timestamp, fact: &Fact) -> Verdict {
        let Fact::Served { place, owner, ends_at, tolerance, withdrawn, just_granted } = *fact
        else {
            return Ok(());
        };
        if owner != place.credential {
            return Err(format!("a caller of {} got a token of {owner}", place.credential));
        }
        if withdrawn {
            return Err("a caller got a token that was withdrawn".to_owned());
        }
        // Whoever waited for a token that lives for an instant gets it all the same.
        if at >= ends_at + tolerance && !just_granted {
            return Err(format!("a caller got a token {:?} after its end", at.since(ends_at)));
        }
        Ok(())
    }
}
