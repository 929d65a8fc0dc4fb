//! Bellwether beside callers that know nothing of it: its token endpoint, and its gateway.
//!
//! There is one broker, however many processes the workers are in. What it answers by itself takes
//! no time.

use std::time::Duration;

use bellwether_lifecycle::{Need, Timestamp, Verdict};

use super::Setup;
use super::broker::{Brokers, PATIENCE, Spend};
use super::machine::{
    Access, Bearer, Call, LoginAnswer, Machine, Order, Orders, Own, Refusal, Want,
};

/// Workers log in by themselves, as without Bellwether, and only the URL is another: the token
/// endpoint hands out what it holds, with the time that is left.
#[derive(Debug)]
pub(super) struct TokenEndpoint {
    brokers: Brokers,
    tokens: Vec<Option<Own>>,
}

impl TokenEndpoint {
    pub(super) fn new(setup: &Setup) -> Self {
        let tokens = vec![None; setup.workers.max(1) as usize];
        Self { brokers: Brokers::new(setup, 1), tokens }
    }

    fn pass_answers_on(&mut self, now: Timestamp, orders: &mut Orders) {
        for (worker, verdict) in std::mem::take(&mut self.brokers.answers) {
            let served = match verdict {
                Verdict::Serve { member } => self.brokers.served(now, member),
                Verdict::Keep | Verdict::Failed(_) => None,
            };
            self.tokens[worker as usize] = served.map(|granted| Own::new(now, granted));
            orders.push(match served {
                Some(_) => Order::Resume(worker),
                None => Order::Fail(worker, None),
            });
        }
    }
}

impl Machine for TokenEndpoint {
    const SHIELDS: bool = true;

    fn ask(&mut self, now: Timestamp, want: Want, orders: &mut Orders) -> Access {
        let worker = want.worker;
        let held = self.tokens[worker as usize];
        if let Some(bearer) = held.and_then(|own| own.unexpired(now)) {
            return Access::Use(bearer);
        }
        if let Some(granted) = self.brokers.hand_out(now) {
            self.tokens[worker as usize] = Some(Own::new(now, granted));
            return Access::Use(Bearer::lone(granted.serial));
        }
        let want = Want { until: now + PATIENCE, ..want };
        self.brokers.wait_for_token(now, want, Need::HandOut, orders);
        self.pass_answers_on(now, orders);
        Access::Wait
    }

    fn refused(&mut self, _now: Timestamp, call: Call, _orders: &mut Orders) -> Refusal {
        self.tokens[call.worker as usize] = None;
        Refusal::Seen { retry_after: None }
    }

    fn login_answered(&mut self, now: Timestamp, answer: LoginAnswer, orders: &mut Orders) {
        self.brokers.login_answered(now, answer, orders);
        self.pass_answers_on(now, orders);
    }

    fn sleepers(&self) -> u32 {
        self.brokers.count()
    }

    fn woken(&mut self, now: Timestamp, process: u32, orders: &mut Orders) {
        self.brokers.woken(now, process, orders);
        self.pass_answers_on(now, orders);
    }
}

/// Workers call the API through the gateway, which puts in a token for each request, and cures and
/// replays what is refused, once.
#[derive(Debug)]
pub(super) struct Gateway {
    brokers: Brokers,
    /// Whether a worker's request was sent before.
    replays: Vec<bool>,
}

impl Gateway {
    pub(super) fn new(setup: &Setup) -> Self {
        let replays = vec![false; setup.workers.max(1) as usize];
        Self { brokers: Brokers::new(setup, 1), replays }
    }

    fn pass_answers_on(&mut self, orders: &mut Orders) {
        for (worker, verdict) in self.brokers.answers.drain(..) {
            orders.push(match verdict {
                Verdict::Serve { .. } => Order::Resume(worker),
                Verdict::Keep | Verdict::Failed(_) => Order::Fail(worker, None),
            });
        }
    }
}

impl Machine for Gateway {
    const SHIELDS: bool = true;

    fn ask(&mut self, now: Timestamp, want: Want, orders: &mut Orders) -> Access {
        let want = Want { until: now + PATIENCE, ..want };
        match self.brokers.spend(now, want.worker) {
            Spend::With(bearer) => Access::Use(bearer),
            Spend::Until(opens) if opens > want.until => {
                let seconds = crate::organisation::retry_after_seconds(now.until(opens));
                Access::Throttled { retry_after: Duration::from_secs(seconds) }
            }
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
        self.replays[call.worker as usize] = false;
        self.brokers.accepted(now, call, orders);
    }

    fn refused(&mut self, now: Timestamp, call: Call, orders: &mut Orders) -> Refusal {
        if std::mem::take(&mut self.replays[call.worker as usize]) {
            self.brokers.replay_refused(now, call, orders);
            return Refusal::Seen { retry_after: None };
        }
        self.replays[call.worker as usize] = true;
        self.brokers.refused(now, call, orders);
        self.pass_answers_on(orders);
        Refusal::Unseen
    }

    fn throttled(&mut self, now: Timestamp, call: Call, retry_after: Duration) -> Refusal {
        self.brokers.throttled(call, now + retry_after);
        let first = !std::mem::replace(&mut self.replays[call.worker as usize], true);
        if first
            && self.brokers.has_room(now, call.worker)
            && let Spend::With(other) = self.brokers.spend(now, call.worker)
        {
            return Refusal::Again(other);
        }
        self.replays[call.worker as usize] = false;
        Refusal::Seen { retry_after: Some(retry_after) }
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
