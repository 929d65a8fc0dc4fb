//! The threads that wait for the disk.
//!
//! They are all started at the beginning, so that none is missing when an answer is at hand. Half
//! of them do nothing but append: no number of reservations makes an append wait for its turn.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::answer::{self, Answer};
use crate::store::StoreError;

/// Threads that only append; as many others append too, and do the rest while nobody does.
/// Appends that wait for the disk at the same time share its flushes.
const APPENDING: usize = 4;
/// Enough for opening, reading and writing files.
const STACK: usize = 256 << 10;

/// How much a job is in a hurry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hurry {
    /// An answer that exists nowhere else.
    Append,
    /// All else.
    Rest,
}

type Job = Box<dyn FnOnce() + Send>;

/// Does jobs; dropping it does those that are still waiting and then ends.
pub(crate) struct Workers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes a thread that only appends.
    append: Condvar,
    /// Wakes a thread that does the rest too.
    rest: Condvar,
}

#[derive(Default)]
struct Waiting {
    appends: VecDeque<Job>,
    rest: VecDeque<Job>,
    /// Threads that only append and wait for that.
    idle: usize,
    ended: bool,
}

impl Workers {
    pub(crate) fn start() -> Result<Self, StoreError> {
        let mut workers = Self { queue: Arc::default(), threads: Vec::new() };
        for hurry in [Hurry::Append; APPENDING].into_iter().chain([Hurry::Rest; APPENDING]) {
            let queue = workers.queue.clone();
            let thread = thread::Builder::new()
                .name("escrow".to_owned())
                .stack_size(STACK)
                .spawn(move || queue.serve(hurry))
                .map_err(|error| StoreError::Unavailable {
                    why: format!("no thread for the escrow ({error}); raise the limit on threads"),
                })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Has `work` done by one of the threads, whether anybody waits for the answer or not.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        hurry: Hurry,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<T> {
        let (teller, answer) = answer::ask();
        let job: Job = Box::new(move || teller.tell(work()));
        let mut waiting = self.queue.waiting();
        match hurry {
            Hurry::Append => waiting.appends.push_back(job),
            Hurry::Rest => waiting.rest.push_back(job),
        }
        let enough = waiting.idle >= waiting.appends.len();
        drop(waiting);
        if hurry == Hurry::Append {
            self.queue.append.notify_one();
        }
        if hurry == Hurry::Rest || !enough {
            self.queue.rest.notify_one();
        }
        answer
    }
}

impl Queue {
    /// No step leaves the queue half changed.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, does: Hurry) {
        while let Some(job) = self.next(does) {
            // Its answer tells of a panic by being dropped; the thread is needed for others.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self, does: Hurry) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            if let Some(job) = waiting.appends.pop_front() {
                return Some(job);
            }
            if does == Hurry::Rest
                && let Some(job) = waiting.rest.pop_front()
            {
                return Some(job);
            }
            if waiting.ended {
                return None;
            }
            waiting = match does {
                Hurry::Append => {
                    waiting.idle += 1;
                    let mut waiting = wait(&self.append, waiting);
                    waiting.idle -= 1;
                    waiting
                }
                Hurry::Rest => wait(&self.rest, waiting),
            };
        }
    }
}

fn wait<'a>(more: &Condvar, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
    more.wait(waiting).unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.waiting().ended = true;
        self.queue.append.notify_all();
        self.queue.rest.notify_all();
        for thread in self.threads.drain(..) {
            // Jobs do not panic out of it, see `serve`.
            let _ = thread.join();
        }
    }
}
