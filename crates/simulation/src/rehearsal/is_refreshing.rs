//! The snippet as it is usually pasted: a flag `isRefreshing` and a queue of those who wait.
//!
//! On a 401 the first sets the flag and logs in; the others queue until it is done. The flag is
//! cleared after the login, on the line that a failed login never reaches: from then on everybody
//! who meets a 401 queues for a login that nobody makes.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::machine::{
    Access, Bearer, Call, LoginAnswer, Machine, Order, Orders, Refusal, Want, WorkerNumber,
};

#[derive(Debug)]
pub(super) struct IsRefreshing {
    processes: Vec<Flagged>,
}

#[derive(Clone, Debug, Default)]
struct Flagged {
    /// It has no eye on expiry: a 401 says it all.
    token: Option<u64>,
    is_refreshing: bool,
    first: Option<WorkerNumber>,
    queue: Vec<WorkerNumber>,
}

impl IsRefreshing {
    pub(super) fn new(processes: u32) -> Self {
        Self { processes: vec![Flagged::default(); processes as usize] }
    }

    fn process(&self, worker: WorkerNumber) -> usize {
        worker as usize % self.processes.len()
    }

    /// Logs in, or waits for whoever does.
    fn refresh(&mut self, worker: WorkerNumber, orders: &mut Orders) {
        let process = self.process(worker);
        let flagged = &mut self.processes[process];
        if flagged.is_refreshing {
            flagged.queue.push(worker);
        } else {
            flagged.is_refreshing = true;
            flagged.first = Some(worker);
            orders.push(Order::LogIn { tag: process as u64, delay: Duration::ZERO });
        }
    }
}

impl Machine for IsRefreshing {
    fn ask(&mut self, _now: Timestamp, want: Want, orders: &mut Orders) -> Access {
        match self.processes[self.process(want.worker)].token {
            Some(serial) => Access::Use(Bearer::lone(serial)),
            None => {
                self.refresh(want.worker, orders);
                Access::Wait
            }
        }
    }

    fn refused(&mut self, _now: Timestamp, call: Call, orders: &mut Orders) -> Refusal {
        self.refresh(call.worker, orders);
        Refusal::SeenAndWaits
    }

    fn login_answered(&mut self, _now: Timestamp, answer: LoginAnswer, orders: &mut Orders) {
        let flagged = &mut self.processes[answer.tag as usize];
        let first = flagged.first.take();
        match answer.outcome {
            Ok(granted) => {
                flagged.token = Some(granted.serial);
                flagged.is_refreshing = false;
                orders.extend(first.into_iter().chain(flagged.queue.drain(..)).map(Order::Resume));
            }
            Err(failure) => {
                orders.extend(first.map(|worker| Order::Fail(worker, failure.retry_after)));
            }
        }
    }
}
