//! What one get of a cached token costs, in nanoseconds: alone, and with two callers at once.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use azure_core::credentials::TokenCredential;
use bellwether_broker::store::{MemoryStore, SystemClock};
use bellwether_peers::bellwether::Bellwether;
use bellwether_peers::endpoint::Endpoint;
use bellwether_peers::{aws, azure, floor, google};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(250);
/// Gets between two looks at the clock.
const BATCH: usize = 256;
/// The row that the others are compared with.
const BASE: &str = "arc_swap load + expiry check";

type Batch = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A batch of gets.
enum Gets {
    Plain(Box<dyn Fn() + Send + Sync>),
    Awaited(Box<dyn Fn() -> Batch + Send + Sync>),
}

struct Contestant {
    name: &'static str,
    gets: Gets,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Callers {
    One,
    /// Plain threads; what must be awaited is awaited with `block_on`.
    TwoThreads,
    /// Tasks on the runtime's two workers.
    TwoTasks,
}

impl Callers {
    const ALL: [Self; 3] = [Self::One, Self::TwoThreads, Self::TwoTasks];
}

fn plain<T>(name: &'static str, get: impl Fn() -> T + Send + Sync + 'static) -> Contestant {
    let gets = move || {
        for _ in 0..BATCH {
            black_box(get());
        }
    };
    Contestant { name, gets: Gets::Plain(Box::new(gets)) }
}

/// `get` is awaited [`BATCH`] times; its captures are cloned once for all of them.
macro_rules! awaited {
    ($name:expr, $owned:ident, $get:expr) => {{
        let gets = move || -> Batch {
            let $owned = $owned.clone();
            Box::pin(async move {
                for _ in 0..BATCH {
                    // What it is, and whether, is checked before.
                    let _ = black_box($get.await);
                }
            })
        };
        Contestant { name: $name, gets: Gets::Awaited(Box::new(gets)) }
    }};
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let contestants: Vec<Arc<Contestant>> =
        runtime.block_on(contestants()).into_iter().map(Arc::new).collect();
    let base = contestants.iter().position(|contestant| contestant.name == BASE);
    let base = base.expect("the base is measured too");
    // By callers, contestant and round.
    let mut times = vec![vec![Vec::new(); contestants.len()]; Callers::ALL.len()];
    for round in 0..=ROUNDS {
        for (callers, times) in Callers::ALL.iter().zip(&mut times) {
            for (contestant, times) in contestants.iter().zip(times) {
                let time = measure(&runtime, contestant, *callers);
                // The first round warms up.
                times.extend(time.filter(|_| round > 0));
            }
        }
        eprintln!("round {round} of {ROUNDS}");
    }
    print_table(&contestants, &times, base);
}

async fn contestants() -> Vec<Contestant> {
    let endpoint = Endpoint::start().await.expect("a port on loopback");
    let (swap, checked) = (floor::swap(), floor::swap());
    let locked = floor::locked();

    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
    let bellwether = Bellwether::start(&endpoint, store);
    let handle = bellwether.add(0).await;
    handle.token().await.expect("a token");
    let awaited_handle = handle.clone();

    let google = google::credentials(&endpoint, 0);
    google.access_token().await.expect("a token");
    let azure = azure::credential(&azure::transport(), 0);
    azure.get_token(azure::SCOPES, None).await.expect("a token");
    let aws = Arc::new(aws::Cache::new(&aws::Surroundings::new(), 0));
    aws.identity().await;
    let moka = moka::future::Cache::<String, Arc<floor::Token>>::builder()
        .time_to_live(Duration::from_secs(3600))
        .build();
    moka.insert("key".to_owned(), floor::Token::new(0)).await;

    vec![
        plain("Instant::now", Instant::now),
        plain("CLOCK_BOOTTIME", || clock_gettime(ClockId::Boottime)),
        plain("arc_swap load, no expiry check", move || swap.load().text.len()),
        plain(BASE, move || {
            let token = checked.load();
            token.is_alive().then(|| token.text.len())
        }),
        plain("std RwLock<Arc<Token>> + expiry check", move || {
            let token = locked.read().expect("nobody panics").clone();
            token.is_alive().then_some(token)
        }),
        plain("**bellwether** `Handle::current()`", move || {
            handle.current().map(|token| token.access_token().len())
        }),
        awaited!("**bellwether** `Handle::token().await`", awaited_handle, awaited_handle.token()),
        awaited!("google-cloud-auth `access_token()`", google, google.access_token()),
        awaited!("azure_identity `get_token()`", azure, azure.get_token(azure::SCOPES, None)),
        awaited!("aws-smithy-runtime lazy identity cache", aws, aws.identity()),
        awaited!("moka future `get`, without an expiry check", moka, moka.get("key")),
    ]
}

/// Nanoseconds of one caller's get.
fn measure(runtime: &Runtime, contestant: &Arc<Contestant>, callers: Callers) -> Option<f64> {
    let (stop, total) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    match (callers, &contestant.gets) {
        (Callers::TwoTasks, Gets::Plain(_)) => return None,
        (Callers::TwoTasks, Gets::Awaited(_)) => {
            let task = || {
                let (stop, total) = (Arc::clone(&stop), Arc::clone(&total));
                let contestant = Arc::clone(contestant);
                runtime.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        if let Gets::Awaited(gets) = &contestant.gets {
                            gets().await;
                        }
                        total.fetch_add(BATCH as u64, Ordering::Relaxed);
                    }
                })
            };
            let tasks = [task(), task()];
            thread::sleep(ROUND);
            stop.store(true, Ordering::Relaxed);
            for task in tasks {
                runtime.block_on(task).expect("no task panics");
            }
        }
        (Callers::One | Callers::TwoThreads, _) => thread::scope(|scope| {
            for _ in 0..callers_of(callers) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        match &contestant.gets {
                            Gets::Plain(gets) => gets(),
                            Gets::Awaited(gets) => runtime.handle().block_on(gets()),
                        }
                        total.fetch_add(BATCH as u64, Ordering::Relaxed);
                    }
                });
            }
            thread::sleep(ROUND);
            stop.store(true, Ordering::Relaxed);
        }),
    }
    let spent = begun.elapsed().as_nanos() as f64 * f64::from(callers_of(callers));
    Some(spent / total.load(Ordering::Relaxed) as f64)
}

fn callers_of(callers: Callers) -> u32 {
    match callers {
        Callers::One => 1,
        Callers::TwoThreads | Callers::TwoTasks => 2,
    }
}

fn print_table(contestants: &[Arc<Contestant>], times: &[Vec<Vec<f64>>], base: usize) {
    println!(
        "| cached get | ratio to arc_swap + expiry, 1 / 2 callers | ns, 1 caller (min-max) | \
         ns, 2 OS threads (min-max) | ns, 2 tokio tasks (min-max) |"
    );
    println!("|---|---:|---:|---:|---:|");
    for (index, contestant) in contestants.iter().enumerate() {
        let ratio = |callers: usize| {
            let rounds = times[callers][index].iter().zip(&times[callers][base]);
            median(&rounds.map(|(time, base)| time / base).collect::<Vec<_>>())
        };
        let cell = |callers: usize| match times[callers][index].as_slice() {
            [] => "-".to_owned(),
            rounds => {
                let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
                let most = rounds.iter().copied().fold(0.0, f64::max);
                format!("{:.1} ({least:.1}-{most:.1})", median(rounds))
            }
        };
        println!(
            "| {} | {:.2} / {:.2} | {} | {} | {} |",
            contestant.name,
            ratio(0),
            ratio(1),
            cell(0),
            cell(1),
            cell(2)
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
