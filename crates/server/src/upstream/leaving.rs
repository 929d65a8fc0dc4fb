//! What has been read of a body and has not left yet is bounded, by what it holds and not by what
//! it says.
//!
//! Each piece holds the buffer that it was read into, which it may fill to a hundredth. An engine
//! takes sixteen of them ahead, and one more waits at the connection that they come over: a quarter
//! of a megabyte for a reader that reads nothing. So small pieces are copied, and both ends wait
//! while more than a few kilobytes are on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

/// Bytes on their way, beyond which no more are read: one piece of 8 KiB is enough of them.
const MOST: usize = 4 * 1024;
/// A piece that holds at least twice as much as it says.
const SMALL: usize = 4 * 1024;

/// The pieces of one body that are on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving(Arc<Way>);

#[derive(Debug, Default)]
struct Way {
    bytes: AtomicUsize,
    body: AtomicWaker,
    connection: AtomicWaker,
}

struct Piece {
    bytes: Bytes,
    way: Arc<Way>,
}

impl Leaving {
    /// Ready when there is room for more of the body.
    pub(super) fn poll_body(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(&self.0.body, context)
    }

    /// The same for the connection that it comes over.
    pub(super) fn poll_connection(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(&self.0.connection, context)
    }

    fn poll(&self, waiter: &AtomicWaker, context: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        waiter.register(context.waker());
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn has_room(&self) -> bool {
        self.0.bytes.load(Ordering::Acquire) < MOST
    }

    /// The same bytes, on their way.
    pub(super) fn leave(&self, bytes: Bytes) -> Bytes {
        let bytes = if bytes.len() < SMALL { Bytes::copy_from_slice(&bytes) } else { bytes };
        self.0.bytes.fetch_add(bytes.len(), Ordering::AcqRel);
        Bytes::from_owner(Piece { bytes, way: Arc::clone(&self.0) })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.way.bytes.fetch_sub(self.bytes.len(), Ordering::AcqRel);
        self.way.body.wake();
        self.way.connection.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn no_more_is_read_until_the_last_copy_of_what_was_read_is_gone() {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let context = Context::from_waker(&waker);
        let leaving = Leaving::default();
        let small = leaving.leave(Bytes::from(vec![b'x'; MOST - 1]));
        assert!(leaving.poll_body(&context).is_ready());
        let piece = leaving.leave(Bytes::from_static(b"piece"));
        assert_eq!(&*piece, b"piece");
        let rest = piece.slice(2..);
        assert!(leaving.poll_body(&context).is_pending());
        assert!(leaving.poll_connection(&context).is_pending());
        drop(piece);
        assert!(leaving.poll_body(&context).is_pending(), "a part of it is still there");
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        drop(rest);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "both are told");
        assert!(leaving.poll_body(&context).is_ready());
        assert!(leaving.poll_connection(&context).is_ready());
        drop(small);
    }
}
