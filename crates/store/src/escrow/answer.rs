//! How a thread answers a future.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::store::StoreError;

/// A question and the future of its answer.
pub(crate) fn ask<T>() -> (Teller<T>, Answer<T>) {
    let shared = Arc::new(Mutex::new(Shared { result: None, waker: None }));
    (Teller(shared.clone()), Answer(shared))
}

#[derive(Debug)]
struct Shared<T> {
    result: Option<Result<T, StoreError>>,
    waker: Option<Waker>,
}

/// Tells the answer, once. Dropped without a word it tells that nobody will.
#[derive(Debug)]
pub(crate) struct Teller<T>(Arc<Mutex<Shared<T>>>);

impl<T> Teller<T> {
    pub(crate) fn tell(self, result: Result<T, StoreError>) {
        self.put(result);
    }

    fn put(&self, result: Result<T, StoreError>) {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.result.get_or_insert(result);
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        let why = "its thread has ended; restart bellwether".to_owned();
        self.put(Err(StoreError::Unavailable { why }));
    }
}

/// Comes true when the [`Teller`] has told.
#[derive(Debug)]
pub(crate) struct Answer<T>(Arc<Mutex<Shared<T>>>);

impl<T> Future for Answer<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                shared.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
