//! S3: generations never go back, for readers and for the row; only the latest holder writes; and
//! only what was presented and refused is marked as refused.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_lifecycle::Timestamp;
use bellwether_lifecycle::renewal::Change;

use super::{Checker, Verdict};
use crate::system::fact::{Fact, Place};

#[derive(Debug, Default)]
pub(super) struct NeverBackwards {
    /// For each process and credential: generation and number of the token it has for callers.
    published: BTreeMap<Place, (u64, u64)>,
    refused: BTreeSet<(usize, u64)>,
}

impl Checker for NeverBackwards {
    fn see(&mut self, _: Timestamp, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Refused { credential, token } => {
                self.refused.insert((credential, token));
            }
            Fact::Killed { node } => self.published.retain(|place, _| place.node != node),
            Fact::Published { place, generation, serial, is_forked, .. } => {
                let before = self.published.insert(place, (generation, serial));
                if let Some((known, token)) = before
                    && (generation < known
                        || (generation == known && serial != token && !is_forked))
                {
                    return Err(format!(
                        "callers saw generation {generation} (token {serial}) after {known} (token {token})"
                    ));
                }
            }
            Fact::Saved { place, fence, lease, change, before, after, fell_back, .. } => {
                if lease != Some(fence) {
                    return Err(format!("fence {fence} wrote, the lease is that of {lease:?}"));
                }
                let Some(before) = before else { return Ok(()) };
                if after.generation < before.generation {
                    let (from, to) = (before.generation, after.generation);
                    return Err(format!("the row went back from generation {from} to {to}"));
                }
                let raises = matches!(change, Change::Accept { .. });
                if raises && after.generation == before.generation {
                    return Err(format!("two tokens are of generation {}", after.generation));
                }
                if after.refused != before.refused
                    && let Some(token) = after.refused
                    && !self.refused.contains(&(place.credential, token))
                    && !fell_back
                {
                    return Err(format!("refresh token {token} was marked, and never refused"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
