//! What holding one credential costs, in live bytes on the heap.
//!
//! `memory [--profile FILE] [NAME…]`: with names, only those contestants; with a file, a profile for
//! DHAT's viewer is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use azure_core::credentials::TokenCredential;
use bellwether_broker::store::{MemoryStore, Store, SystemClock};
use bellwether_peers::bellwether::Bellwether;
use bellwether_peers::endpoint::Endpoint;
use bellwether_peers::{aws, azure, floor, google};
use bellwether_store_sqlite::SqliteStore;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const CREDENTIALS: usize = 500;
/// Added before counting starts, so that what all share is there already.
const WARM_UP: usize = 4;

const CONTESTANTS: [&str; 6] = [
    "floor",
    "bellwether",
    "bellwether-memory",
    "google-cloud-auth",
    "azure_identity",
    "aws-smithy",
];

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut profile = None;
    if let Some(flag) = arguments.iter().position(|argument| argument == "--profile") {
        arguments.remove(flag);
        profile = Some(arguments.remove(flag));
    }
    let chosen = |name: &&&str| arguments.is_empty() || arguments.iter().any(|one| one == *name);
    let _profiler = match profile {
        Some(file) => dhat::Profiler::builder().file_name(file).build(),
        None => dhat::Profiler::builder().testing().trim_backtraces(Some(4)).build(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    println!("| per credential, each its own client, token ~250 B | live heap bytes |");
    println!("|---|---:|");
    for name in CONTESTANTS.iter().filter(chosen) {
        let bytes = runtime.block_on(measure(name));
        println!("| {name} | {bytes} |");
    }
}

async fn measure(name: &str) -> usize {
    let endpoint = Endpoint::start().await.expect("a port on loopback");
    let directory = tempfile::tempdir().expect("a directory of its own");
    let clock = Arc::new(SystemClock::new());
    match name {
        "floor" => {
            let before = live_bytes().await;
            let held: HashMap<String, ArcSwap<floor::Token>> = (0..CREDENTIALS)
                .map(|n| (format!("credential-{n}"), ArcSwap::new(floor::Token::new(n))))
                .collect();
            let bytes = live_bytes().await - before;
            drop(held);
            bytes / CREDENTIALS
        }
        "bellwether" => {
            let path = directory.path().join("bellwether.db");
            let store = SqliteStore::open(&path, clock).expect("a store");
            bellwether(&endpoint, Arc::new(store)).await
        }
        "bellwether-memory" => bellwether(&endpoint, Arc::new(MemoryStore::new(clock))).await,
        "google-cloud-auth" => {
            per_credential(async |n| {
                let credentials = google::credentials(&endpoint, n);
                credentials.access_token().await.expect("a token");
                credentials
            })
            .await
        }
        "azure_identity" => {
            let transport = azure::transport();
            per_credential(async |n| {
                let credential = azure::credential(&transport, n);
                credential.get_token(azure::SCOPES, None).await.expect("a token");
                credential
            })
            .await
        }
        _ => {
            let surroundings = aws::Surroundings::new();
            per_credential(async |n| {
                let cache = Box::new(aws::Cache::new(&surroundings, n));
                cache.identity().await;
                cache
            })
            .await
        }
    }
}

async fn bellwether(endpoint: &Endpoint, store: Arc<dyn Store>) -> usize {
    let bellwether = Bellwether::start(endpoint, store);
    per_credential(async |n| {
        let handle = bellwether.add(n).await;
        handle.token().await.expect("a token");
        handle
    })
    .await
}

async fn per_credential<T>(mut add: impl AsyncFnMut(usize) -> T) -> usize {
    let mut held = Vec::with_capacity(WARM_UP + CREDENTIALS);
    for n in 0..WARM_UP {
        held.push(add(n).await);
    }
    let before = live_bytes().await;
    for n in WARM_UP..WARM_UP + CREDENTIALS {
        held.push(add(n).await);
    }
    let bytes = live_bytes().await - before;
    drop(held);
    bytes / CREDENTIALS
}

/// Live bytes once they have stayed the same for a while: connections have closed by then.
async fn live_bytes() -> usize {
    let mut last = dhat::HeapStats::get().curr_bytes;
    let mut same = 0;
    while same < 10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = dhat::HeapStats::get().curr_bytes;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}
