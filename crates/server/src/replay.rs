//! A request body that can be sent once more if the first token is refused.
//!
//! A body whose length is known is small and at hand, or large and streamed. One whose length is not
//! known streams on at once and is written down on the way, for as long as it is small.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::answer::BodyError;
use crate::message::{NotWhole, whole};
use crate::upstream::RequestBody;

/// A request body, kept for a replay where it is small.
pub(crate) enum Kept {
    /// The whole of it.
    AtHand(Bytes),
    /// Taken by the first attempt.
    Streaming { body: Option<RequestBody>, record: Arc<Mutex<Record>> },
}

/// What has passed of a body.
#[derive(Debug)]
pub(crate) enum Record {
    /// So far, with room for so many more bytes.
    Open { passed: Vec<u8>, room: usize },
    /// All of it.
    Whole(Bytes),
    /// It is too large, or broke off.
    Lost,
}

impl Kept {
    /// No body, where there is none.
    ///
    /// # Errors
    /// The body, where there is one.
    pub(crate) fn none(body: Incoming) -> Result<Self, Incoming> {
        if body.is_end_stream() { Ok(Self::AtHand(Bytes::new())) } else { Err(body) }
    }

    /// Keeps up to `most` bytes of a body.
    ///
    /// # Errors
    /// When a small body breaks off.
    pub(crate) async fn of(body: Incoming, most: usize) -> Result<Self, BodyError> {
        let length = body.size_hint().exact();
        if length.is_some_and(|length| length <= most as u64) {
            return match whole(body, most).await {
                Ok(bytes) => Ok(Self::AtHand(bytes)),
                Err(NotWhole::TooLong) => Err(BodyError::new("longer than it said")),
                Err(NotWhole::Broken(error)) => Err(BodyError::new(error)),
            };
        }
        if length.is_some() {
            let record = Arc::new(Mutex::new(Record::Lost));
            return Ok(Self::Streaming { body: Some(RequestBody::passing(body)), record });
        }
        let record = Arc::new(Mutex::new(Record::Open { passed: Vec::new(), room: most }));
        let noted = Noted { body, record: Arc::clone(&record) };
        Ok(Self::Streaming { body: Some(RequestBody::noted(noted)), record })
    }

    /// Whether all of it is here.
    pub(crate) fn is_at_hand(&self) -> bool {
        matches!(self, Self::AtHand(_))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::AtHand(bytes) if bytes.is_empty())
    }

    /// Whether there is a body to send, for the first time or again.
    pub(crate) fn can_be_sent(&self) -> bool {
        match self {
            Self::AtHand(_) => true,
            Self::Streaming { body, record } => {
                body.is_some() || matches!(*lock(record), Record::Whole(_))
            }
        }
    }

    /// The body to send now.
    pub(crate) fn take(&mut self) -> RequestBody {
        let full = |bytes: &Bytes| RequestBody::at_hand(bytes.clone());
        match self {
            Self::AtHand(bytes) => full(bytes),
            Self::Streaming { body, record } => {
                body.take().unwrap_or_else(|| match &*lock(record) {
                    Record::Whole(bytes) => full(bytes),
                    Record::Open { .. } | Record::Lost => full(&Bytes::new()),
                })
            }
        }
    }
}

/// Each step leaves a record that says what it holds, so a panic elsewhere does not spoil it.
fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that is written down as it passes.
pub(crate) struct Noted {
    body: Incoming,
    record: Arc<Mutex<Record>>,
}

impl Record {
    fn pass(&mut self, frame: Option<&Frame<Bytes>>, is_end: bool) {
        let Self::Open { passed, room } = self else { return };
        match frame.map(Frame::data_ref) {
            Some(Some(data)) if data.len() <= *room => {
                passed.extend_from_slice(data);
                *room -= data.len();
            }
            // Trailers are not sent twice, and no body is kept that is not small.
            Some(_) => *self = Self::Lost,
            None => {}
        }
        if let (true, Self::Open { passed, .. }) = (is_end, &mut *self) {
            *self = Self::Whole(std::mem::take(passed).into());
        }
    }
}

impl Body for Noted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let is_end = self.body.is_end_stream();
        match &frame {
            Some(Ok(frame)) => lock(&self.record).pass(Some(frame), is_end),
            Some(Err(_)) => *lock(&self.record) = Record::Lost,
            None => lock(&self.record).pass(None, true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
