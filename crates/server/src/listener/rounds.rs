//! A listener looks after its connections in rounds of a few seconds.
//!
//! A timer for each request's head would be entered in the runtime's wheel and taken out again,
//! and that costs more than reading the head. So time goes by in rounds: a deadline is a number
//! that is compared, and each round every connection is woken once to look at its own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::stream::Heard;

/// A deadline passes up to this much early.
const ROUND: Duration = Duration::from_secs(5);

/// One listener's connections.
#[derive(Debug)]
pub(crate) struct Rounds {
    clock: RoundClock,
    /// True once all are to end.
    rounds: watch::Sender<bool>,
}

/// Shows the time at which the latest round began.
#[derive(Clone, Debug)]
pub(crate) struct RoundClock {
    start: Instant,
    round: Arc<AtomicU32>,
}

impl Rounds {
    #[expect(clippy::disallowed_methods, reason = "a number to count rounds from, and no more")]
    pub(crate) fn new() -> Self {
        let start = tokio::time::Instant::now().into_std();
        let clock = RoundClock { start, round: Arc::default() };
        Self { clock, rounds: watch::Sender::new(false) }
    }

    pub(crate) fn clock(&self) -> RoundClock {
        self.clock.clone()
    }

    /// Makes its rounds for as long as it is polled.
    pub(crate) async fn make(&self) {
        loop {
            sleep(ROUND).await;
            self.clock.round.fetch_add(1, Ordering::Relaxed);
            self.rounds.send_replace(false);
        }
    }

    /// Lets connections finish what they are at, for at most `patience`; whether all did.
    pub(crate) async fn end(self, patience: Duration) -> bool {
        self.rounds.send_replace(true);
        timeout(patience, self.rounds.closed()).await.is_ok()
    }

    /// Takes a connection into the rounds, for as long as what comes back lives.
    pub(crate) fn attend(&self) -> Attendance {
        Attendance { rounds: self.rounds.subscribe(), clock: self.clock() }
    }
}

/// One connection in the rounds; it may be carried on in another thread.
#[derive(Debug)]
pub(crate) struct Attendance {
    rounds: watch::Receiver<bool>,
    clock: RoundClock,
}

/// A connection that can be told to come to an end.
pub(crate) trait Graceful: Future {
    /// What is under way is finished, nothing new begins.
    fn finish(self: Pin<&mut Self>);
}

/// What a round finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It may go on.
    Well,
    /// It is told to come to an end.
    Idle,
    /// It was told, and did not.
    Stuck,
}

impl Attendance {
    pub(crate) fn clock(&self) -> &RoundClock {
        &self.clock
    }

    /// What comes before a connection can serve; `None` if it took too long, or all are to end.
    pub(crate) async fn within<T>(
        &mut self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let deadline = self.clock.now() + limit;
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                done = &mut future => return Some(done),
                round = self.rounds.changed() => {
                    if round.is_err() || *self.rounds.borrow() || self.clock.now() >= deadline {
                        return None;
                    }
                }
            }
        }
    }

    /// Carries a connection to its end; `None` if a round found it stuck. `look` is asked in each.
    pub(crate) async fn carry<C: Graceful>(
        mut self,
        connection: C,
        mut look: impl FnMut() -> Found,
    ) -> Option<C::Output> {
        let mut connection = pin!(connection);
        loop {
            let seen = self.rounds.clone();
            let mut next_round = pin!(self.rounds.changed());
            let mut waits = false;
            let ended = poll_fn(|context| {
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    return Poll::Ready(Ok(ended));
                }
                // Once it waits, the task is woken: no need to ask it at each request.
                let is_over = !waits || seen.has_changed().unwrap_or(true);
                waits = true;
                match is_over.then(|| next_round.as_mut().poll(context)) {
                    Some(Poll::Ready(round)) => Poll::Ready(Err(round)),
                    Some(Poll::Pending) | None => Poll::Pending,
                }
            });
            match ended.await {
                Ok(ended) => return Some(ended),
                Err(Ok(())) if *seen.borrow() => connection.as_mut().finish(),
                Err(Ok(())) => match look() {
                    Found::Well => {}
                    Found::Idle => connection.as_mut().finish(),
                    Found::Stuck => return None,
                },
                // Nobody makes rounds any more.
                Err(Err(_)) => return Some(connection.await),
            }
        }
    }
}

impl RoundClock {
    pub(crate) fn round(&self) -> u32 {
        self.round.load(Ordering::Relaxed)
    }
}

impl Timer for RoundClock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Deadline { clock: self.clone(), at: deadline })
    }

    fn now(&self) -> Instant {
        self.start + ROUND * self.round()
    }
}

/// Is looked at in each round.
struct Deadline {
    clock: RoundClock,
    at: Instant,
}

impl Sleep for Deadline {}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() < self.at { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// One HTTP/1.1 connection's clock: a head has its time from its first byte on, and a connection
/// that is kept may be silent for longer.
#[derive(Clone, Debug)]
pub(crate) struct HeadClock {
    clock: RoundClock,
    heard: Heard,
    keep_alive: Duration,
}

impl HeadClock {
    pub(crate) fn new(clock: RoundClock, heard: Heard, keep_alive: Duration) -> Self {
        Self { clock, heard, keep_alive }
    }
}

impl Timer for HeadClock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let now = self.now();
        Box::pin(HeadDeadline {
            clock: self.clone(),
            limit: deadline.saturating_duration_since(now),
            heard: self.heard.count(),
            kept_until: now + self.keep_alive,
            begun: None,
        })
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }
}

/// Half a head of so many bytes is held for no longer than this: thousands would fill the memory.
const LARGE_HEAD: u32 = 12 * 1024;
const LARGE_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// For the next head.
struct HeadDeadline {
    clock: HeadClock,
    limit: Duration,
    /// Bytes that had come before it.
    heard: u32,
    kept_until: Instant,
    /// When its first byte came.
    begun: Option<Instant>,
}

impl Sleep for HeadDeadline {}

impl Future for HeadDeadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        let bytes = self.clock.heard.count().wrapping_sub(self.heard);
        let until = match bytes {
            0 => self.kept_until,
            LARGE_HEAD.. => *self.begun.get_or_insert(now) + LARGE_HEAD_TIMEOUT,
            _ => *self.begun.get_or_insert(now) + self.limit,
        };
        if now < until { Poll::Pending } else { Poll::Ready(()) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Empty;
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    impl<S> Graceful for http1::Connection<TokioIo<DuplexStream>, S>
    where
        S: hyper::service::HttpService<Incoming, ResBody = Empty<Bytes>>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        fn finish(self: Pin<&mut Self>) {
            self.graceful_shutdown();
        }
    }

    fn connect(rounds: &Rounds) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(4096);
        let answer = service_fn(async |request: Request<Incoming>| {
            if request.method() == http::Method::POST {
                std::future::pending::<()>().await;
            }
            Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let mut server = http1::Builder::new();
        server.timer(rounds.clock()).header_read_timeout(PATIENCE);
        let served = server.serve_connection(TokioIo::new(theirs), answer);
        tokio::spawn(rounds.attend().carry(served, || Found::Well));
        ours
    }

    /// Reads until the other side closes.
    async fn closed(connection: &mut DuplexStream) {
        while connection.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {}
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_waited_for_and_each_request_has_its_time_anew() {
        let rounds = Rounds::new();
        let mut connection = connect(&rounds);
        let caller = async {
            for _ in 0..4 {
                connection.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                assert!(connection.read(&mut [0; 512]).await.unwrap() > 0);
                sleep(Duration::from_secs(20)).await;
            }
            connection.write_all(b"GET / HT").await.unwrap();
            timeout(Duration::from_millis(10_001), closed(&mut connection)).await
        };
        tokio::select! {
            waited = caller => assert!(waited.is_ok(), "a head takes longer than 30 s"),
            () = rounds.make() => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_ends_at_once_and_who_is_busy_is_waited_for() {
        let rounds = Rounds::new();
        let (mut idle, mut busy) = (connect(&rounds), connect(&rounds));
        busy.write_all(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        tokio::task::yield_now().await;
        let ending = tokio::spawn(rounds.end(Duration::from_secs(2)));
        timeout(Duration::from_secs(1), closed(&mut idle)).await.expect("it had nothing to do");
        assert!(!ending.await.unwrap(), "one was busy");
    }

    /// A kept connection may be silent for 75 s; once it speaks, a head has its 30 s.
    #[tokio::test(start_paused = true)]
    async fn silence_and_half_a_head_have_a_limit_each() {
        let rounds = Rounds::new();
        let heard = Heard::default();
        let clock = HeadClock::new(rounds.clock(), heard.clone(), Duration::from_secs(75));
        let head = async {
            // Between two rounds, so that it is clear which was the latest.
            sleep(ROUND / 2).await;
            // Nothing is said for 70 s of the 75.
            let silent = clock.sleep(PATIENCE);
            tokio::pin!(silent);
            let looked = |deadline: &mut Pin<&mut Pin<Box<dyn Sleep>>>| poll_now(deadline.as_mut());
            for _ in 0..14 {
                assert!(!looked(&mut silent), "it is kept");
                sleep(ROUND).await;
            }
            heard.more(10);
            // Its first byte begins the 30 s.
            for _ in 0..6 {
                assert!(!looked(&mut silent), "it has begun");
                sleep(ROUND).await;
            }
            assert!(looked(&mut silent), "half a head");
            let large = clock.sleep(PATIENCE);
            tokio::pin!(large);
            heard.more(20_000);
            assert!(!looked(&mut large), "it has begun");
            sleep(Duration::from_secs(10)).await;
            assert!(looked(&mut large), "half a large head");
            let silent = clock.sleep(PATIENCE);
            tokio::pin!(silent);
            sleep(Duration::from_secs(76)).await;
            assert!(looked(&mut silent), "silence");
        };
        tokio::select! {
            () = head => {}
            () = rounds.make() => {}
        }
    }

    fn poll_now(deadline: Pin<&mut Pin<Box<dyn Sleep>>>) -> bool {
        deadline.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }
}
