//! What a worker does in a slot, and who hears how the slot ended.

use std::future::Future;
use std::time::Duration;

use crate::caller::{Miss, Why};
use crate::schedule::Slot;

/// Takes one sample of one agent.
pub trait Sampler: Send + 'static {
    /// What a sample brings.
    type Data: Send + 'static;

    /// Tries once. Where a token is not at hand it may wait for one, `patience` at most.
    fn sample(
        &mut self,
        agent: u32,
        patience: Duration,
    ) -> impl Future<Output = Result<Self::Data, Miss>> + Send;
}

/// How a slot ended. Each slot that fell due ends once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<D> {
    /// With a sample, in time or late.
    Sampled {
        /// What it brought.
        data: D,
        /// Whether it came later than a quarter of the period.
        late: bool,
    },
    /// Without one.
    Gap {
        /// What the last try met.
        why: Why,
        /// How often it was tried.
        tries: u32,
    },
}

/// Hears how each slot ended. While it takes its time the worker waits, so that nothing piles up.
pub trait Outlet<D>: Send + Sync + 'static {
    /// A slot ended.
    fn settled(&self, slot: Slot, settled: Settled<D>) -> impl Future<Output = ()> + Send;
}

/// Nobody needs the samples.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl<D: Send + 'static> Outlet<D> for Nobody {
    async fn settled(&self, _slot: Slot, _settled: Settled<D>) {}
}
