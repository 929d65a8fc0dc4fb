//! The bytes of one connection, whatever carries them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::flood::Meter;
use crate::places::{Place, Refused};
use crate::rounds::RoundClock;

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

/// What came before it was known what is spoken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beginning {
    bytes: [u8; PREFACE.len()],
    from: u8,
    to: u8,
}

impl Transport {
    /// Reads until it is clear which protocol is spoken; `None` if the caller went away.
    pub(crate) async fn begin(&mut self) -> io::Result<Option<(Protocol, Beginning)>> {
        let mut beginning = Beginning::default();
        let mut length = 0;
        loop {
            let read = self.read(&mut beginning.bytes[length..]).await?;
            length += read;
            // There are 24 at most.
            beginning.to = length as u8;
            let come = &beginning.bytes[..length];
            return match (length, read) {
                (0, _) => Ok(None),
                _ if !PREFACE.starts_with(come) => Ok(Some((Protocol::Http1, beginning))),
                (24, _) => Ok(Some((Protocol::Http2, beginning))),
                (_, 0) => Ok(Some((Protocol::Http1, beginning))),
                _ => continue,
            };
        }
    }
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

    /// Hands on what came before, and what comes with it.
    fn read_beginning(&mut self, context: &mut Context<'_>, to: &mut ReadBuf<'_>) {
        let Beginning { bytes, from, to: end } = &mut self.beginning;
        let (start, end) = (usize::from(*from), usize::from(*end));
        let room = to.remaining().min(end - start);
        to.put_slice(&bytes[start..start + room]);
        // It is no longer than the preface.
        *from += room as u8;
        if to.remaining() > 0 {
            // Whatever is wrong is met again by the next read.
            let _ = Pin::new(&mut self.transport).poll_read(context, to);
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
        if self.beginning.from < self.beginning.to {
            self.read_beginning(context, to);
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
            Transport::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
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
