//! Two connections that were upgraded (RFC 9110 §7.8), joined until one ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::sleep;

/// Passes bytes both ways, in a task of its own, until one side ends or nothing moves for
/// `silence`. `open` is held meanwhile.
pub(crate) fn join<T: Send + 'static>(
    caller: OnUpgrade,
    api: OnUpgrade,
    silence: Duration,
    open: T,
) {
    tokio::spawn(async move {
        let (caller, api) = match tokio::try_join!(caller, api) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "a connection was not upgraded"),
        };
        let moved = Arc::new(AtomicBool::new(false));
        let mut caller = Seen { stream: TokioIo::new(caller), moved: Arc::clone(&moved) };
        let mut api = TokioIo::new(api);
        let mut copying = std::pin::pin!(copy_bidirectional(&mut caller, &mut api));
        loop {
            tokio::select! {
                copied = &mut copying => {
                    if let Err(error) = copied {
                        tracing::debug!(%error, "an upgraded connection ended");
                    }
                    break;
                }
                () = sleep(silence) => {
                    if !moved.swap(false, Ordering::Relaxed) {
                        tracing::debug!("an upgraded connection was silent for too long");
                        break;
                    }
                }
            }
        }
        drop(open);
    });
}

/// Notes whenever something moves, either way.
struct Seen<S> {
    stream: S,
    moved: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Seen<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.moved.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Seen<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.moved.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
