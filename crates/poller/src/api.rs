//! A sample over HTTP of which only the arrival counts: what strategies are compared with.

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::store::Clock;
use http::HeaderMap;

use crate::caller::{Caller, Miss};
use crate::connector::Connector;
use crate::observed::Observed;
use crate::resource::Resource;
use crate::sampler::Sampler;
use crate::strategy::TokenStrategy;

/// Polls a [`Resource`] with the tokens of a [`TokenStrategy`].
#[derive(Debug)]
pub struct ApiSampler<S> {
    caller: Caller<S>,
    resource: Resource,
}

impl<S: TokenStrategy> ApiSampler<S> {
    /// One worker, with a connection of its own.
    pub fn new(
        strategy: S,
        resource: Resource,
        connector: &Connector,
        clock: Arc<dyn Clock>,
        observed: Arc<Observed>,
    ) -> Self {
        Self { caller: Caller::new(strategy, connector, clock, observed), resource }
    }
}

impl<S: TokenStrategy> Sampler for ApiSampler<S> {
    type Data = ();

    async fn sample(&mut self, agent: u32, patience: Duration) -> Result<(), Miss> {
        let target = self.resource.target(agent);
        self.caller.get(target, &HeaderMap::new(), patience).await.map(drop)
    }
}
