//! The SQLite store passes the suite that every backend passes.

use std::sync::Arc;
use std::time::Duration;

use bellwether_store::conformance::{self, Fixture};
use bellwether_store::{ManualClock, Store};
use bellwether_store_sqlite::SqliteStore;
use tempfile::TempDir;

struct Sqlite {
    clock: Arc<ManualClock>,
    directory: TempDir,
}

impl Fixture for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        let path = self.directory.path().join("store.db");
        Arc::new(SqliteStore::open(&path, self.clock.clone()).unwrap())
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

#[tokio::test]
async fn conforms() {
    conformance::run(async || {
        let directory = tempfile::tempdir().unwrap();
        Sqlite { clock: Arc::new(ManualClock::new()), directory }
    })
    .await;
}
