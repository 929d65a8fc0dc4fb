//! Bellwether as a library: every request takes its token from the pool of its process.

use std::time::Duration;

use bellwether_lifecycle::{Need, Timestamp, Verdict};

use super::Setup;
use super::broker::{Brokers, PATIENCE, Spend};
use super::machine::{Access, Call, LoginAnswer, Machine, Order, Orders, Refusal, Want};

/// A worker waits for the cure of a 401 no longer than this: another token may serve meanwhile.
const WAIT_FOR_CURE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Library {
    brokers: Brokers,
}

impl Library {
    pub(super) fn new(setup: &Setup) -> Self {
        Self { brokers: Brokers::new(setup, setup.processes) }
    }

    /// Workers that lifecycles answered go on.
    fn pass_answers_on(&mut self, orders: &mut Orders) {
        let answers = self.brokers.answers.drain(..).map(|(worker, verdict)| match verdict {
            Verdict::Serve { .. } | Verdict::Keep => Order::Resume(worker),
            Verdict::Failed(_) => Order::Fail(worker, None),
        });
        orders.extend(answers);
    }
}

impl Machine for Library {
    fn ask(&mut self, now: Timestamp, want: Want, orders: &mut Orders) -> Access {
        match self.brokers.spend(now, want.worker) {
            Spend::With(bearer) => Access::Use(bearer),
            Spend::Until(opens) if opens > want.until => Access::None { retry_after: None },
            Spend::Until(opens) => {
                self.brokers.wait_for_room(want.worker, opens, orders);
                Access::Wait
            }
            Spend::Empty => {
                self.brokers.wait_for_token(now, want, Need::Use, orders);
                self.pass_answers_on(orders);
                Access::Wait
            }
        }
    }

    fn accepted(&mut self, now: Timestamp, call: Call, orders: &mut Orders) {
        self.brokers.accepted(now, call, orders);
    }

    fn refused(&mut self, now: Timestamp, call: Call, orders: &mut Orders) -> Refusal {
        self.brokers.refused(now, call, orders);
        self.pass_answers_on(orders);
        orders.push(Order::ResumeAt(call.worker, now + WAIT_FOR_CURE.min(PATIENCE)));
        Refusal::SeenAndWaits
    }

    fn throttled(&mut self, now: Timestamp, call: Call, retry_after: Duration) -> Refusal {
        self.brokers.throttled(call, now + retry_after);
        Refusal::Seen { retry_after: None }
    }

    fn login_answered(&mut self, now: Timestamp, answer: LoginAnswer, orders: &mut Orders) {
        self.brokers.login_answered(now, answer, orders);
        self.pass_answers_on(orders);
    }

    fn sleepers(&self) -> u32 {
        self.brokers.count()
    }

    fn woken(&mut self, now: Timestamp, process: u32, orders: &mut Orders) {
        self.brokers.woken(now, process, orders);
        self.pass_answers_on(orders);
    }
}
