//! What is true of each grant: what was spent and heard, what is durable and where, and how it all
//! looks when no fault has come for a while.

use std::time::Duration;

use bellwether_lifecycle::{Replay, State, Timestamp};

use super::fact::{Fact, Look};
use super::store::Row;
use super::world::{Happening, World};

/// One grant's truth.
#[derive(Debug, Default)]
pub(super) struct Grant {
    /// The highest generation that any process has had.
    pub(super) newest: u64,
    /// The first use of a refresh token whose answers nobody has kept.
    unheard: Option<(Timestamp, Option<u64>)>,
    /// A person took it back.
    pub(super) revoked: bool,
    /// The store fell back, and nothing told of it.
    pub(super) fell_silently: bool,
    /// A doubt outlasted what the server allows.
    pub(super) excused: bool,
}

impl Grant {
    pub(super) fn spent(&mut self, now: Timestamp, token: Option<u64>) {
        if self.unheard.is_none_or(|(_, unheard)| unheard != token) {
            self.unheard = Some((now, token));
        }
    }

    /// An answer to a request with this token is durable.
    pub(super) fn heard(&mut self, token: Option<u64>) {
        if self.unheard.is_some_and(|(_, unheard)| unheard == token) {
            self.unheard = None;
        }
    }
}

/// From the last fault to the first look: what is under way ends, a back-off ends, a lease ends.
pub(super) fn patience(request_limit: Duration) -> Duration {
    Duration::from_secs(22) + request_limit * 3
}

impl World {
    /// Every copy of a refresh token that outlives processes.
    fn durable(&self, credential: usize) -> Vec<u64> {
        let row = self.store.row(credential).and_then(|row| row.refresh);
        let escrows = self.escrows.iter().flat_map(|escrow| escrow.records(credential));
        row.into_iter().chain(escrows.filter_map(|record| record.response.refresh())).collect()
    }

    fn is_recoverable(&self, credential: usize) -> bool {
        let plan = &self.scenario.plans[credential];
        let server = &self.servers[credential];
        !plan.spends || self.durable(credential).iter().any(|&t| server.takes(self.now, plan, t))
    }

    /// A copy of a refresh token was written over: it was not the last of one that is good.
    pub(super) fn note_given_up(&mut self, credential: usize, token: Option<u64>) {
        let Some(token) = token else { return };
        let plan = &self.scenario.plans[credential];
        if self.servers[credential].takes(self.now, plan, token) && !self.is_recoverable(credential)
        {
            self.tell(Fact::GivenUp { credential, token });
        }
    }

    /// No fault has come for a while: how is everybody?
    pub(super) fn look(&mut self, last: bool) {
        let calm_for = self.now.since(self.weather.changed_at);
        if self.weather.is_storm {
            return;
        }
        for credential in 0..self.scenario.plans.len() {
            let recoverable = self.is_recoverable(credential);
            let lifetime = self.scenario.plans[credential].lifetime;
            let excused = self.is_loss_excused(credential);
            for node in 0..self.nodes.len() {
                if !self.nodes[node].is_up {
                    continue;
                }
                self.look_for_forgotten(node, credential);
                let now = self.local(node);
                let keeper = &self.nodes[node].keepers[credential];
                let status = keeper.lifecycle.status();
                let published = keeper.published.filter(|published| !published.withdrawn);
                let has_token = published.is_some_and(|published| published.held.is_alive(now));
                // It probes at least every ten minutes, and waits for as long as it was asked to.
                let may_wait = match status.state {
                    State::Misconfigured => calm_for < Duration::from_secs(1_260),
                    State::BackingOff | State::InDoubt => {
                        status.next_at.is_some_and(|at| at > now)
                            && calm_for < Duration::from_secs(60)
                    }
                    State::Fresh | State::Renewing | State::NeedsReauth => {
                        lifetime < Duration::from_secs(10)
                    }
                };
                let look = Look {
                    state: status.state,
                    has_token,
                    recoverable,
                    may_wait,
                    lost_for_no_reason: !recoverable && !excused,
                };
                self.tell(Fact::Looked { place: self.place(node, credential), look });
            }
            if !recoverable && last {
                let soon = self.now + Duration::from_millis(10);
                self.timeline.add(soon, Happening::Reauthorise(credential));
            }
        }
    }

    /// The honest limits: a server that takes a token once, or for a while that faults outlasted.
    fn is_loss_excused(&mut self, credential: usize) -> bool {
        let recovery = patience(self.scenario.request_limit);
        let replay = self.scenario.plans[credential].replay();
        let calm_from = self.weather.changed_at;
        let grant = &mut self.grants[credential];
        let outlasted = grant.unheard.is_some_and(|(since, _)| match replay {
            Replay::Free => false,
            Replay::LastResort => true,
            Replay::Within(window) => calm_from + recovery > since + window.mul_f64(0.75),
        });
        grant.excused |= outlasted;
        grant.excused || grant.revoked || grant.fell_silently
    }

    /// A person authorises again where that is needed.
    pub(super) fn reauthorise(&mut self, credential: usize) {
        if self.is_recoverable(credential) {
            return;
        }
        self.totals.reauthorised += 1;
        let refresh = Some(self.servers[credential].authorise());
        let row = self.store.row(credential).unwrap_or_default();
        let escrows = self.escrows.iter().filter_map(|escrow| escrow.best(credential));
        let kept = escrows.map(|record| record.generation).max().unwrap_or_default();
        let generation = row.generation.max(self.grants[credential].newest).max(kept) + 1;
        let (attempt, epoch) = (row.attempt + 1, self.store.epoch);
        let row = Row { generation, attempt, refresh, epoch, ..Row::default() };
        for key in [credential, credential + self.scenario.plans.len()] {
            self.store.write(self.now, key, row);
            self.store.settle(key);
        }
        self.grants[credential] = Grant { newest: generation, ..Grant::default() };
        self.note(None, Some(credential), || "a person authorises again".to_owned());
        for node in 0..self.nodes.len() {
            self.reconfigure(node, credential);
        }
    }
}
