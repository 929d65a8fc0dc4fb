//! Connections to the APIs, kept by one worker for its own use.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use http::header::HOST;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::body::{AnswerBody, Held, RequestBody};
use super::destination::{Opened, ResourceServer, Stream};
use super::guard::{Guard, Watchman};
use super::heard::Heard;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Many servers close what was idle for a minute; it is not worth racing them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that are closed before others have their turn.
const CLOSED_AT_ONCE: usize = 8;
/// Idle connections to one API.
const MOST_IDLE: usize = 1024;
/// Requests under way.
const MOST_BUSY: usize = 16 * 1024;
/// Bytes of an answer's head, and of what is read or written ahead.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 200;

/// One worker's connections.
#[derive(Debug)]
pub(crate) struct Pool {
    shelves: Mutex<Vec<Shelf>>,
    watchman: Arc<Watchman>,
    answer_ticks: u32,
    silence_ticks: u32,
}

/// The connections to one API.
#[derive(Debug)]
struct Shelf {
    server: Arc<ResourceServer>,
    /// Boxed, since they go from hand to hand with each request.
    idle: VecDeque<Box<Line>>,
    shared: Option<http2::SendRequest<RequestBody>>,
}

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(crate) struct Line {
    sender: http1::SendRequest<RequestBody>,
    pub(super) guard: Arc<Guard>,
    pub(super) heard: Heard,
    server: Arc<ResourceServer>,
    pool: Weak<Pool>,
    idle_since: u32,
}

/// A way to send one request.
enum Way {
    Line(Box<Line>),
    Shared(http2::SendRequest<RequestBody>),
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Nothing was sent.
    Unreachable(String),
    /// It may have been processed.
    Broken {
        why: String,
        /// On a connection that was used before, and without an answer: the server may have been
        /// about to close it.
        is_reused: bool,
    },
    /// It may have been processed, and the answer is late.
    TimedOut,
    /// There are too many already.
    Busy,
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Any.
    Any,
    /// One that nothing was sent over.
    Fresh,
    /// One that can be upgraded.
    Upgradable,
}

impl Pool {
    /// Waits for the head of an answer for `answer_timeout` from the end of the request, and for
    /// each next piece of its body for `silence`.
    pub(crate) fn start(answer_timeout: Duration, silence: Duration) -> Arc<Self> {
        let watchman = Arc::new(Watchman::new(answer_timeout.min(silence)));
        let pool = Arc::new(Self {
            shelves: Mutex::default(),
            answer_ticks: watchman.ticks(answer_timeout),
            silence_ticks: watchman.ticks(silence),
            watchman,
        });
        tokio::spawn(sweep(Arc::downgrade(&pool), pool.watchman.tick()));
        pool
    }

    /// A kept connection that is free, if it carries one request at a time.
    pub(crate) fn kept(&self, server: &Arc<ResourceServer>) -> Option<Box<Line>> {
        let mut shelves = self.shelves();
        shelves.iter_mut().find(|shelf| Arc::ptr_eq(&shelf.server, server))?.line()
    }

    /// Sends a request whose target is in origin form, to the server's `Host`, over whichever connection there is, and
    /// reads the head of its answer.
    pub(crate) async fn send(
        self: &Arc<Self>,
        server: &Arc<ResourceServer>,
        mut request: Request<RequestBody>,
        over: Over,
    ) -> Result<Response<AnswerBody>, SendError> {
        loop {
            let way = if over == Over::Any { self.take(server) } else { None };
            let is_reused = way.is_some();
            let sent = match way {
                Some(Way::Line(line)) => line.send(request, self).await,
                Some(Way::Shared(sender)) => self.send_shared(sender, server, request).await,
                None => match self.open(server, over).await? {
                    Way::Line(line) => line.send(request, self).await,
                    Way::Shared(sender) => self.send_shared(sender, server, request).await,
                },
            };
            request = match sent {
                Ok(response) => return Ok(response),
                // It closed before anything was sent.
                Err(Unsent::Request(unsent)) if is_reused => *unsent,
                Err(Unsent::Request(_)) => {
                    return Err(SendError::Unreachable("the connection closed".to_owned()));
                }
                Err(Unsent::Error(error)) if is_reused => return Err(error),
                Err(Unsent::Error(error)) => return Err(error.on_fresh()),
            };
        }
    }

    async fn send_shared(
        self: &Arc<Self>,
        mut sender: http2::SendRequest<RequestBody>,
        server: &ResourceServer,
        mut request: Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, Unsent> {
        let guard = self.watchman.request();
        guard.expect(self.answer_ticks);
        if let Some(absolute) = server.absolute(request.uri()) {
            *request.uri_mut() = absolute;
        }
        request.headers_mut().remove(HOST);
        request.body_mut().tell(&guard);
        let sent = tokio::select! {
            sent = sender.try_send_request(request) => sent,
            () = poll_fn(|context| guard.poll_late(context)) => return Err(Unsent::Error(SendError::TimedOut)),
        };
        match sent {
            Ok(response) => {
                guard.expect(self.silence_ticks);
                Ok(response.map(|body| AnswerBody::new(body, Held::Guard(guard))))
            }
            Err(mut error) => Err(match error.take_message() {
                Some(unsent) => Unsent::Request(Box::new(unsent)),
                None => Unsent::Error(broken(&error.into_error())),
            }),
        }
    }

    /// A connection that is open and free, of either kind.
    fn take(&self, server: &Arc<ResourceServer>) -> Option<Way> {
        let mut shelves = self.shelves();
        let shelf = shelves.iter_mut().find(|shelf| Arc::ptr_eq(&shelf.server, server))?;
        if let Some(sender) = &shelf.shared {
            if !sender.is_closed() {
                return Some(Way::Shared(sender.clone()));
            }
            shelf.shared = None;
        }
        shelf.line().map(Way::Line)
    }

    async fn open(
        self: &Arc<Self>,
        server: &Arc<ResourceServer>,
        over: Over,
    ) -> Result<Way, SendError> {
        if self.watchman.count() >= MOST_BUSY {
            return Err(SendError::Busy);
        }
        let is_for_upgrade = over == Over::Upgradable;
        let opened = timeout(CONNECT_TIMEOUT * 2, server.connect(is_for_upgrade)).await;
        let late = || SendError::Unreachable("connecting took too long".to_owned());
        let opened = opened.map_err(|_| late())?.map_err(SendError::Unreachable)?;
        let Opened { stream, is_http2 } = opened;
        tracing::debug!(api = %server.url(), is_http2, "connected to the API");
        match stream {
            Stream::Clear(stream) if is_http2 => self.shake_hands_2(stream, server).await,
            Stream::Encrypted(stream) if is_http2 => self.shake_hands_2(*stream, server).await,
            Stream::Clear(stream) => self.shake_hands_1(stream, server).await,
            Stream::Encrypted(stream) => self.shake_hands_1(*stream, server).await,
        }
    }

    async fn shake_hands_1<S>(
        self: &Arc<Self>,
        stream: S,
        server: &Arc<ResourceServer>,
    ) -> Result<Way, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
        let heard = Heard::default();
        let stream = TokioIo::new(heard.listen(stream));
        let (sender, connection) =
            builder.handshake(stream).await.map_err(|error| unreachable(&error))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to the API ended");
            }
        });
        Ok(Way::Line(Box::new(Line {
            sender,
            guard: self.watchman.connection(task.abort_handle()),
            heard,
            server: Arc::clone(server),
            pool: Arc::downgrade(self),
            idle_since: 0,
        })))
    }

    async fn shake_hands_2<S>(
        self: &Arc<Self>,
        stream: S,
        server: &Arc<ResourceServer>,
    ) -> Result<Way, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(IDLE_TIMEOUT)
            .keep_alive_timeout(CONNECT_TIMEOUT * 2)
            .max_header_list_size(MAX_HEAD as u32)
            .adaptive_window(true);
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the API ended");
            }
        });
        self.shelf(server, |shelf| shelf.shared = Some(sender.clone()));
        Ok(Way::Shared(sender))
    }

    fn shelves(&self) -> MutexGuard<'_, Vec<Shelf>> {
        // Each step leaves it whole, so a panic elsewhere does not spoil it.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf(&self, server: &Arc<ResourceServer>, change: impl FnOnce(&mut Shelf)) {
        let mut shelves = self.shelves();
        let place = shelves.iter().position(|shelf| Arc::ptr_eq(&shelf.server, server));
        let place = place.unwrap_or_else(|| {
            let server = Arc::clone(server);
            shelves.push(Shelf { server, idle: VecDeque::new(), shared: None });
            shelves.len() - 1
        });
        change(&mut shelves[place]);
    }

    /// Takes out what was idle for long, or was closed.
    fn tidy(&self) -> VecDeque<Box<Line>> {
        let now = self.watchman.now();
        let limit = self.watchman.ticks(IDLE_TIMEOUT);
        let is_over =
            |line: &Line| line.sender.is_closed() || now.wrapping_sub(line.idle_since) >= limit;
        let mut over = VecDeque::new();
        for shelf in self.shelves().iter_mut() {
            if shelf.idle.iter().any(|line| is_over(line)) {
                let idle = std::mem::take(&mut shelf.idle);
                let (out, kept): (VecDeque<_>, _) =
                    idle.into_iter().partition(|line| is_over(line));
                over.extend(out);
                shelf.idle = kept;
            }
        }
        over
    }
}

impl Shelf {
    /// The latest of the idle connections is the likeliest to be open still; what came back in this
    /// very moment may not be ready for more, and then the oldest is.
    fn line(&mut self) -> Option<Box<Line>> {
        loop {
            let latest = self.idle.back()?;
            let is_latest = latest.sender.is_ready() || latest.sender.is_closed();
            let line = if is_latest { self.idle.pop_back() } else { self.idle.pop_front() }?;
            if line.sender.is_ready() {
                return Some(line);
            }
            if !line.sender.is_closed() {
                // None of them is ready.
                self.idle.push_front(line);
                return None;
            }
        }
    }
}

impl Line {
    /// Sends a request whose target is in origin form, to its server's `Host`. It leaves at once, so that nobody carries it
    /// about while its answer is waited for.
    pub(crate) fn send(
        mut self: Box<Self>,
        mut request: Request<RequestBody>,
        pool: &Pool,
    ) -> impl Future<Output = Result<Response<AnswerBody>, Unsent>> + use<> {
        request.body_mut().tell(&self.guard);
        self.guard.expect(pool.answer_ticks);
        self.heard.begin();
        let silence = pool.silence_ticks;
        let sending = self.sender.try_send_request(request);
        sending.map(move |sent| self.heard_back(sent, silence))
    }

    fn heard_back(
        self: Box<Self>,
        sent: Result<Response<Incoming>, TrySendError<Request<RequestBody>>>,
        silence: u32,
    ) -> Result<Response<AnswerBody>, Unsent> {
        match sent {
            Ok(response) => {
                self.heard.end();
                self.guard.expect(silence);
                Ok(response.map(|body| AnswerBody::new(body, Held::Line(self))))
            }
            Err(mut error) => Err(match error.take_message() {
                Some(unsent) => Unsent::Request(Box::new(unsent)),
                None if self.guard.is_late() => Unsent::Error(SendError::TimedOut),
                // The server was not about to close it: asked again it would do the same.
                None if self.heard.is_too_much() => {
                    Unsent::Error(broken(&error.into_error()).on_fresh())
                }
                None => Unsent::Error(broken(&error.into_error())),
            }),
        }
    }

    /// Puts it where the next request finds it.
    pub(super) fn keep(mut self: Box<Self>) {
        self.guard.rest();
        self.heard.wait_no_more();
        let Some(pool) = self.pool.upgrade() else { return };
        if self.sender.is_closed() {
            return;
        }
        self.idle_since = pool.watchman.now();
        let server = Arc::clone(&self.server);
        pool.shelf(&server, |shelf| {
            if shelf.idle.len() < MOST_IDLE {
                shelf.idle.push_back(self);
            }
        });
    }
}

impl SendError {
    /// The server had no reason to close the connection, as on a new one.
    fn on_fresh(self) -> Self {
        match self {
            Self::Broken { why, .. } => Self::Broken { why, is_reused: false },
            Self::Unreachable(_) | Self::TimedOut | Self::Busy => self,
        }
    }
}

/// What became of a request that was not answered.
pub(crate) enum Unsent {
    /// It did not leave: here it is.
    Request(Box<Request<RequestBody>>),
    Error(SendError),
}

fn unreachable(error: &hyper::Error) -> SendError {
    SendError::Unreachable(error.to_string())
}

fn broken(error: &hyper::Error) -> SendError {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why = cause.to_string();
        source = cause.source();
    }
    // What can be read, and not believed, is an answer: to ask again would be to ask twice.
    SendError::Broken { why, is_reused: !error.is_parse() }
}

/// Makes rounds for as long as the pool is there.
async fn sweep(pool: Weak<Pool>, tick: Duration) {
    loop {
        sleep(tick).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.watchman.pass();
        let over = pool.tidy();
        drop(pool);
        // To close a thousand at once takes tens of milliseconds, in which nobody is served.
        for (count, line) in over.into_iter().enumerate() {
            drop(line);
            if count % CLOSED_AT_ONCE == CLOSED_AT_ONCE - 1 {
                yield_now().await;
            }
        }
    }
}
