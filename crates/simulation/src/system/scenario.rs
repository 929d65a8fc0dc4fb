//! What a seed draws: who takes part, how the authorization servers behave, and which faults come.

use std::time::Duration;

use bellwether_lifecycle::{Policy, Replay};

use super::fault::Fault;
use crate::chance::Chance;
use crate::rotation::{Reuse, Rotation};

/// One run's cast and script.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Names the run.
    pub seed: u64,
    /// Machines.
    pub machines: usize,
    /// The machine of each process.
    pub nodes: Vec<usize>,
    /// What they keep.
    pub plans: Vec<Plan>,
    /// The longest that a token request may take.
    pub request_limit: Duration,
    /// How long it lasts.
    pub length: Duration,
    /// The faults that may come, with how likely each is where it can happen.
    pub faults: Vec<(Fault, f64)>,
    /// How long faults come, and how long none do.
    pub(super) storm: Duration,
    pub(super) calm: Duration,
}

/// A credential, and the authorization server behind it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether it has a refresh token.
    pub spends: bool,
    /// What a refresh does to the refresh token.
    pub rotation: Rotation,
    /// What a use too many does.
    pub reuse: Reuse,
    /// A refresh token that did not change is in the answer all the same.
    pub repeats_refresh_token: bool,
    /// A refresh ends the access tokens of before.
    pub refresh_ends_access_token: bool,
    /// How long an access token lives.
    pub lifetime: Duration,
    /// Between two callers of one process, on average.
    pub(super) called_every: Duration,
}

impl Plan {
    /// What a request in doubt allows.
    pub fn replay(&self) -> Replay {
        if !self.spends {
            return Replay::Free;
        }
        match self.rotation {
            Rotation::None | Rotation::UntilAcknowledged => Replay::Free,
            Rotation::Strict => Replay::LastResort,
            Rotation::NewPair { window } | Rotation::SamePair { window } => Replay::Within(window),
            Rotation::LastPair { window } => Replay::LastPair(window),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy { replay: self.replay(), ..Policy::DEFAULT }
    }
}

/// Renewals that a run has at most, as far as one can tell before.
const RENEWALS: f64 = 130.0;

impl Scenario {
    /// What `seed` draws for a run of `length`.
    pub fn draw(seed: u64, length: Duration) -> Self {
        let mut chance = Chance::new(crate::chance::mix(seed ^ 0x5eed));
        let skewed = |chance: &mut Chance, most: u64| {
            let limit = 1 + chance.below(most);
            1 + chance.below(limit)
        };
        let machines = [1, 1, 1, 2, 2, 3][chance.below(6) as usize];
        let count = (skewed(&mut chance, 8) as usize).max(machines);
        let nodes = (0..count).map(|node| node % machines).collect::<Vec<_>>();
        let most = if chance.below(50) == 0 { 50 } else { 6 };
        let credentials = skewed(&mut chance, most) as usize;
        let request_limit = Duration::from_millis([2_000, 5_000, 10_000][chance.below(3) as usize]);
        // So short that a run has about as many renewals as it can have, or up to a day.
        let flights = (nodes.len() * credentials) as f64;
        let shortest = (length.as_secs_f64() * flights / RENEWALS).clamp(1.0, 20_000.0);
        let longest = (shortest * 30.0).min(86_400.0);
        let unit = |chance: &mut Chance| chance.below(1 << 32) as f64 / (1_u64 << 32) as f64;
        let plans = (0..credentials)
            .map(|_| {
                let lifetime = shortest * (longest / shortest).powf(unit(&mut chance).powi(3));
                Plan::draw(&mut chance, Duration::from_secs(lifetime as u64))
            })
            .collect();
        let chosen = 0.15 + 0.5 * unit(&mut chance);
        let faults = Fault::ALL
            .into_iter()
            .filter_map(|fault| {
                let (is_in, strength) = (unit(&mut chance) < chosen, unit(&mut chance));
                is_in.then_some((fault, fault.usual_rate() * 4.0_f64.powf(2.0 * strength - 1.0)))
            })
            .collect();
        let storm = shortest.clamp(20.0, 1_800.0) * (0.3 + 2.0 * unit(&mut chance));
        let calm = 40.0 + 2.0 * request_limit.as_secs_f64() + storm * 2.0 * unit(&mut chance);
        let (storm, calm) = (Duration::from_secs_f64(storm), Duration::from_secs_f64(calm));
        Self { seed, machines, nodes, plans, request_limit, length, faults, storm, calm }
    }
}

impl Plan {
    fn draw(chance: &mut Chance, lifetime: Duration) -> Self {
        let window = Duration::from_secs([10, 30, 60, 300][chance.below(4) as usize]);
        let rotation = match chance.below(8) {
            0 | 1 => Rotation::None,
            2 | 3 => Rotation::Strict,
            4 => Rotation::NewPair { window },
            5 => Rotation::SamePair { window },
            6 => Rotation::UntilAcknowledged,
            _ => Rotation::LastPair { window },
        };
        let coin = |chance: &mut Chance| chance.below(2) == 0;
        Self {
            spends: rotation != Rotation::None || chance.below(3) > 0,
            rotation,
            reuse: if coin(chance) { Reuse::RevokesFamily } else { Reuse::Refused },
            repeats_refresh_token: coin(chance),
            refresh_ends_access_token: rotation != Rotation::None && chance.below(3) == 0,
            lifetime: lifetime.max(Duration::from_secs(2)),
            called_every: lifetime
                .max(Duration::from_secs(2))
                .mul_f64([0.1, 0.4, 1.5][chance.below(3) as usize]),
        }
    }
}
