//! What a worker does in a slot.

use std::future::Future;
use std::time::Duration;

/// Takes one sample of one agent.
pub trait Sampler: Send + 'static {
    /// Tries once. Where a token is not at hand it may wait for one, `patience` at most.
    fn sample(&mut self, agent: u32, patience: Duration) -> impl Future<Output = Sampled> + Send;
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// The API answered with data.
    Good,
    /// It did not.
    Failed {
        /// How long the server asks to wait; without it the worker pauses as it sees fit.
        retry_after: Option<Duration>,
    },
}
