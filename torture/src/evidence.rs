//! What the ledger proves about one point.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use bellwether_simulation::{Entry, Verdict};

use crate::class::Class;
use crate::stage::gave;
use crate::tally::Tally;

/// A process that was ended from outside, or whose system call was made to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Harm {
    /// When its process was started.
    pub(crate) since: Timestamp,
    /// When it was harmed.
    pub(crate) at: Timestamp,
    /// Whether it had shown its token by then: whatever was shown is to be kept.
    pub(crate) showed: bool,
    /// Until when what it had sent may have arrived.
    pub(crate) heard: Timestamp,
}

/// The requests of one point and what befell the processes that sent them.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) class: Class,
    pub(crate) latency: Duration,
    pub(crate) requests: Vec<Entry>,
    pub(crate) harms: Vec<Harm>,
}

/// Where a harm fell, seen from the authorization server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Before,
    During,
    /// So long after the answer left.
    After(Duration),
}

impl Evidence {
    /// Where this harm fell.
    pub(crate) fn phase(&self, harm: &Harm) -> Phase {
        let sent = |one: &&Entry| harm.since <= one.at && one.at <= harm.at;
        let last = self.requests.iter().rev().find(sent);
        match last {
            None => Phase::Before,
            Some(request) if harm.at < request.at + self.latency => Phase::During,
            Some(request) => Phase::After(harm.at.since(request.at + self.latency)),
        }
    }

    /// The harms, for whoever looks into a failure: when, after the first request that counts.
    pub(crate) fn harms_told(&self) -> String {
        let began = self.requests.first().map(|request| request.at).unwrap_or_default();
        let told = |harm: &Harm| {
            let ms = |at: Timestamp| at.as_nanos() as f64 / 1e6 - began.as_nanos() as f64 / 1e6;
            let shown = if harm.showed { ", had shown its token" } else { "" };
            format!("{:.1} to {:.1} ms{shown}", ms(harm.since), ms(harm.at))
        };
        let told: Vec<String> = self.harms.iter().map(told).collect();
        format!("  harmed, after the first request judged: {}", told.join("; "))
    }

    /// How many requests with this refresh token may have been left without a kept answer.
    fn doubts(&self, serial: u64) -> usize {
        let uses = self.requests.iter().filter(|request| request.shown == Some(serial));
        let faulted = uses.clone().filter(|request| request.faulted).count();
        // Each harm looks at all of them.
        let could_send =
            |harm: &&Harm| !harm.showed && uses.clone().any(|one| in_its_life(one, harm));
        faulted + self.harms.iter().filter(could_send).count()
    }

    /// Whether the family may be gone although nobody is to blame: class R1, and an answer that
    /// was lost on its way.
    pub(crate) fn excuses_loss(&self) -> bool {
        let lost = |request: &&Entry| gave(request) && request.faulted;
        let cut = |harm: &Harm| {
            !harm.showed && self.requests.iter().any(|one| gave(one) && in_its_life(one, harm))
        };
        self.class.may_lose()
            && (self.requests.iter().any(|one| lost(&one)) || self.harms.iter().any(cut))
    }

    /// Whether somebody was told that the refresh token is spent.
    pub(crate) fn was_refused(&self) -> bool {
        let refused = [Verdict::Reused, Verdict::RefusedGrant];
        self.requests.iter().any(|request| refused.contains(&request.verdict))
    }

    /// Counts requests and second uses; answers with what is wrong about them.
    pub(crate) fn count(&self, tally: &mut Tally) -> Vec<String> {
        tally.renewals += self.requests.iter().filter(|request| gave(request)).count() as u64;
        if !self.class.rotates() {
            return Vec::new();
        }
        let mut uses: BTreeMap<u64, Vec<&Entry>> = BTreeMap::new();
        for request in &self.requests {
            if let Some(serial) = request.shown {
                uses.entry(serial).or_default().push(request);
            }
        }
        let mut complaints = Vec::new();
        let (mut replayed, mut twice) = (false, false);
        for (serial, uses) in uses {
            replayed |= uses.len() > 1;
            let doubts = self.doubts(serial);
            let refusals = [Verdict::Reused, Verdict::RefusedGrant];
            let refused = uses.iter().filter(|one| refusals.contains(&one.verdict)).count();
            if uses.len() > 1 + doubts {
                twice = true;
                complaints.push(format!(
                    "refresh token {serial} was sent {} times, with {doubts} doubts",
                    uses.len()
                ));
            } else if refused > 1 {
                twice = true;
                complaints
                    .push(format!("refresh token {serial} was sent again after it was refused"));
            }
        }
        tally.replayed += u64::from(replayed);
        tally.spent_twice += u64::from(twice);
        complaints
    }
}

fn in_its_life(request: &Entry, harm: &Harm) -> bool {
    harm.since <= request.at && request.at <= harm.heard
}
