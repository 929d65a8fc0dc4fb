//! Response bodies: whole, or broken off on purpose.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body that may end before the length it promised.
#[derive(Debug)]
pub(crate) struct Script {
    promised: u64,
    rest: Option<Bytes>,
    breaks_off: bool,
}

/// Makes the server cut the connection in the middle of a body.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response breaks off here, as the script says")
    }
}

impl std::error::Error for BrokenOff {}

impl Script {
    pub(crate) fn whole(body: Vec<u8>) -> Self {
        Self { promised: body.len() as u64, rest: Some(body.into()), breaks_off: false }
    }

    /// Promises all of `body` and sends its first `after_bytes`.
    pub(crate) fn broken_off(body: Vec<u8>, after_bytes: usize) -> Self {
        let promised = body.len() as u64;
        let sent = Bytes::from(body).slice(..after_bytes.min(promised as usize));
        Self { promised, rest: Some(sent), breaks_off: true }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.rest.take() {
            Some(rest) if !rest.is_empty() => Poll::Ready(Some(Ok(Frame::data(rest)))),
            _ if self.breaks_off => Poll::Ready(Some(Err(BrokenOff))),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.breaks_off && self.rest.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
