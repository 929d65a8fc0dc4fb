//! Bytes before the head of an answer are bounded: interim answers (RFC 9110 §15.2) are read and
//! dropped, and a server that sends them without end never comes to the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than one read of a large answer brings along with its head.
const MOST: usize = 1 << 20;

/// What was heard on a connection since the latest request was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicUsize>);

impl Heard {
    /// A head is waited for.
    pub(super) fn begin(&self) {
        self.0.store(MOST, Ordering::Relaxed);
    }

    /// It came: what follows is its body.
    pub(super) fn end(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// Counts what is read from here.
    pub(super) fn listen<S>(&self, stream: S) -> Counted<S> {
        self.end();
        Counted { stream, heard: self.clone() }
    }

    fn take(&self, count: usize) -> io::Result<()> {
        let left = self.0.load(Ordering::Relaxed);
        if left == usize::MAX {
            return Ok(());
        }
        let left = left.saturating_sub(count);
        self.0.store(left, Ordering::Relaxed);
        if left > 0 { Ok(()) } else { Err(io::Error::other("interim answers without end")) }
    }

    /// Whether that was too much.
    pub(super) fn is_too_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// A connection whose bytes are counted while a head is waited for.
pub(super) struct Counted<S> {
    stream: S,
    heard: Heard,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.heard.take(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn without_a_head_a_megabyte_is_the_end_and_a_body_has_none() {
        let (mut server, client) = duplex(1 << 16);
        let heard = Heard::default();
        let mut client = heard.listen(client);
        let flood =
            tokio::spawn(async move { while server.write_all(&[b'x'; 1 << 14]).await.is_ok() {} });
        let mut buffer = vec![0; 1 << 14];
        for _ in 0..200 {
            client.read_exact(&mut buffer).await.unwrap();
        }
        heard.begin();
        let mut read = 0;
        let error = loop {
            match client.read(&mut buffer).await {
                Ok(count) => read += count,
                Err(error) => break error,
            }
        };
        assert!(read <= MOST && MOST - read <= buffer.len(), "{read}");
        assert_eq!(error.to_string(), "interim answers without end");
        drop(client);
        flood.await.unwrap();
    }
}
