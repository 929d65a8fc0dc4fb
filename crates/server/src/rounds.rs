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

use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Sleep, Timer};
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::service::HttpService;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

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

/// A connection that can be told to come to an end.
pub(crate) trait Graceful: Future {
    /// What is under way is finished, nothing new begins.
    fn finish(self: Pin<&mut Self>);
}

impl<I, S, B> Graceful for UpgradeableConnection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
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

    /// Carries a connection to its end, in a task of its own.
    pub(crate) fn attend<C: Graceful>(
        &self,
        connection: C,
    ) -> impl Future<Output = C::Output> + use<C> {
        let mut rounds = self.rounds.subscribe();
        async move {
            let mut connection = pin!(connection);
            loop {
                let look = rounds.clone();
                let mut next_round = pin!(rounds.changed());
                let mut waits = false;
                let ended = poll_fn(|context| {
                    if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                        return Poll::Ready(Ok(ended));
                    }
                    // Once it waits, the task is woken: no need to ask it at each request.
                    let is_over = !waits || look.has_changed().unwrap_or(true);
                    waits = true;
                    match is_over.then(|| next_round.as_mut().poll(context)) {
                        Some(Poll::Ready(round)) => Poll::Ready(Err(round)),
                        Some(Poll::Pending) | None => Poll::Pending,
                    }
                });
                match ended.await {
                    Ok(ended) => return ended,
                    Err(Ok(())) if *look.borrow() => connection.as_mut().finish(),
                    Err(Ok(())) => {}
                    // Nobody makes rounds any more.
                    Err(Err(_)) => return connection.await,
                }
            }
        }
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
        self.start + ROUND * self.round.load(Ordering::Relaxed)
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
        tokio::spawn(
            rounds.attend(server.serve_connection(TokioIo::new(theirs), answer).with_upgrades()),
        );
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
}
