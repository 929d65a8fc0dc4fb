//! HTTP/1.1 over TCP, with TLS for `https`: one connection for each request.
//!
//! Token requests are rare, and a connection that was kept could be closed by the server just as we
//! write: nobody could say whether the request was processed. On a fresh one everything up to the
//! first byte of the request is proof that it was not.

use std::fmt;
use std::future::ready;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bellwether_oauth::{CONTENT_TYPE, MAX_BODY, Secret};
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE as CONTENT_TYPE_HEADER, DATE, HOST, HeaderName, LOCATION,
    RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::connect::{connect, server_name};
use super::tls::{TlsError, machine_roots, read_roots, tls_config};
use super::{Answering, Outgoing, Received, Transport, TransportError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 32 * 1024;
/// Bytes of an answer, with interim responses and the framing of the smallest chunks.
const MAX_ANSWER: u64 = 1024 * 1024;

/// The real transport.
pub struct Http1 {
    tls: TlsConnector,
    connect_timeout: Duration,
    total_timeout: Duration,
}

impl fmt::Debug for Http1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http1")
    }
}

impl Http1 {
    /// Trusts the machine's root certificates.
    ///
    /// # Errors
    /// When there are none; a transport for `http` on loopback alone comes from
    /// [`Http1::with_roots`] with an empty store.
    pub fn new() -> Result<Self, TlsError> {
        machine_roots().map(Self::with_roots)
    }

    /// Trusts the certificates in a PEM file alone.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn with_ca(path: &Path) -> Result<Self, TlsError> {
        read_roots(path).map(Self::with_roots)
    }

    /// Trusts these certificates.
    pub fn with_roots(roots: RootCertStore) -> Self {
        Self {
            tls: TlsConnector::from(Arc::new(tls_config(roots))),
            connect_timeout: CONNECT_TIMEOUT,
            total_timeout: TOTAL_TIMEOUT,
        }
    }

    /// Waits otherwise than 3 s for a connection, as long again for TLS, and 10 s for everything.
    #[must_use]
    pub fn with_timeouts(self, connect: Duration, total: Duration) -> Self {
        Self { connect_timeout: connect, total_timeout: total, ..self }
    }

    async fn answer(
        &self,
        outgoing: Outgoing,
        patience: Duration,
    ) -> Result<Received, TransportError> {
        let request = request(&outgoing)?;
        let limit = self.connect_timeout;
        let too_late = sleep(self.total_timeout);
        let late =
            |what: &str| TransportError::not_sent(&format!("{what} took more than {limit:?}"));
        let end = sleep(patience);
        let stream = timeout(limit, connect(&outgoing.url)).await;
        let stream = stream.map_err(|_| late("connecting"))??;
        if outgoing.url.scheme() == "https" {
            let name = server_name(&outgoing.url)?;
            let stream = timeout(limit, self.tls.connect(name, stream))
                .await
                .map_err(|_| late("the TLS handshake"))?
                .map_err(|error| TransportError::not_sent(&format!("TLS: {error}")))?;
            exchange(stream, request, too_late, end).await
        } else {
            exchange(stream, request, too_late, end).await
        }
    }
}

impl Transport for Http1 {
    fn send(&self, outgoing: Outgoing) -> Answering<'_> {
        Box::pin(self.answer(outgoing, self.total_timeout))
    }

    fn send_patiently(&self, outgoing: Outgoing, patience: Duration) -> Answering<'_> {
        Box::pin(self.answer(outgoing, patience.max(self.total_timeout)))
    }
}

fn request(outgoing: &Outgoing) -> Result<Request<Full<Bytes>>, TransportError> {
    let url = &outgoing.url;
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let target = url
        .query()
        .map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut builder = Request::builder()
        .uri(target)
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("bellwether/", env!("CARGO_PKG_VERSION")));
    if let Some(secret) = &outgoing.authorization {
        builder = builder.header(AUTHORIZATION, sensitive(secret)?);
    }
    let request = match &outgoing.form {
        Some(form) => builder
            .method(Method::POST)
            .header(CONTENT_TYPE_HEADER, CONTENT_TYPE)
            .body(Full::new(Bytes::copy_from_slice(form.expose().as_bytes()))),
        None => builder.method(Method::GET).body(Full::new(Bytes::new())),
    };
    request.map_err(|error| TransportError::not_sent(&error.to_string()))
}

fn sensitive(secret: &Secret) -> Result<HeaderValue, TransportError> {
    let mut value = HeaderValue::try_from(secret.expose()).map_err(|_| {
        TransportError::not_sent("a secret holds characters that no header can carry")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sends the request unless it is `too_late`, and reads its answer until `end`.
async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    too_late: Sleep,
    end: Sleep,
) -> Result<Received, TransportError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (reading, writing) = tokio::io::split(stream);
    let stream = tokio::io::join(reading.take(MAX_ANSWER), writing);
    let mut builder = hyper::client::conn::http1::Builder::new();
    let (mut sender, connection) = builder
        .max_buf_size(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| TransportError::not_sent(&error.to_string()))?;
    let connection = tokio::spawn(connection);
    let mut end = pin!(end);
    // Whoever was paused until now must not surprise the server.
    let is_in_time = tokio::select! {
        biased;
        () = too_late => false,
        () = ready(()) => true,
    };
    if !is_in_time {
        connection.abort();
        return Err(TransportError::not_sent("it became too late to send"));
    }
    let result = async {
        let response = tokio::select! {
            response = sender.send_request(request) => response.map_err(|error| lost(&error))?,
            () = &mut end => return Err(late()),
        };
        Ok(read(response, end).await)
    }
    .await;
    connection.abort();
    result
}

fn lost(error: &hyper::Error) -> TransportError {
    TransportError::MaybeSent(error.to_string())
}

fn late() -> TransportError {
    TransportError::MaybeSent("no whole answer in time".to_owned())
}

/// Reads up to the bound and one byte more, so that the reader of the response can tell.
async fn read(response: Response<Incoming>, mut end: Pin<&mut Sleep>) -> Received {
    let (parts, mut incoming) = response.into_parts();
    let header = |name: HeaderName| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let mut body = Zeroizing::new(Vec::new());
    let mut truncated = false;
    loop {
        let frame = tokio::select! {
            frame = incoming.frame() => match frame {
                Some(frame) => frame.ok(),
                None => break,
            },
            () = &mut end => None,
        };
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                let room = (MAX_BODY + 1).saturating_sub(body.len());
                body.extend_from_slice(&data[..data.len().min(room)]);
                if body.len() > MAX_BODY {
                    break;
                }
            }
            // Trailers say nothing of interest.
            Some(Err(_)) => {}
            // What did arrive may hold a whole token; the reader decides.
            None => {
                truncated = true;
                break;
            }
        }
    }
    Received {
        status: parts.status.as_u16(),
        content_type: header(CONTENT_TYPE_HEADER),
        retry_after: header(RETRY_AFTER),
        date: header(DATE),
        www_authenticate: header(WWW_AUTHENTICATE),
        location: parts.headers.contains_key(LOCATION),
        body,
        truncated,
    }
}
