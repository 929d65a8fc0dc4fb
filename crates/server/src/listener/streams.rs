//! The streams of one HTTP/2 connection, counted: is it idle, and does its caller take what it asked
//! for?

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Executor, Timer};

use super::rounds::{Found, RoundClock};
use super::turns::Turns;

/// A peer that was told to come to an end has this long to hear it.
const GOODBYE: Duration = Duration::from_secs(20);
/// A caller that keeps its windows closed takes nothing of any answer for so long.
const TAKES_NOTHING: Duration = Duration::from_secs(60);

/// Carries the streams of a connection in turns, and counts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Counts>, Turns);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU32,
    begun: AtomicU32,
    /// Answers with something to send that the caller has not let out.
    owed: AtomicU32,
    /// Pieces of answers that were let out.
    taken: AtomicU32,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        let open = Open(Arc::clone(&self.0));
        let carried = self.1.clone().carry(stream);
        tokio::spawn(async move {
            carried.await;
            drop(open);
        });
    }
}

struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer. It is asked for more only while the caller's window is open.
#[derive(Debug)]
pub(crate) struct Sent<B> {
    body: B,
    counts: Arc<Counts>,
    owed: bool,
}

impl<B> Sent<B> {
    pub(crate) fn new(body: B, streams: &Streams) -> Self {
        let counts = Arc::clone(&streams.0);
        counts.owed.fetch_add(1, Ordering::Relaxed);
        Self { body, counts, owed: true }
    }

    fn owe(&mut self, owed: bool) {
        if owed == self.owed {
            return;
        }
        self.owed = owed;
        if owed {
            self.counts.owed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.counts.owed.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<B> Drop for Sent<B> {
    fn drop(&mut self) {
        self.owe(false);
    }
}

impl<B: Body + Unpin> Body for Sent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // While the API is waited for, nothing is owed.
        self.owe(matches!(polled, Poll::Ready(Some(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Since when a connection has had no stream, or has let nothing out. Pings keep it alive only while
/// its caller wants more, and takes it.
pub(crate) struct Idleness {
    streams: Streams,
    clock: RoundClock,
    keep_alive: Duration,
    begun: u32,
    since: Instant,
    taken: u32,
    took_at: Instant,
}

impl Idleness {
    pub(crate) fn new(streams: Streams, clock: RoundClock, keep_alive: Duration) -> Self {
        let since = clock.now();
        Self { streams, clock, keep_alive, begun: 0, since, taken: 0, took_at: since }
    }

    /// What a round finds.
    pub(crate) fn look(&mut self) -> Found {
        let now = self.clock.now();
        let counts = &self.streams.0;
        let begun = counts.begun.load(Ordering::Relaxed);
        if counts.open.load(Ordering::Relaxed) > 0 || begun != self.begun {
            (self.begun, self.since) = (begun, now);
        }
        let taken = counts.taken.load(Ordering::Relaxed);
        if counts.owed.load(Ordering::Relaxed) == 0 || taken != self.taken {
            (self.taken, self.took_at) = (taken, now);
        }
        let idle = now.saturating_duration_since(self.since);
        if now.saturating_duration_since(self.took_at) >= TAKES_NOTHING
            || idle >= self.keep_alive + GOODBYE
        {
            Found::Stuck
        } else if idle >= self.keep_alive {
            Found::Idle
        } else {
            Found::Well
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::listener::rounds::Rounds;

    const KEEP_ALIVE: Duration = Duration::from_secs(75);

    /// Rounds of 5 s until something else than `Well` is found.
    async fn rounds_until(idleness: &mut Idleness, rounds: &Rounds) -> (u64, Found) {
        let looking = async {
            // Between two rounds, so that it is clear which was the latest.
            tokio::time::sleep(Duration::from_millis(2500)).await;
            let mut passed = 0;
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                passed += 5;
                match idleness.look() {
                    Found::Well => {}
                    found @ (Found::Idle | Found::Stuck) => return (passed, found),
                }
            }
        };
        tokio::select! {
            found = looking => found,
            () = rounds.make() => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_stream_it_is_idle_and_then_stuck() {
        let rounds = Rounds::new();
        let mut idleness = Idleness::new(Streams::default(), rounds.clock(), KEEP_ALIVE);
        let (after, found) = rounds_until(&mut idleness, &rounds).await;
        assert_eq!(found, Found::Idle);
        assert!((75..=80).contains(&after), "after {after} s");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_and_does_not_take_is_stuck_and_who_waits_for_the_api_is_not() {
        let rounds = Rounds::new();
        let streams = Streams::default();
        streams.execute(std::future::pending::<()>());
        let mut idleness = Idleness::new(streams.clone(), rounds.clock(), KEEP_ALIVE);
        let mut waiting = Sent::new(Full::new(Bytes::from_static(b"x")), &streams);
        waiting.owe(false);
        let nothing_found = rounds_until(&mut idleness, &rounds);
        let limit = Duration::from_secs(600);
        assert!(tokio::time::timeout(limit, nothing_found).await.is_err(), "it may go on");
        let mut owed = Sent::new(Full::new(Bytes::from_static(b"x")), &streams);
        let (after, found) = rounds_until(&mut idleness, &rounds).await;
        assert_eq!(found, Found::Stuck);
        // It was last well up to a round before it was owed anything.
        assert!((55..=65).contains(&after), "after {after} s");
        assert!(owed.frame().await.is_some());
        assert_eq!(idleness.look(), Found::Well);
    }
}
