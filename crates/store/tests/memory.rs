//! The memory store passes the suite that every backend passes.

use std::sync::Arc;
use std::time::Duration;

use bellwether_store::conformance::{self, Fixture};
use bellwether_store::{ManualClock, MemoryStore, Store};

struct Memory {
    clock: Arc<ManualClock>,
    store: MemoryStore,
}

impl Fixture for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

#[tokio::test]
async fn conforms() {
    conformance::run(async || {
        let clock = Arc::new(ManualClock::new());
        Memory { store: MemoryStore::new(clock.clone()), clock }
    })
    .await;
}
