//! A body as one piece.
//!
//! A piece that is all of it is taken as it is. Others are copied together: each of them holds the
//! buffer that it was read into, and a caller that sends single bytes would have us hold a buffer for
//! each.

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;

/// Why it is not whole.
#[derive(Debug)]
pub(crate) enum NotWhole<E> {
    /// Longer than is taken.
    TooLong,
    /// It broke off.
    Broken(E),
}

/// Reads at most `most` bytes; trailers are passed over.
pub(crate) async fn whole<B>(mut body: B, most: usize) -> Result<Bytes, NotWhole<B::Error>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut together = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(NotWhole::Broken)?.into_data() else { continue };
        if together.len() + data.len() > most {
            return Err(NotWhole::TooLong);
        }
        let is_last = body.is_end_stream();
        if is_last && together.is_empty() {
            return Ok(data);
        }
        together.extend_from_slice(&data);
        if is_last {
            break;
        }
    }
    Ok(together.into())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// A buffer of which one byte is used.
    struct Buffer(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            b"x"
        }
    }

    impl Drop for Buffer {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn single_bytes_hold_no_buffer_each() {
        let (held, most_held) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (held_by, most) = (Arc::clone(&held), Arc::clone(&most_held));
        let pieces = stream::iter((0..1000).map(move |_| {
            let now = held_by.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(now, Ordering::Relaxed);
            let data = Bytes::from_owner(Buffer(Arc::clone(&held_by)));
            Ok::<_, Infallible>(Frame::data(data))
        }));
        let bytes = whole(StreamBody::new(pieces), 1000).await.expect("a whole body");
        assert_eq!(bytes, "x".repeat(1000));
        assert!(most_held.load(Ordering::Relaxed) <= 2, "{most_held:?}");
        assert_eq!(held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn it_is_taken_up_to_its_limit() {
        let frame = |text: &'static str| Ok::<_, Infallible>(Frame::data(Bytes::from(text)));
        for (pieces, most, expected) in [
            (vec![], 0, Some("")),
            (vec!["abc"], 3, Some("abc")),
            (vec!["", "ab", "", "c"], 3, Some("abc")),
            (vec!["abc"], 2, None),
            (vec!["ab", "c"], 2, None),
        ] {
            let body = StreamBody::new(stream::iter(pieces.clone().into_iter().map(frame)));
            let bytes = whole(body, most).await.ok();
            assert_eq!(bytes.as_deref(), expected.map(str::as_bytes), "{pieces:?}");
        }
    }
}
