//! The report's strategy: every worker its own token, renewed when it looks after it.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::machine::{
    Access, Call, LoginAnswer, Machine, Order, Orders, Own, Refusal, Want, WorkerNumber,
};
use crate::chance::Chance;

/// The random delay that is meant to spread logins.
const JITTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

#[derive(Debug)]
pub(super) struct PerWorker {
    tokens: Vec<Option<Own>>,
    jitter: Option<Chance>,
}

impl PerWorker {
    pub(super) fn new(workers: u32) -> Self {
        Self { tokens: vec![None; workers.max(1) as usize], jitter: None }
    }

    pub(super) fn with_jitter(workers: u32, seed: u64) -> Self {
        Self { jitter: Some(Chance::new(seed ^ 0x6a69_7474_6572)), ..Self::new(workers) }
    }
}

impl Machine for PerWorker {
    fn ask(&mut self, now: Timestamp, want: Want, orders: &mut Orders) -> Access {
        let held = self.tokens[want.worker as usize];
        if let Some(bearer) = held.and_then(|own| own.unexpired(now)) {
            return Access::Use(bearer);
        }
        let delay = self
            .jitter
            .as_mut()
            .map_or(Duration::ZERO, |chance| chance.between(JITTER.0, JITTER.1));
        orders.push(Order::LogIn { tag: u64::from(want.worker), delay });
        Access::Wait
    }

    fn refused(&mut self, _now: Timestamp, call: Call, _orders: &mut Orders) -> Refusal {
        self.tokens[call.worker as usize] = None;
        Refusal::Seen { retry_after: None }
    }

    fn login_answered(&mut self, now: Timestamp, answer: LoginAnswer, orders: &mut Orders) {
        let worker = answer.tag as WorkerNumber;
        orders.push(match answer.outcome {
            Ok(granted) => {
                self.tokens[worker as usize] = Some(Own::new(now, granted));
                Order::Resume(worker)
            }
            Err(failure) => Order::Fail(worker, failure.retry_after),
        });
    }
}
