//! The streams of one HTTP/2 connection take turns with those who have a connection of their own.
//!
//! Each stream is a task, and tasks stand in one line: a caller with a hundred streams has a hundred
//! places there, and whoever sends one request stands behind them all, several times. So a connection
//! takes a few steps, and the next when everybody else had theirs.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::task::yield_now;

/// Steps that the streams of a connection take in one turn.
const STEPS: usize = 8;

/// The turns of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<Line>>);

#[derive(Debug, Default)]
struct Line {
    /// Steps that were taken in this turn.
    taken: usize,
    /// Streams that wait for the next, which comes while there are any.
    waiting: VecDeque<Waker>,
}

impl Turns {
    /// Carries a stream to its end, whose steps are taken in turn.
    pub(super) async fn carry<F: Future>(self, stream: F) -> F::Output {
        let mut stream = pin!(stream);
        poll_fn(|context| match self.may_step(context) {
            true => stream.as_mut().poll(context),
            false => Poll::Pending,
        })
        .await
    }

    fn may_step(&self, context: &Context<'_>) -> bool {
        let mut line = self.line();
        if line.taken < STEPS {
            line.taken += 1;
            return true;
        }
        if line.waiting.is_empty() {
            tokio::spawn(self.clone().go_on());
        }
        if !line.waiting.iter().any(|waiting| waiting.will_wake(context.waker())) {
            line.waiting.push_back(context.waker().clone());
        }
        false
    }

    /// The next turns, until nobody waits.
    async fn go_on(self) {
        loop {
            // All others, and what arrived meanwhile.
            yield_now().await;
            let next: Vec<Waker> = {
                let mut line = self.line();
                line.taken = 0;
                let count = line.waiting.len().min(STEPS);
                line.waiting.drain(..count).collect()
            };
            next.into_iter().for_each(Waker::wake);
            if self.line().waiting.is_empty() {
                return;
            }
        }
    }

    /// Each step leaves it whole, so a panic elsewhere does not spoil it.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// Two connections with so many streams of three steps each begin at once; which connection took
    /// each step.
    async fn steps(streams: [usize; 2]) -> Vec<usize> {
        let taken = Rc::new(RefCell::new(Vec::new()));
        let local = LocalSet::new();
        for (connection, count) in streams.into_iter().enumerate() {
            let turns = Turns::default();
            for _ in 0..count {
                let (turns, taken) = (turns.clone(), Rc::clone(&taken));
                let stream = async move {
                    for _ in 0..3 {
                        taken.borrow_mut().push(connection);
                        yield_now().await;
                    }
                };
                local.spawn_local(turns.carry(stream));
            }
        }
        local.await;
        taken.take()
    }

    #[tokio::test]
    async fn who_sends_one_request_does_not_stand_behind_a_hundred_of_another() {
        let taken = steps([200, 1]).await;
        assert_eq!(taken.len(), 603, "all of them come to their end");
        let last = taken.iter().rposition(|connection| *connection == 1).expect("it was there");
        assert!(last < 8 * STEPS, "its last step was number {last}");
    }

    #[tokio::test]
    async fn alone_they_take_all_turns() {
        assert_eq!(steps([100, 0]).await, vec![0; 300]);
    }

    #[tokio::test]
    async fn who_goes_away_while_it_waits_holds_up_nobody() {
        let turns = Turns::default();
        let carry = |_| spawn_local(turns.clone().carry(yield_now()));
        let all = async {
            let streams: Vec<_> = (0..4 * STEPS).map(carry).collect();
            yield_now().await;
            let (gone, kept): (Vec<_>, Vec<_>) =
                streams.into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
            gone.iter().for_each(|(_, stream)| stream.abort());
            for (number, stream) in kept {
                stream.await.unwrap_or_else(|error| panic!("stream {number}: {error}"));
            }
        };
        LocalSet::new().run_until(all).await;
        assert!(turns.line().waiting.is_empty());
    }
}
