//! The advice: one token for all workers of a process, behind a lock.

use std::collections::VecDeque;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::machine::{Access, Bearer, Machine, NoLogin, Order, Orders, Own, Refusal, WorkerNumber};
use crate::by_number::Granted;

/// One renews, the others wait for the lock in the order in which they came; whoever comes with a
/// token that was replaced meanwhile takes the new one.
#[derive(Debug)]
pub(super) struct SharedLock {
    processes: Vec<Shared>,
}

#[derive(Clone, Debug, Default)]
struct Shared {
    token: Option<Own>,
    /// Whoever logs in, and holds the lock meanwhile.
    holder: Option<WorkerNumber>,
    queue: VecDeque<WorkerNumber>,
}

impl SharedLock {
    pub(super) fn new(processes: u32) -> Self {
        Self { processes: vec![Shared::default(); processes as usize] }
    }

    fn process(&self, worker: WorkerNumber) -> usize {
        worker as usize % self.processes.len()
    }
}

impl Machine for SharedLock {
    fn ask(
        &mut self,
        now: Timestamp,
        worker: WorkerNumber,
        _until: Timestamp,
        orders: &mut Orders,
    ) -> Access {
        let process = self.process(worker);
        let shared = &mut self.processes[process];
        if shared.holder.is_some() {
            shared.queue.push_back(worker);
            return Access::Wait;
        }
        if let Some(token) = shared.token.filter(|token| !token.is_expired(now)) {
            return Access::Use(Bearer::lone(token.serial));
        }
        shared.holder = Some(worker);
        orders.push(Order::LogIn { tag: process as u64, delay: Duration::ZERO });
        Access::Wait
    }

    fn refused(
        &mut self,
        _now: Timestamp,
        worker: WorkerNumber,
        bearer: Bearer,
        _sent_at: Timestamp,
        _orders: &mut Orders,
    ) -> Refusal {
        let process = self.process(worker);
        let shared = &mut self.processes[process];
        if shared.token.is_some_and(|held| held.serial == bearer.serial) {
            shared.token = None;
        }
        Refusal::Seen { retry_after: None }
    }

    fn granted(
        &mut self,
        now: Timestamp,
        tag: u64,
        granted: Granted,
        _sent_at: Timestamp,
        orders: &mut Orders,
    ) {
        let shared = &mut self.processes[tag as usize];
        shared.token = Some(Own::new(now, granted));
        let waiting = shared.holder.take().into_iter().chain(shared.queue.drain(..));
        orders.extend(waiting.map(Order::Resume));
    }

    fn not_granted(&mut self, _now: Timestamp, tag: u64, failure: NoLogin, orders: &mut Orders) {
        let shared = &mut self.processes[tag as usize];
        orders.extend(shared.holder.take().map(|worker| Order::Fail(worker, failure.retry_after)));
        // The next one finds the lock free and no token, and logs in.
        orders.extend(shared.queue.drain(..).map(Order::Resume));
    }
}
