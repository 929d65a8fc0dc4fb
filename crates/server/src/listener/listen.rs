//! Accepts connections and drains them: what the listeners share.
//!
//! To accept a connection is one thing, to serve it another: [`accept`] finds out whether there is a
//! place for it, and [`Host::serve`] carries it to its end, wherever it is called.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::crew::Crew;
use super::places::{Place, Places, Refused};
use super::protocol;
use super::rounds::{Attendance, Rounds};
use super::socket::Socket;
use super::stream::{Detached, Protocol, Stream, Transport};
use super::tls::{self, Tls};
use crate::answer::Answer;
use crate::apart::apart;
use crate::callers::{Connection, Peer};

/// A caller must finish its head within this time, and begin it too where it has said nothing yet.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A TLS handshake is a few messages of a few kilobytes.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Answers requests of one listener.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request of a connection.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Answer> + Send;

    /// The places for connections.
    fn places(&self) -> &Arc<Places>;
}

/// Where one listener listens, at one or more places.
#[derive(Debug)]
pub struct Listeners {
    /// The sockets.
    pub sockets: Vec<Socket>,
    /// Spoken over TCP; in the clear without.
    pub tls: Option<Arc<Tls>>,
}

impl From<TcpListener> for Listeners {
    fn from(listener: TcpListener) -> Self {
        Self { sockets: vec![listener.into()], tls: None }
    }
}

impl From<Vec<Socket>> for Listeners {
    fn from(sockets: Vec<Socket>) -> Self {
        Self { sockets, tls: None }
    }
}

/// What serves connections; the same for all of one listener.
struct Host<S> {
    service: Arc<S>,
    tls: Option<Arc<Tls>>,
}

/// A connection that was let in.
pub(crate) struct Arrived {
    stream: Detached,
    takes_tls: bool,
    peer: Peer,
    place: Place,
    attendance: Attendance,
}

/// Has a crew serve until `stop` turns true, and finish within `drain` then.
pub(crate) async fn serve(
    sockets: Vec<Socket>,
    places: Arc<Places>,
    crew: Crew<Arrived>,
    stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let rounds = Rounds::new();
    let accepting = sockets.iter().map(|socket| {
        let mut stop = stop.clone();
        let (places, crew, rounds) = (&places, &crew, &rounds);
        async move {
            loop {
                let arrived = tokio::select! {
                    arrived = accept(socket, places, rounds) => arrived,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                crew.carry(arrived);
            }
        }
    });
    tokio::select! {
        _ = join_all(accepting) => {}
        () = rounds.make() => {}
    }
    drop(sockets);
    if !rounds.end(drain).await {
        tracing::warn!("connections were still open after the time to drain");
    }
    crew.dismiss().await;
}

/// What a member of a crew does with a connection.
pub(crate) fn carry<S: Service>(
    service: Arc<S>,
    tls: Option<Arc<Tls>>,
) -> impl Fn(Arrived) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let host = Arc::new(Host { service, tls });
    move |arrived| Box::pin(Arc::clone(&host).serve(arrived))
}

/// The next connection that there is a place for. Others are closed at once.
async fn accept(socket: &Socket, places: &Arc<Places>, rounds: &Rounds) -> Arrived {
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                wait_after(&error).await;
                continue;
            }
        };
        if let Some(place) = places.take(peer.address) {
            let (takes_tls, attendance) = (socket.takes_tls(), rounds.attend());
            return Arrived { stream, takes_tls, peer, place, attendance };
        }
    }
}

/// Out of descriptors, accepting fails at once again: others must be served first.
async fn wait_after(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

impl<S: Service> Host<S> {
    /// Carries a connection to its end.
    async fn serve(self: Arc<Self>, arrived: Arrived) {
        let Arrived { stream, takes_tls, mut peer, place, mut attendance } = arrived;
        let transport = match stream.attach() {
            Ok(transport) => transport,
            Err(error) => return tracing::warn!(%error, "a connection cannot be watched"),
        };
        let shaken = match self.tls.as_ref().filter(|_| takes_tls) {
            Some(tls) => {
                // Its state is large, and gone before the first request.
                let places = self.service.places();
                apart(|| shake_hands(transport, &mut peer, tls, places, &mut attendance)).await
            }
            None => Some(transport),
        };
        let Some(mut transport) = shaken else { return };
        let begun = attendance.within(HEADER_TIMEOUT, transport.begin()).await;
        let (protocol, beginning) = match begun {
            Some(Ok(Some(begun))) => begun,
            // It came and went.
            Some(Ok(None) | Err(_)) => return,
            None => return place.refuse(Refused::Silent),
        };
        let stream = Stream::new(transport, beginning, place);
        let connection = Arc::new(Connection::with(peer));
        let keep_alive = self.service.places().limits().keep_alive;
        let service = Arc::clone(&self.service);
        match protocol {
            Protocol::Http1 => {
                protocol::http1(stream, service, connection, attendance, keep_alive).await;
            }
            Protocol::Http2 => {
                let serve = || protocol::http2(stream, service, connection, attendance, keep_alive);
                // Its state is larger than that of a connection that waits.
                apart(serve).await;
            }
        }
    }
}

/// Comes to terms over TLS; `None` if there was no coming to terms.
async fn shake_hands(
    transport: Transport,
    peer: &mut Peer,
    tls: &Tls,
    places: &Arc<Places>,
    attendance: &mut Attendance,
) -> Option<Transport> {
    let Transport::Tcp(stream) = transport else { return Some(transport) };
    let _under_way = places.begin_handshake()?;
    let accepting = tls.acceptor().accept(stream);
    match attendance.within(HANDSHAKE_TIMEOUT, accepting).await {
        Some(Ok(stream)) => {
            peer.certificate = tls::callers_certificate(stream.get_ref().1);
            Some(Transport::Tls(Box::new(stream)))
        }
        Some(Err(error)) => {
            tracing::debug!(%error, ?peer, "a TLS handshake failed");
            places.refuse(Refused::Tls);
            None
        }
        None => {
            places.refuse(Refused::Silent);
            None
        }
    }
}
