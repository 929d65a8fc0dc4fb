//! The advice: one token for all workers of a process, behind a lock.

use std::collections::VecDeque;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::machine::{
    Access, Call, LoginAnswer, Machine, Order, Orders, Own, Refusal, Want, WorkerNumber,
};

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
    fn ask(&mut self, now: Timestamp, want: Want, orders: &mut Orders) -> Access {
        let worker = want.worker;
        let process = self.process(worker);
        let shared = &mut self.processes[process];
        if shared.holder.is_some() {
            shared.queue.push_back(worker);
            return Access::Wait;
        }
        if let Some(bearer) = shared.token.and_then(|own| own.unexpired(now)) {
            return Access::Use(bearer);
        }
        shared.holder = Some(worker);
        orders.push(Order::LogIn { tag: process as u64, delay: Duration::ZERO });
        Access::Wait
    }

    fn refused(&mut self, _now: Timestamp, call: Call, _orders: &mut Orders) -> Refusal {
        let process = self.process(call.worker);
        let shared = &mut self.processes[process];
        if shared.token.is_some_and(|own| own.is(call.bearer)) {
            shared.token = None;
        }
        Refusal::Seen { retry_after: None }
    }

    fn login_answered(&mut self, now: Timestamp, answer: LoginAnswer, orders: &mut Orders) {
        let shared = &mut self.processes[answer.tag as usize];
        let holder = shared.holder.take();
        match answer.outcome {
            Ok(granted) => {
                shared.token = Some(Own::new(now, granted));
                orders.extend(holder.map(Order::Resume));
            }
            Err(failure) => {
                orders.extend(holder.map(|worker| Order::Fail(worker, failure.retry_after)));
            }
        }
        // After a failure the next one finds the lock free and no token, and logs in.
        orders.extend(shared.queue.drain(..).map(Order::Resume));
    }
}
