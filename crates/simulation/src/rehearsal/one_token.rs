//! One token for all workers of a process, renewed without a lock by whoever sees it end.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::machine::{Access, Bearer, Machine, NoLogin, Order, Orders, Own, Refusal, WorkerNumber};
use crate::by_number::Granted;

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
    fn ask(
        &mut self,
        now: Timestamp,
        worker: WorkerNumber,
        _until: Timestamp,
        orders: &mut Orders,
    ) -> Access {
        let refused = self.refused.get_mut(worker as usize).is_some_and(std::mem::take);
        let held = self.tokens[self.process(worker)].filter(|token| !token.is_expired(now));
        match held.filter(|_| !refused) {
            Some(token) => Access::Use(Bearer::lone(token.serial)),
            None => {
                orders.push(Order::LogIn { tag: u64::from(worker), delay: Duration::ZERO });
                Access::Wait
            }
        }
    }

    fn refused(
        &mut self,
        _now: Timestamp,
        worker: WorkerNumber,
        _bearer: Bearer,
        _sent_at: Timestamp,
        _orders: &mut Orders,
    ) -> Refusal {
        if self.refused.len() <= worker as usize {
            self.refused.resize(worker as usize + 1, false);
        }
        self.refused[worker as usize] = true;
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
        let process = self.process(tag as WorkerNumber);
        self.tokens[process] = Some(Own::new(now, granted));
        orders.push(Order::Resume(tag as WorkerNumber));
    }

    fn not_granted(&mut self, _now: Timestamp, tag: u64, failure: NoLogin, orders: &mut Orders) {
        orders.push(Order::Fail(tag as WorkerNumber, failure.retry_after));
    }
}
