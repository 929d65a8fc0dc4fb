//! What is read from a connection to the API is bounded.
//!
//! Before the head of an answer, since interim answers (RFC 9110 §15.2) are read and dropped, and a
//! server that sends them without end never comes to the answer. And of its body, since the engine
//! reads ahead of a caller that does not.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

use super::leaving::Leaving;
use crate::gathered::poll_write_gathered;

/// More than one read of a large answer brings along with its head.
const MOST: usize = 1 << 20;
/// Just too little for the engine to take a larger buffer for the next.
const MOST_AT_ONCE: u64 = 8 * 1024 - 1;

/// What was heard on a connection since the latest request was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Limits>);

#[derive(Debug, Default)]
struct Limits {
    /// Bytes that may come before the head.
    left: AtomicUsize,
    /// What of a body is to leave before more of it is read.
    leaving: Mutex<Option<Leaving>>,
}

impl Heard {
    /// A head is waited for.
    pub(super) fn begin(&self) {
        self.0.left.store(MOST, Ordering::Relaxed);
    }

    /// It came: what follows is its body.
    pub(super) fn end(&self) {
        self.0.left.store(usize::MAX, Ordering::Relaxed);
    }

    /// Counts what is read from here.
    pub(super) fn listen<S: AsyncRead>(&self, stream: S) -> Counted<S> {
        self.end();
        Counted { stream: stream.take(MOST_AT_ONCE), heard: self.clone() }
    }

    /// No more is read while too much of this is on its way.
    pub(super) fn wait_for(&self, leaving: &Leaving) {
        *self.leaving() = Some(leaving.clone());
    }

    /// What comes next is for another.
    pub(super) fn wait_no_more(&self) {
        *self.leaving() = None;
    }

    fn leaving(&self) -> MutexGuard<'_, Option<Leaving>> {
        // It is one word, so a panic elsewhere does not spoil it.
        self.0.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, count: usize) -> io::Result<()> {
        let left = self.0.left.load(Ordering::Relaxed);
        if left == usize::MAX {
            return Ok(());
        }
        let left = left.saturating_sub(count);
        self.0.left.store(left, Ordering::Relaxed);
        if left > 0 { Ok(()) } else { Err(io::Error::other("interim answers without end")) }
    }

    /// Whether that was too much.
    pub(super) fn is_too_much(&self) -> bool {
        self.0.left.load(Ordering::Relaxed) == 0
    }
}

/// A connection whose bytes are counted while a head is waited for.
pub(super) struct Counted<S> {
    stream: Take<S>,
    heard: Heard,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(leaving) = &*self.heard.leaving() {
            ready!(leaving.poll_connection(context));
        }
        let before = buffer.filled().len();
        self.stream.set_limit(MOST_AT_ONCE);
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.heard.take(buffer.filled().len() - before))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_gathered(self.stream.get_mut(), context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

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

    #[tokio::test]
    async fn what_has_not_left_holds_up_its_own_answer_and_no_other() {
        let (mut server, client) = duplex(1 << 16);
        let heard = Heard::default();
        let mut client = heard.listen(client);
        server.write_all(b"answer").await.unwrap();
        let leaving = Leaving::default();
        let piece = leaving.leave(vec![b'x'; 1 << 14].into());
        heard.wait_for(&leaving);
        let mut buffer = [0; 6];
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(pin!(client.read_exact(&mut buffer)).poll(&mut context).is_pending());
        heard.wait_no_more();
        client.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"answer");
        drop(piece);
    }
}
