//! aws-smithy-runtime: its lazy identity cache, over a resolver that makes a token.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::identity::{
    Identity, IdentityFuture, ResolveCachedIdentity, ResolveIdentity, SharedIdentityCache,
    SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::config_bag::ConfigBag;

use crate::{LIFETIME, access_token};

/// What the caches of a program share.
#[derive(Debug)]
pub struct Surroundings {
    components: RuntimeComponents,
    config: ConfigBag,
}

/// A cache with one resolver.
#[derive(Debug)]
pub struct Cache {
    cache: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    surroundings: Arc<Surroundings>,
}

#[derive(Debug)]
struct Resolver(usize);

impl ResolveIdentity for Resolver {
    fn resolve_identity<'a>(
        &'a self,
        _: &'a RuntimeComponents,
        _: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let expires_at = SystemTime::now() + Duration::from_secs(LIFETIME);
        IdentityFuture::ready(Ok(Identity::new(access_token(self.0), Some(expires_at))))
    }
}

impl Surroundings {
    /// The machine's clock and tokio's timers.
    pub fn new() -> Arc<Self> {
        let components = RuntimeComponentsBuilder::for_tests()
            .with_time_source(Some(SystemTimeSource::new()))
            .with_sleep_impl(Some(TokioSleep::new()))
            .build()
            .expect("all that a cache needs");
        Arc::new(Self { components, config: ConfigBag::base() })
    }
}

impl Cache {
    /// For the `n`th credential.
    pub fn new(surroundings: &Arc<Surroundings>, n: usize) -> Self {
        Self {
            cache: IdentityCache::lazy().build(),
            resolver: SharedIdentityResolver::new(Resolver(n)),
            surroundings: Arc::clone(surroundings),
        }
    }

    /// The identity, cached.
    pub async fn identity(&self) -> Identity {
        let Surroundings { components, config } = &*self.surroundings;
        self.cache
            .resolve_cached_identity(self.resolver.clone(), components, config)
            .await
            .expect("the resolver always answers")
    }
}
