//! Who carries connections to their end: a thread for each processor, with a runtime of its own.
//!
//! What serves a request stays in one thread then: the caller's connection, the one to the API, and
//! all that wakes them. No core waits for what another one writes.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Steps of tasks between two looks for new events: each look is a system call, and a step is short.
const EVENT_INTERVAL: u32 = 250;

/// Carries what arrives, each in a task of its own.
#[derive(Debug)]
pub(crate) enum Crew<J> {
    /// On the runtime of whoever asks.
    Here(Hands<J>),
    /// On those of its workers.
    Workers(Vec<Worker<J>>),
}

/// What is done with a job.
pub(crate) struct Hands<J>(Arc<dyn Fn(J) + Send + Sync>);

impl<J> std::fmt::Debug for Hands<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hands")
    }
}

/// A thread with a runtime.
#[derive(Debug)]
pub(crate) struct Worker<J> {
    jobs: UnboundedSender<J>,
    /// What it has in hand.
    load: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

/// One job in hand.
struct InHand(Arc<AtomicUsize>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<J: Send + 'static> Crew<J> {
    /// Does everything on the current runtime.
    pub(crate) fn here<F>(carry: impl Fn(J) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::Here(Hands(Arc::new(move |job| drop(tokio::spawn(carry(job))))))
    }

    /// So many threads; `hire` is called once in each.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn hire<C, F>(
        count: NonZeroUsize,
        hire: impl Fn() -> C + Clone + Send + 'static,
    ) -> io::Result<Self>
    where
        C: Fn(J) -> F + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let worker = |number: usize| {
            let (jobs, arriving) = unbounded_channel();
            let load = Arc::<AtomicUsize>::default();
            let (hire, carried) = (hire.clone(), Arc::clone(&load));
            let mut runtime = Builder::new_current_thread();
            let runtime = runtime.event_interval(EVENT_INTERVAL).enable_all().build()?;
            let name = format!("gateway-{number}");
            let work =
                move || runtime.block_on(async move { work(arriving, hire(), carried).await });
            let thread = thread::Builder::new().name(name).spawn(work)?;
            Ok(Worker { jobs, load, thread })
        };
        (0..count.get()).map(worker).collect::<io::Result<_>>().map(Self::Workers)
    }

    /// Gives a job to whoever has least to do.
    pub(crate) fn carry(&self, job: J) {
        match self {
            Self::Here(hands) => (hands.0)(job),
            Self::Workers(workers) => {
                let load = |worker: &&Worker<J>| worker.load.load(Ordering::Relaxed);
                if let Some(worker) = workers.iter().min_by_key(load) {
                    worker.load.fetch_add(1, Ordering::Relaxed);
                    // A worker ends with its crew alone.
                    let _ = worker.jobs.send(job);
                }
            }
        }
    }

    /// Ends what is still in hand.
    pub(crate) async fn dismiss(self) {
        let Self::Workers(workers) = self else { return };
        let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
        let ended = tokio::task::spawn_blocking(|| {
            threads.into_iter().map(thread::JoinHandle::join).filter(Result::is_err).count()
        });
        match ended.await {
            Ok(0) => {}
            Ok(panicked) => tracing::error!(panicked, "workers ended badly"),
            Err(error) => tracing::error!(%error, "workers were not waited for"),
        }
    }
}

async fn work<J, C, F>(mut jobs: UnboundedReceiver<J>, carry: C, load: Arc<AtomicUsize>)
where
    C: Fn(J) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    while let Some(job) = jobs.recv().await {
        let (carried, in_hand) = (carry(job), InHand(Arc::clone(&load)));
        tokio::spawn(async move {
            carried.await;
            drop(in_hand);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn jobs_are_spread_over_the_workers_and_whoever_is_free_gets_the_next() {
        let (done, mut seen) = unbounded_channel();
        let hired = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let by_name = Arc::clone(&hired);
        let crew = Crew::hire(NonZeroUsize::new(2).unwrap(), move || {
            let name = thread::current().name().unwrap_or_default().to_owned();
            *by_name.lock().unwrap().entry(name.clone()).or_default() += 1;
            let done = done.clone();
            move |wait: tokio::sync::oneshot::Receiver<()>| {
                let (name, done) = (name.clone(), done.clone());
                async move {
                    done.send(name).unwrap();
                    let _ = wait.await;
                }
            }
        })
        .unwrap();
        let mut held = Vec::new();
        let mut carried_by = Vec::new();
        for _ in 0..4 {
            let (hold, wait) = tokio::sync::oneshot::channel();
            held.push(hold);
            crew.carry(wait);
            carried_by.push(seen.recv().await.unwrap());
        }
        assert_eq!(carried_by, ["gateway-0", "gateway-1", "gateway-0", "gateway-1"]);
        assert_eq!(hired.lock().unwrap().values().copied().collect::<Vec<_>>(), [1, 1]);
        // What is still in hand ends with them.
        crew.dismiss().await;
        assert!(held.into_iter().all(|hold| hold.send(()).is_err()));
    }
}
