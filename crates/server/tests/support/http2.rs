//! A caller that speaks HTTP/2: by hyper's client, or frame by frame.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A test that waits longer than this has found a hang.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One connection by prior knowledge, or after TLS.
pub(crate) struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    /// Ends with the connection.
    pub(crate) carried: JoinHandle<hyper::Result<()>>,
}

impl Http2 {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a listener")).await
    }

    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let shaken = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = shaken.expect("a handshake");
        Self { sender, carried: tokio::spawn(connection) }
    }

    /// Sends a request; the head of its answer comes back.
    pub(crate) fn begin(
        &self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let mut sender = self.sender.clone();
        async move { sender.send_request(request).await }
    }

    /// Status and body of an answer.
    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> (u16, Bytes) {
        let asked = async {
            let response = self.begin(request).await.expect("an answer");
            let status = response.status().as_u16();
            (status, response.into_body().collect().await.expect("a body").to_bytes())
        };
        timeout(PATIENCE, asked).await.expect("no hang")
    }
}

/// A request of `authority` with a bearer token.
pub(crate) fn request(
    method: &str,
    url: &str,
    bearer: &str,
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", format!("Bearer {bearer}"))
        .body(Full::new(body.into()))
        .expect("a request")
}

/// One frame (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Sends `first` and then what `turn` makes of 0, 1, 2, … until the peer hangs up; how many it took.
/// What the peer says is read all along.
pub(crate) async fn flood(
    address: SocketAddr,
    first: &[u8],
    most: u32,
    turn: impl Fn(u32) -> Vec<u8>,
) -> u32 {
    let stream = TcpStream::connect(address).await.expect("a listener");
    let (mut from, mut to) = stream.into_split();
    let hung_up = tokio::spawn(async move {
        let mut bytes = vec![0; 65_536];
        while from.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    });
    let _ = to.write_all(first).await;
    let mut sent = 0;
    while sent < most && !hung_up.is_finished() {
        let batch: Vec<u8> = (sent..most.min(sent + 50)).flat_map(&turn).collect();
        if timeout(PATIENCE, to.write_all(&batch)).await.expect("it reads or hangs up").is_err() {
            break;
        }
        sent += 50;
        tokio::task::yield_now().await;
    }
    timeout(PATIENCE, hung_up).await.expect("the peer hangs up").expect("no panic");
    sent
}
