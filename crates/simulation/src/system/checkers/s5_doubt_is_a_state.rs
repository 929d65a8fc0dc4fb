//! S5: what may have been sent and has no answer is a doubt, in the process and in the row, until
//! an answer resolves it; and there is no doubt without a cause.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_lifecycle::Timestamp;

use super::{Checker, Verdict};
use crate::system::fact::Fact;

#[derive(Debug, Default)]
pub(super) struct DoubtIsAState {
    /// Refresh tokens that were spent by requests whose answers nobody has kept.
    unheard: BTreeMap<usize, BTreeSet<(u64, usize)>>,
}

impl Checker for DoubtIsAState {
    fn see(&mut self, _: Timestamp, fact: &Fact) -> Verdict {
        match *fact {
            Fact::Processed { credential, request, token: Some(token), spent: true } => {
                self.unheard.entry(credential).or_default().insert((token, request));
            }
            Fact::Kept { credential, request, carries: true } => {
                let unheard = self.unheard.entry(credential).or_default();
                let token = unheard.iter().find(|(_, of)| *of == request).map(|(token, _)| *token);
                unheard.retain(|(of, _)| Some(*of) != token);
            }
            Fact::Saved { place, after, fell_back: false, .. } => {
                let silent = after.intent.is_none() && after.doubt.is_none();
                let Some(token) = after.refresh.filter(|_| silent) else { return Ok(()) };
                let unheard = self.unheard.get(&place.credential);
                let is_spent = unheard.is_some_and(|all| all.iter().any(|(of, _)| *of == token));
                if is_spent && after.refused != Some(token) {
                    return Err(format!(
                        "refresh token {token} may be spent, and the row is silent"
                    ));
                }
            }
            Fact::Failed { unheard: true, in_doubt: false, cause, .. } => {
                return Err(format!("an answer was lost, and the process speaks of {cause:?}"));
            }
            _ => {}
        }
        Ok(())
    }
}
