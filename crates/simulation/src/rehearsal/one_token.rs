//! One token for all workers of a process, renewed without a lock by whoever sees it end.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::machine::{
    Access, Call, LoginAnswer, Machine, Order, Orders, Own, Refusal, Want, WorkerNumber,
};

/// Everybody who finds no good token logs in; the last answer stays.
#[derive(Debug)]
pub(super) struct OneToken {
    tokens: Vec<Option<Own>>,
    /// A worker that met a 401 logs in, whatever others did meanwhile.
    refused: Vec<bool>,
}

impl OneToken {
    pub(super) fn new(processes: u32) -> Self {
        Self { tokens: vec![None; processes as usize], refused: Vec::new() }
    }

    fn process(&self, worker: WorkerNumber) -> usize {
        worker as usize % self.tokens.len()
    }
}

impl Machine for OneToken {
    fn ask(&mut self, now: Timestamp, want: Want, orders: &mut Orders) -> Access {
        let worker = want.worker;
        let refused = self.refused.get_mut(worker as usize).is_some_and(std::mem::take);
        let held = self.tokens[self.process(worker)].and_then(|own| own.unexpired(now));
        match held.filter(|_| !refused) {
            Some(bearer) => Access::Use(bearer),
            None => {
                orders.push(Order::LogIn { tag: u64::from(worker), delay: Duration::ZERO });
                Access::Wait
            }
        }
    }

    fn refused(&mut self, _now: Timestamp, call: Call, _orders: &mut Orders) -> Refusal {
        let worker = call.worker as usize;
        if self.refused.len() <= worker {
            self.refused.resize(worker + 1, false);
        }
        self.refused[worker] = true;
        Refusal::Seen { retry_after: None }
    }

    fn login_answered(&mut self, now: Timestamp, answer: LoginAnswer, orders: &mut Orders) {
        let worker = answer.tag as WorkerNumber;
        orders.push(match answer.outcome {
            Ok(granted) => {
                let process = self.process(worker);
                self.tokens[process] = Some(Own::new(now, granted));
                Order::Resume(worker)
            }
            Err(failure) => Order::Fail(worker, failure.retry_after),
        });
    }
}
