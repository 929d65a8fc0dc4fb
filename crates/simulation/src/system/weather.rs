//! When faults come: storms with calm between them, and what comes in a storm by itself.

use std::time::Duration;

use bellwether_lifecycle::renewal::{Outcome, Step};
use bellwether_lifecycle::{Cause, Event, Failure, Timestamp};

use super::fact::Fact;
use super::fault::Fault;
use super::machine::Machine;
use super::mistake::Mistake;
use super::node::FlightId;
use super::scenario::Scenario;
use super::truth::patience;
use super::world::{Happening, World};

#[derive(Debug)]
pub(super) struct Weather {
    pub(super) is_storm: bool,
    /// When it last turned.
    pub(super) changed_at: Timestamp,
    rates: [f64; Fault::ALL.len()],
    store_away_until: Vec<Timestamp>,
    disk_full_until: Vec<Timestamp>,
    pub(super) network_away_until: Timestamp,
    pub(super) server_away_until: Timestamp,
    /// A wall clock is off by more than networks leave.
    pub(super) clocks_are_wrong: bool,
}

impl Weather {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut rates = [0.0; Fault::ALL.len()];
        for &(fault, rate) in &scenario.faults {
            rates[fault as usize] = rate;
        }
        Self {
            is_storm: false,
            changed_at: Timestamp::ZERO,
            rates,
            store_away_until: vec![Timestamp::ZERO; scenario.machines],
            disk_full_until: vec![Timestamp::ZERO; scenario.machines],
            network_away_until: Timestamp::ZERO,
            server_away_until: Timestamp::ZERO,
            clocks_are_wrong: false,
        }
    }
}

/// Faults that come by themselves, not where something is done.
const BY_THEMSELVES: [Fault; 15] = [
    Fault::StoreAway,
    Fault::StoreRestored,
    Fault::StoreFailover,
    Fault::StoreRowLost,
    Fault::EscrowFull,
    Fault::NetworkAway,
    Fault::ServerAway,
    Fault::SecretChanged,
    Fault::GrantRevoked,
    Fault::Killed,
    Fault::AllKilled,
    Fault::Rebooted,
    Fault::WallClockSet,
    Fault::RenewalForced,
    Fault::PausedLong,
];

impl World {
    fn unit(&mut self) -> f64 {
        (self.chance.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether a fault comes here and now.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let rate = self.weather.rates[fault as usize];
        if !self.weather.is_storm || rate == 0.0 || self.unit() >= rate {
            return false;
        }
        self.totals.strike(fault);
        self.note(None, None, || format!("fault: {fault}"));
        true
    }

    pub(super) fn store_is_away(&self, machine: usize) -> bool {
        self.now < self.weather.store_away_until[machine]
    }

    pub(super) fn disk_is_full(&self, machine: usize) -> bool {
        self.now < self.weather.disk_full_until[machine]
    }

    /// A storm begins, or ends.
    pub(super) fn turn(&mut self, begins: bool) {
        (self.weather.is_storm, self.weather.changed_at) = (begins, self.now);
        self.tell(Fact::Storm(begins));
        let (storm, calm) = (self.scenario.storm, self.scenario.calm);
        let patience = patience(self.scenario.request_limit);
        if !begins {
            self.end_faults();
            let calm = calm.max(patience + Duration::from_secs(1));
            self.timeline.add(self.now + patience, Happening::Look { last: false });
            let end = self.now + calm;
            self.timeline.add(end - Duration::from_millis(500), Happening::Look { last: true });
            return self.timeline.add(end, Happening::Storm(true));
        }
        self.timeline.add(self.now + storm, Happening::Storm(false));
        for fault in BY_THEMSELVES {
            let rate = self.weather.rates[fault as usize];
            while rate > 0.0 && self.unit() < rate.min(0.8) {
                let at = self.chance.between(Duration::ZERO, storm);
                self.timeline.add(self.now + at, Happening::Strike(fault));
            }
        }
    }

    /// Whatever is away comes back, whoever is dead or stopped goes on.
    fn end_faults(&mut self) {
        let past = self.now;
        self.weather.store_away_until.fill(past);
        self.weather.disk_full_until.fill(past);
        self.weather.network_away_until = past;
        self.weather.server_away_until = past;
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_up {
                self.nodes[node].paused_until = self.nodes[node].paused_until.min(past);
                self.timeline.add(past, Happening::Resume(node));
            } else {
                let soon = self.now + self.micros(1_000, 500_000);
                self.timeline.add(soon, Happening::Start(node));
            }
        }
        for credential in 0..self.scenario.plans.len() {
            let secret = self.servers[credential].secret;
            for node in 0..self.nodes.len() {
                if self.nodes[node].secret != secret {
                    self.timeline.add(self.now, Happening::Reload { node, credential, secret });
                }
            }
        }
    }

    fn for_a_while(&mut self) -> Timestamp {
        let most = self.scenario.storm;
        self.now + self.chance.between(Duration::from_millis(200), most)
    }

    fn any_node(&mut self) -> usize {
        self.chance.below(self.nodes.len() as u64) as usize
    }

    fn any_machine(&mut self) -> usize {
        self.chance.below(self.machines.len() as u64) as usize
    }

    /// A fault comes by itself.
    pub(super) fn strike(&mut self, fault: Fault) {
        if !self.weather.is_storm {
            return;
        }
        self.totals.strike(fault);
        self.note(None, None, || format!("fault: {fault}"));
        let credential = self.chance.below(self.scenario.plans.len() as u64) as usize;
        match fault {
            Fault::StoreAway => {
                let (until, machine) = (self.for_a_while(), self.any_machine());
                match self.chance.below(2) {
                    0 => self.weather.store_away_until.fill(until),
                    _ => self.weather.store_away_until[machine] = until,
                }
            }
            Fault::StoreRestored => {
                for credential in self.fall_back() {
                    let several = self.machines.len() > 1;
                    let grant = &mut self.grants[credential];
                    grant.is_forked |= several;
                    grant.excused |= grant.is_not_kept;
                }
                // A row that is as it was is in doubt too: nobody knows that it is.
                self.grants.iter_mut().for_each(super::truth::Grant::age_is_lost);
                self.store.epoch += 1;
            }
            Fault::StoreFailover => {
                for credential in self.fall_back() {
                    self.grants[credential].fell_silently = true;
                    self.grants[credential].is_forked = true;
                }
            }
            Fault::StoreRowLost => {
                self.store.lose(self.now, credential);
                self.grants[credential].fell_silently = true;
                self.grants[credential].is_forked = true;
            }
            Fault::EscrowFull => {
                let (until, machine) = (self.for_a_while(), self.any_machine());
                self.weather.disk_full_until[machine] = until;
            }
            Fault::NetworkAway => self.weather.network_away_until = self.for_a_while(),
            Fault::ServerAway => self.weather.server_away_until = self.for_a_while(),
            Fault::SecretChanged => self.change_secret(),
            Fault::GrantRevoked => {
                self.servers[credential].revoke();
                self.grants[credential].revoked = true;
            }
            Fault::Killed => {
                let node = self.any_node();
                self.kill(node);
            }
            Fault::AllKilled => (0..self.nodes.len()).for_each(|node| self.kill(node)),
            Fault::Rebooted => {
                let machine = self.any_machine();
                self.reboot(machine);
            }
            Fault::WallClockSet => self.set_wall_clock(),
            Fault::RenewalForced => {
                let node = self.any_node();
                self.handle(node, credential, Event::Renew, None);
            }
            Fault::PausedLong => {
                let node = self.any_node();
                self.stop(node, true);
            }
            Fault::StoreFails
            | Fault::StoreOutcomeUnknown
            | Fault::StoreSlow
            | Fault::EscrowFails
            | Fault::EscrowSlow
            | Fault::ConnectionRefused
            | Fault::RequestLost
            | Fault::AnswerLost
            | Fault::ConnectionReset
            | Fault::NetworkSlow
            | Fault::ServerErrorBefore
            | Fault::ServerErrorAfter
            | Fault::AnswerBroken
            | Fault::Throttled
            | Fault::InvalidClient
            | Fault::TokenRefused
            | Fault::KilledAtStep
            | Fault::KilledWithinStep
            | Fault::PausedBriefly
            | Fault::Panicked => {}
        }
    }

    /// The store becomes what it was a while ago.
    fn fall_back(&mut self) -> Vec<usize> {
        let lifetime = self.scenario.plans[0].lifetime;
        let ago = self.chance.between(Duration::from_millis(1), lifetime * 2);
        let keys = self.store.fall_back(self.now, self.now - ago);
        keys.into_iter().filter(|&key| key < self.scenario.plans.len()).collect()
    }

    fn change_secret(&mut self) {
        let secret = self.servers[0].secret + 1;
        self.servers.iter_mut().for_each(|server| server.secret = secret);
        for node in 0..self.nodes.len() {
            let after = self.chance.between(Duration::ZERO, Duration::from_secs(30));
            for credential in 0..self.scenario.plans.len() {
                let reload = Happening::Reload { node, credential, secret };
                self.timeline.add(self.now + after, reload);
            }
        }
    }

    fn set_wall_clock(&mut self) {
        let year = 365 * 86_400_000;
        let range = [2_000, 300_000, 3_600_000, 10 * year][self.chance.below(4) as usize];
        let machine = self.any_machine();
        let error = self.chance.below(2 * range) as i64 - range as i64;
        self.machines[machine].wall_error = error;
        self.weather.clocks_are_wrong |= error.unsigned_abs() > 1_000;
    }

    fn reboot(&mut self, machine: usize) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].machine == machine {
                self.kill(node);
            }
        }
        for credential in 0..self.grants.len() {
            let row = self.store.row(credential);
            if row.is_none_or(|row| row.intent.is_some() || row.doubt.is_some()) {
                self.grants[credential].age_is_lost();
            }
        }
        let boot = self.machines.iter().map(|machine| machine.boot).max().unwrap_or_default() + 1;
        let error = self.machines[machine].wall_error;
        self.machines[machine] = Machine::booted(boot, self.now, error);
    }

    /// A process dies, and starts again after a while.
    pub(super) fn kill(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            return;
        }
        self.note(Some(node), None, || "killed".to_owned());
        let process = &mut self.nodes[node];
        process.is_up = false;
        process.flights.clear();
        process.keepers.clear();
        self.tell(Fact::Killed { node });
        let most = Duration::from_secs([1, 10, 100][self.chance.below(3) as usize]);
        let after = self.chance.between(Duration::from_millis(5), most);
        self.timeline.add(self.now + after, Happening::Start(node));
    }

    /// A process is stopped, and goes on after a while.
    fn stop(&mut self, node: usize, is_long: bool) {
        let limit = self.scenario.request_limit;
        let pause = match is_long {
            true => self.chance.between(limit, limit * 10),
            false => self.chance.between(Duration::from_millis(1), limit),
        };
        let until = self.now + pause;
        self.note(Some(node), None, || format!("stopped for {pause:?}"));
        let process = &mut self.nodes[node];
        process.paused_until = process.paused_until.max(until);
        self.timeline.add(until, Happening::Resume(node));
    }

    /// What may happen to a process as it takes a step; whether the step is not taken now.
    pub(super) fn falls(&mut self, id: FlightId, step: Step) -> bool {
        let node = id.node;
        if self.strikes(Fault::KilledAtStep) {
            self.kill(node);
            return true;
        }
        if self.strikes(Fault::KilledWithinStep) {
            let most = if matches!(step, Step::Send { .. }) { 250_000 } else { 4_000 };
            let at = self.now + self.micros(0, most);
            let incarnation = self.nodes[node].incarnation;
            self.timeline.add(at, Happening::Kill { node, incarnation });
        }
        let is_brief = self.strikes(Fault::PausedBriefly);
        if is_brief || self.strikes(Fault::PausedLong) {
            self.stop(node, !is_brief);
        }
        if self.strikes(Fault::Panicked) {
            self.panic(id);
            return true;
        }
        false
    }

    /// A process may be stopped after it looked at the clock, and before its request leaves.
    pub(super) fn falls_on_the_way(&mut self, id: FlightId) {
        if self.strikes(Fault::PausedBriefly) {
            self.stop(id.node, false);
        } else if self.strikes(Fault::PausedLong) {
            self.stop(id.node, true);
        }
    }

    /// A renewal's task ends in the middle: it is told of, and its lease is given back.
    fn panic(&mut self, id: FlightId) {
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        let (credential, key, fence) = (flight.credential, flight.key, flight.fence);
        let is_published = flight.is_published;
        self.note(Some(id.node), Some(credential), || "panicked".to_owned());
        self.nodes[id.node].flights[id.slot] = None;
        if self.makes(Mistake::PanicHoldsFlight) {
            return;
        }
        if let Some(fence) = fence.filter(|_| !self.store_is_away(self.nodes[id.node].machine)) {
            self.store.release(key, fence);
        }
        if !is_published {
            // What it sent, the row knows.
            let failure = Failure::new(Cause::Passing);
            let event = Event::Failed { member: 0, failure, doubt_since: None };
            self.handle(id.node, credential, event, None);
        }
    }

    /// A renewal tells of its token before it is kept.
    pub(super) fn publish_early(&mut self, id: FlightId) {
        use bellwether_lifecycle::Held;
        use bellwether_lifecycle::renewal::Source;
        let Some(flight) = self.nodes[id.node].flight(id) else { return };
        let Some(super::server::Response::Granted { lifetime, .. }) = flight.response else {
            return;
        };
        let generation = flight.row.map_or(0, |row| row.generation) + 1;
        let held = Held { generation, sent_at: flight.sent_at, lifetime: Some(lifetime) };
        self.land(id, Outcome::Granted { held, source: Source::Server });
    }
}
