//! The listener: one task per connection, so that a slow caller is slow alone.

use std::fmt;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::{Answer, Ledger, Organisation, Outcome, Request, Response, Totals};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::body::{BrokenOff, Script};
use crate::control;

/// Tells the time: since boot, and by the wall clock.
pub type Now = Arc<dyn Fn() -> (Timestamp, UnixTime) + Send + Sync>;

/// Larger request bodies get 413.
const MAX_BODY: usize = 1 << 20;
/// How long a caller may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The listener's rest after a failed accept, when descriptors run out.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// An organisation that answers on a socket. It stops when this is dropped.
pub struct Running {
    address: SocketAddr,
    stage: Arc<Stage>,
    listening: JoinHandle<()>,
}

/// The organisation and its clock, shared by all connections.
struct Stage {
    organisation: Mutex<Organisation>,
    now: Now,
    /// Connections whose first request has not been handled.
    arriving: AtomicUsize,
}

/// A connection on which nothing has been handled yet.
struct Arriving(Arc<Stage>);

impl Arriving {
    fn on(stage: &Arc<Stage>) -> Self {
        stage.arriving.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(stage))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves `organisation` on `listener`, login and API alike.
///
/// # Errors
/// If the listener does not know its address.
pub fn serve(
    organisation: Organisation,
    listener: TcpListener,
    now: Now,
) -> std::io::Result<Running> {
    let address = listener.local_addr()?;
    let organisation = Mutex::new(organisation);
    let stage = Arc::new(Stage { organisation, now, arriving: AtomicUsize::new(0) });
    let listening = tokio::spawn(listen(listener, Arc::clone(&stage)));
    Ok(Running { address, stage, listening })
}

impl Running {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` followed by `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The ledger's counts, and how many tokens are live now.
    pub fn totals(&self) -> Totals {
        let (now, _) = (self.stage.now)();
        self.stage.organisation().totals(now)
    }

    /// A copy of the ledger.
    pub fn ledger(&self) -> Ledger {
        self.stage.organisation().ledger().clone()
    }

    /// Does something with the organisation between two requests, told the time.
    pub fn with<T>(&self, act: impl FnOnce(&mut Organisation, Timestamp) -> T) -> T {
        let mut organisation = self.stage.organisation();
        let (now, _) = (self.stage.now)();
        act(&mut organisation, now)
    }

    /// Connections that were accepted and have brought no request yet, nor ended.
    pub fn arriving(&self) -> usize {
        self.stage.arriving.load(Ordering::SeqCst)
    }

    /// Stops listening and closes all connections.
    pub async fn stop(mut self) {
        self.listening.abort();
        // It was told to end; how it did says nothing more.
        let _ = (&mut self.listening).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({})", self.address)
    }
}

impl Stage {
    /// A panic elsewhere leaves an organisation that a test can still look at.
    fn organisation(&self) -> MutexGuard<'_, Organisation> {
        self.organisation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time is read under the lock, so that arrivals are in the order of time.
    fn handle(&self, request: &Request) -> Answer {
        let mut organisation = self.organisation();
        let (now, wall) = (self.now)();
        if control::is_control(request.path_only()) {
            let response = control::direct(&mut organisation, now, request);
            return Answer { after: Duration::ZERO, outcome: Outcome::Respond(response) };
        }
        organisation.handle(now, wall, request)
    }
}

/// Connections belong to this task and end with it.
async fn listen(listener: TcpListener, stage: Arc<Stage>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let arriving = Arriving::on(&stage);
                    connections.spawn(converse(stream, Arc::clone(&stage), arriving));
                }
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, stage: Arc<Stage>, arriving: Arriving) {
    // Answers are small; none is to wait for the next.
    let _ = stream.set_nodelay(true);
    let arriving = Mutex::new(Some(arriving));
    let service = service_fn(move |request| {
        let arriving = arriving.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer(request, Arc::clone(&stage), arriving)
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // Whether the peer left or the script cut the line, this connection is over.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// An error makes hyper close the connection without a byte.
async fn answer(
    request: hyper::Request<Incoming>,
    stage: Arc<Stage>,
    arriving: Option<Arriving>,
) -> Result<hyper::Response<Script>, BrokenOff> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(error) if error.is::<LengthLimitError>() => {
            let response = Response::json(413, br#"{"error":"the body is too large"}"#.to_vec());
            return into_http(&response, Script::whole(response.body.clone()));
        }
        Err(_) => return Err(BrokenOff),
    };
    let text =
        |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let request = Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
    };
    let Answer { after, outcome } = stage.handle(&request);
    drop(arriving);
    if !after.is_zero() {
        tokio::time::sleep(after).await;
    }
    match outcome {
        Outcome::Respond(mut response) => {
            let body = std::mem::take(&mut response.body);
            into_http(&response, Script::whole(body))
        }
        Outcome::BreakOff { mut response, after_bytes } => {
            let body = std::mem::take(&mut response.body);
            into_http(&response, Script::broken_off(body, after_bytes))
        }
        Outcome::CloseWithoutAnswer => Err(BrokenOff),
        Outcome::Stall => pending().await,
    }
}

/// A response that cannot be written is one that closes the connection.
fn into_http(response: &Response, body: Script) -> Result<hyper::Response<Script>, BrokenOff> {
    let mut builder = hyper::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    builder.body(body).map_err(|_| BrokenOff)
}
