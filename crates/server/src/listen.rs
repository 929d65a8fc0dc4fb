//! Accepts connections and drains them: what both listeners share.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::answer::Answer;
use crate::connection::{Connection, Peer};
use crate::rounds::Rounds;

/// Connections at once; the rest wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 8192;
/// A caller must finish its head within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 100;
/// Bytes of one request's head.
const MAX_HEAD: usize = 64 * 1024;

/// Answers requests of one listener.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request of a connection.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Answer> + Send;
}

/// Serves until `stop` turns true, then lets connections finish for at most `drain`.
pub(crate) async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let rounds = Rounds::new();
    tokio::select! {
        () = accept(listener, service, stop, &rounds) => {}
        () = rounds.make() => {}
    }
    if !rounds.end(drain).await {
        tracing::warn!("connections were still open after the time to drain");
    }
}

/// Accepts connections until `stop` turns true.
async fn accept<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
    rounds: &Rounds,
) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut server = http1::Builder::new();
    server
        .timer(rounds.clock())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                wait_after(&error).await;
                continue;
            }
        };
        // Small answers that somebody waits for gain nothing from waiting for more bytes.
        let _ = stream.set_nodelay(true);
        let peer = Peer { address: Some(from.ip()), ..Peer::default() };
        let (service, known) = (Arc::clone(&service), Arc::new(Connection::with(peer)));
        let theirs = Arc::clone(&known);
        let answer = service_fn(move |request| {
            let (service, known) = (Arc::clone(&service), Arc::clone(&known));
            async move { Ok::<_, Infallible>(service.answer(request, known).await) }
        });
        let connection = server.serve_connection(TokioIo::new(stream), answer).with_upgrades();
        let connection = rounds.attend(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, peer = ?theirs.peer, "a connection broke off");
            }
            drop(permit);
        });
    }
}

/// Out of descriptors, accepting fails at once again: others must be served first.
async fn wait_after(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Binds a listener; the error names the address.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}
