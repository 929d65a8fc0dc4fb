//! What is true of each grant: what was spent and heard, what is durable and where, and how it all
//! looks when no fault has come for a while.

use std::time::Duration;

use bellwether_lifecycle::{Replay, State, Timestamp};

use super::fact::{Fact, Look};
use super::store::Row;
use super::world::{Happening, World};
use crate::rotation::Rotation;

/// One grant's truth.
#[derive(Debug, Default)]
pub(super) struct Grant {
    /// The highest generation that any process has had.
    pub(super) newest: u64,
    /// The first use of a refresh token whose answers nobody has kept.
    unheard: Option<(Timestamp, Option<u64>)>,
    /// When a refresh token was first sent.
    first_sent: Option<(Timestamp, Option<u64>)>,
    /// The latest request that was processed.
    pub(super) latest_request: usize,
    /// The latest that made a pair.
    latest_pair: usize,
    /// A person took it back.
    pub(super) revoked: bool,
    /// The store fell back, and nothing told of it.
    pub(super) fell_silently: bool,
    /// The store fell back, and several machines count on.
    pub(super) is_forked: bool,
    /// So it was at some time.
    pub(super) was_forked: bool,
    /// The last answer is not in an escrow: the store alone has it.
    pub(super) is_not_kept: bool,
    /// A doubt outlasted what the server allows.
    pub(super) excused: bool,
    /// The refresh token at hand came, or may have been spent, at a time that a reboot or a store
    /// that was set back has hidden: its doubt counts from before the window began.
    is_ageless: bool,
    /// A request came after a later one and ended what that had brought.
    is_overtaken: bool,
}

impl Grant {
    pub(super) fn sent(&mut self, now: Timestamp, token: Option<u64>) {
        if self.first_sent.is_none_or(|(_, sent)| sent != token) {
            self.first_sent = Some((now, token));
        }
    }

    pub(super) fn spent(&mut self, now: Timestamp, request: usize, token: Option<u64>) {
        self.latest_pair = self.latest_pair.max(request);
        if self.unheard.is_none_or(|(_, unheard)| unheard != token) {
            self.unheard = Some((now, token));
        }
    }

    /// Nobody knows any more how long ago it was: a window may be over.
    pub(super) fn age_is_lost(&mut self) {
        self.is_ageless = true;
    }

    /// An answer to a request with this token is durable. Where the last pair wins, one that a later
    /// request has ended is worth nothing.
    pub(super) fn heard(&mut self, request: Option<usize>, token: Option<u64>, wins: Rotation) {
        self.is_not_kept = false;
        let is_ended = matches!(wins, Rotation::LastPair { .. })
            && request.is_some_and(|request| request < self.latest_pair);
        if is_ended {
            return;
        }
        self.is_ageless = false;
        if self.unheard.is_some_and(|(_, unheard)| unheard == token) {
            self.unheard = None;
        }
    }

    /// A request that was given up long ago ended what one after it had brought: no process knows.
    pub(super) fn overtaken(&mut self) {
        (self.excused, self.is_overtaken) = (true, true);
    }

    /// Whether a refresh token that the server would take again was rightly given up for what it
    /// brought: to whoever sent it, the safe part of the window is over.
    fn is_given_up_in_time(&self, now: Timestamp, token: u64, replay: Replay) -> bool {
        let is_over = match replay {
            Replay::LastPair(window) => self
                .first_sent
                .is_some_and(|(at, sent)| sent == Some(token) && now >= at + window.mul_f64(0.75)),
            Replay::Free | Replay::Within(_) | Replay::LastResort => false,
        };
        is_over || self.is_overtaken
    }
}

/// From the last fault to the first look: what is under way ends, a back-off ends, a lease ends.
pub(super) fn patience(request_limit: Duration) -> Duration {
    Duration::from_secs(22) + request_limit * 3
}

const WATCHED_EVERY: Duration = Duration::from_secs(5);

impl World {
    /// Every copy of a refresh token that outlives processes.
    fn durable(&self, credential: usize) -> Vec<u64> {
        let row = self.store.row(credential).and_then(|row| row.refresh);
        let escrows = self.escrows.iter().flat_map(|escrow| escrow.records(credential));
        row.into_iter().chain(escrows.filter_map(|record| record.response.refresh())).collect()
    }

    /// Whether a process can find something that the server takes.
    fn is_within_reach(&self, node: usize, credential: usize) -> bool {
        let plan = &self.scenario.plans[credential];
        let machine = self.nodes[node].machine;
        let row = self.store.row(credential).unwrap_or_default();
        let sent_next = row.refresh.filter(|_| row.refused != row.refresh);
        let best = self.escrows[machine].best(credential);
        let best = best.filter(|best| best.generation > row.generation);
        let mut found = sent_next.into_iter().chain(best.and_then(|best| best.response.refresh()));
        !plan.spends || found.any(|t| self.servers[credential].takes(self.now, plan, t))
    }

    fn is_recoverable(&self, credential: usize) -> bool {
        let plan = &self.scenario.plans[credential];
        let server = &self.servers[credential];
        !plan.spends || self.durable(credential).iter().any(|&t| server.takes(self.now, plan, t))
    }

    /// Whether the server takes what the row has now, or what an escrow has beyond it: older records
    /// are not asked for.
    fn is_succeeded(&self, credential: usize) -> bool {
        let plan = &self.scenario.plans[credential];
        let row = self.store.row(credential).unwrap_or_default();
        let records = self.escrows.iter().flat_map(|escrow| escrow.records(credential));
        let beyond = records.filter(|record| record.generation > row.generation);
        let mut found = row.refresh.into_iter().chain(beyond.filter_map(|r| r.response.refresh()));
        found.any(|token| self.servers[credential].takes(self.now, plan, token))
    }

    /// A copy of a refresh token was written over: it was not the last of one that is good.
    pub(super) fn note_given_up(&mut self, credential: usize, token: Option<u64>) {
        let Some(token) = token else { return };
        let plan = &self.scenario.plans[credential];
        let grant = &self.grants[credential];
        // One machine takes the other's doubt for older than it is.
        let is_misled = self.weather.clocks_are_wrong
            && self.machines.len() > 1
            && matches!(plan.replay(), Replay::LastPair(_));
        let excused = grant.fell_silently
            || grant.is_forked
            || is_misled
            || grant.is_given_up_in_time(self.now, token, plan.replay());
        if self.servers[credential].takes(self.now, plan, token)
            && !self.is_succeeded(credential)
            && !excused
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
            let grant = &self.grants[credential];
            // Machines that do not know of each other's answers may take the wrong one for the last.
            let is_out_of_step = grant.fell_silently || grant.is_forked;
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
                    State::Fresh | State::Renewing => lifetime < Duration::from_secs(10),
                    State::NeedsReauth => false,
                };
                // It may just have ended, and its successor be on its way.
                let recently = Duration::from_secs(6) + self.scenario.request_limit * 2;
                let ended_at = keeper.published.map_or(keeper.began_at, |published| {
                    let machine = &self.machines[self.nodes[node].machine];
                    let withdrawn_at =
                        Some(machine.now(published.at)).filter(|_| published.withdrawn);
                    withdrawn_at.unwrap_or(published.held.expires_at())
                });
                let is_on_its_way = status.state != State::NeedsReauth
                    && (now.since(ended_at.max(keeper.began_at)) < recently);
                let may_wait = may_wait || is_on_its_way;
                let look = Look {
                    state: status.state,
                    has_token,
                    recoverable: self.is_within_reach(node, credential) && !is_out_of_step,
                    may_wait,
                    lost_for_no_reason: !recoverable && !excused,
                };
                self.tell(Fact::Looked { place: self.place(node, credential), look });
            }
            if last && (!recoverable || is_out_of_step && self.is_stuck(credential)) {
                let soon = self.now + Duration::from_millis(10);
                self.timeline.add(soon, Happening::Reauthorise(credential));
            }
        }
    }

    /// Whether somebody must authorise again, whatever is still good.
    fn is_stuck(&self, credential: usize) -> bool {
        let states = self.nodes.iter().filter(|node| node.is_up);
        states.map(|node| node.keepers[credential].state).any(|state| state == State::NeedsReauth)
    }

    /// The honest limits: a server that takes a token once, or for a while that faults outlasted.
    fn is_loss_excused(&mut self, credential: usize) -> bool {
        let recovery = patience(self.scenario.request_limit);
        let replay = self.scenario.plans[credential].replay();
        let calm_from = self.weather.changed_at;
        let grant = &mut self.grants[credential];
        // A doubt counts from when the token was first sent: nobody knows when it arrived.
        let sent = |token| grant.first_sent.filter(|(_, sent)| *sent == token);
        let doubted = grant.unheard.map(|(since, token)| sent(token).map_or(since, |(at, _)| at));
        let outlasted = doubted.is_some_and(|since| match replay {
            Replay::Free => false,
            Replay::LastResort => true,
            Replay::Within(window) | Replay::LastPair(window) => {
                grant.is_ageless || calm_from + recovery > since + window.mul_f64(0.75)
            }
        });
        grant.excused |= outlasted;
        grant.excused || grant.revoked || grant.fell_silently || grant.is_forked
    }

    /// A process that needs somebody to authorise again looks now and then whether somebody has,
    /// perhaps at another process. It asks the store alone.
    pub(super) fn watch(&mut self, node: usize, incarnation: u32, credential: usize) {
        let process = &self.nodes[node];
        let machine = process.machine;
        if !process.is_up
            || process.incarnation != incarnation
            || process.keepers[credential].state != State::NeedsReauth
        {
            return;
        }
        let row = self.store.row(credential).filter(|_| !self.store_is_away(machine));
        let best = self.escrows[machine].best(credential);
        let is_new = row.is_some_and(|row| {
            let is_good = row.refresh.is_some() && row.refresh != row.refused;
            let is_behind = best.is_some_and(|best| {
                best.generation > row.generation && best.response.refresh().is_some()
            });
            is_good || is_behind
        });
        if is_new {
            self.reconfigure(node, credential);
        }
        let after = self.now + WATCHED_EVERY;
        self.timeline.add(after, Happening::Watch { node, incarnation, credential });
    }

    /// A person authorises again where that is needed.
    pub(super) fn reauthorise(&mut self, credential: usize) {
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
            self.store.evict(key);
            self.store.forget_history(key);
        }
        let was_forked = self.grants[credential].was_forked || self.grants[credential].is_forked;
        self.grants[credential] = Grant { newest: generation, was_forked, ..Grant::default() };
        self.note(None, Some(credential), || "a person authorises again".to_owned());
        for node in 0..self.nodes.len() {
            self.reconfigure(node, credential);
        }
    }
}
