//! The bytes of one connection, whatever carries them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::flood::Meter;
use super::places::{Place, Refused};
use super::rounds::RoundClock;
use crate::gathered::poll_write_gathered;

/// What carries a connection.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Far larger than the others.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that no runtime watches.
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Has the current runtime watch it.
    pub(crate) fn attach(self) -> io::Result<Transport> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Transport::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Transport::Unix),
        }
    }
}

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Half a head of so many bytes is waited with here. The engine sets much more aside for a
/// connection, and thousands of callers may come no further.
const MOST_WAITED_WITH: usize = 8 * 1024;
/// Most heads fit.
const USUAL_HEAD: usize = 1024;

/// What came before an engine took over: the preface of HTTP/2, or a head of HTTP/1.1.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    bytes: Vec<u8>,
    /// Bytes that were handed on.
    from: usize,
}

impl Transport {
    /// Reads until it is clear which protocol is spoken, and there is something to do; `None` if the
    /// caller went away.
    pub(crate) async fn begin(&mut self) -> io::Result<Option<(Protocol, Beginning)>> {
        let mut bytes = Vec::with_capacity(USUAL_HEAD);
        loop {
            let is_over = self.read_buf(&mut bytes).await? == 0;
            if bytes.is_empty() {
                return Ok(None);
            }
            let protocol = if bytes.starts_with(PREFACE) {
                Protocol::Http2
            } else if is_over || may_be_parsed(&bytes) {
                Protocol::Http1
            } else {
                continue;
            };
            return Ok(Some((protocol, Beginning { bytes, from: 0 })));
        }
    }
}

/// Whether a parser of HTTP/1.1 can say what it is: a whole head, or nothing that begins one.
fn may_be_parsed(bytes: &[u8]) -> bool {
    let ends =
        |at: usize| bytes[at + 1..].starts_with(b"\n") || bytes[at + 1..].starts_with(b"\r\n");
    bytes.len() >= MOST_WAITED_WITH
        || !bytes[0].is_ascii_uppercase()
        || (!PREFACE.starts_with(bytes)
            && bytes.iter().enumerate().any(|(at, byte)| *byte == b'\n' && ends(at)))
}

/// Counts bytes, so that it is known whether a caller that is waited for said anything, and how much.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<AtomicU32>);

impl Heard {
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// One connection is read by one task at a time.
    pub(crate) fn more(&self, bytes: usize) {
        // It is compared with what it was not long ago, so that it may come round.
        self.0.store(self.count().wrapping_add(bytes as u32), Ordering::Relaxed);
    }
}

/// A connection as the HTTP engines read and write it.
#[derive(Debug)]
pub(crate) struct Stream {
    transport: Transport,
    beginning: Beginning,
    heard: Heard,
    meter: Option<(Meter, RoundClock)>,
    /// Given back when the socket closes, also when it was upgraded to something else.
    place: Place,
}

impl Stream {
    pub(crate) fn new(transport: Transport, beginning: Beginning, place: Place) -> Self {
        Self { transport, beginning, heard: Heard::default(), meter: None, place }
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// Watches the frames of HTTP/2.
    pub(crate) fn metered(mut self, clock: RoundClock) -> Self {
        self.meter = Some((Meter::new(clock.round()), clock));
        self
    }

    /// Hands on what came before.
    fn read_beginning(&mut self, to: &mut ReadBuf<'_>) {
        let Beginning { bytes, from } = &mut self.beginning;
        let room = to.remaining().min(bytes.len() - *from);
        to.put_slice(&bytes[*from..*from + room]);
        *from += room;
        if *from == bytes.len() {
            self.beginning = Beginning::default();
        }
    }

    fn wrote(&mut self, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Some((meter, _)), Poll::Ready(Ok(written))) = (&mut self.meter, &done) {
            meter.wrote(*written);
        }
        done
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, to),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, to),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, to),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        if self.beginning.from < self.beginning.bytes.len() {
            self.read_beginning(to);
        } else {
            ready!(Pin::new(&mut self.transport).poll_read(context, to))?;
        }
        self.heard.more(to.filled().len() - before);
        let Self { meter, place, .. } = &mut *self;
        if let Some((meter, clock)) = meter
            && !meter.read(&to.filled()[before..], clock.round())
        {
            place.refuse(Refused::Flood);
            return Poll::Ready(Err(io::Error::other("frames that ask for nothing")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.wrote(done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = match &mut self.transport {
            Transport::Tcp(stream) => poll_write_gathered(stream, context, slices),
            Transport::Unix(stream) => poll_write_gathered(stream, context, slices),
            Transport::Tls(stream) => poll_write_gathered(stream, context, slices),
        };
        self.wrote(done)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Tcp(stream) => stream.is_write_vectored(),
            Transport::Unix(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Transport::Unix(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_takes_over_when_there_is_something_to_do() {
        let long = format!("GET /{}", "a".repeat(MOST_WAITED_WITH));
        #[rustfmt::skip]
        let cases = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n",  true),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r",    false),
            ("GET / HTTP/1.1\r\nHost: a\r\n",      false),
            ("GET / HTTP/1.1\nHost: a\n\n",        true),
            ("G",                                  false),
            ("P",                                  false),
            ("PRI * HTTP/2.0\r\n\r\nSM",           false),
            ("PRI * HTTP/2.0\r\n\r\nGET",          true),
            ("\x16\x03\x01",                       true),
            ("\r\n",                               true),
            (&long,                                true),
        ];
        for (bytes, expected) in cases {
            assert_eq!(may_be_parsed(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }
}
