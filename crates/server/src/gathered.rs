//! Few bytes are written as one piece: to hand several to the kernel costs more than to copy them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// A head and a small body.
const FEW: usize = 2048;

/// Writes from these pieces, which are one as far as anybody can see.
pub(crate) fn poll_write_gathered<W: AsyncWrite + Unpin>(
    stream: &mut W,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if let [piece] = pieces {
        return stream.poll_write(context, piece);
    }
    let mut room = [0; FEW];
    let mut length = 0;
    for piece in pieces {
        let Some(place) = room.get_mut(length..length + piece.len()) else {
            return stream.poll_write_vectored(context, pieces);
        };
        place.copy_from_slice(piece);
        length += piece.len();
    }
    stream.poll_write(context, &room[..length])
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes, and remembers how it was asked.
    struct Narrow(usize, Vec<(&'static str, Vec<u8>)>);

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.0);
            self.1.push(("one", bytes[..taken].to_vec()));
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> =
                pieces.iter().flat_map(|piece| piece.iter().copied()).take(self.0).collect();
            let taken = bytes.len();
            self.1.push(("several", bytes));
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_is_small_leaves_in_one_piece_and_what_is_large_as_it_came() {
        let large = vec![b'l'; FEW];
        #[rustfmt::skip]
        let cases: [(&[&[u8]], usize, &str, usize); 7] = [
            (&[],                     9999, "one",     0),
            (&[b"head"],              9999, "one",     4),
            (&[&large],               9999, "one",     FEW),
            (&[b"head", b"", b"body"], 9999, "one",    8),
            (&[b"head", b"body"],     6,    "one",     6),
            (&[b"head", &large],      9999, "several", FEW + 4),
            (&[b"head", &large],      100,  "several", 100),
        ];
        for (pieces, takes, how, taken) in cases {
            let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut stream = Narrow(takes, Vec::new());
            let mut context = Context::from_waker(Waker::noop());
            let written = poll_write_gathered(&mut stream, &mut context, &slices);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == taken), "{pieces:?}");
            let whole = pieces.concat();
            assert_eq!(stream.1, [(how, whole[..taken].to_vec())], "{pieces:?}");
        }
    }
}
