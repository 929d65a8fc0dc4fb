//! A request body that can be sent once more if the first token is refused.
//!
//! A body whose length is known is small and at hand, or large and streamed. One whose length is not
//! known streams on at once and is written down on the way, for as long as it is small.

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;

use crate::message::{BodyError, NotWhole, whole};
use crate::upstream::{Noted, Record, RequestBody};

/// A request body, kept for a replay where it is small.
pub(crate) enum Kept {
    /// The whole of it.
    AtHand(Bytes),
    /// Taken by the first attempt; a record of it where it may turn out to be small.
    Streaming { body: Option<RequestBody>, record: Option<Record> },
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
        match body.size_hint().exact() {
            Some(length) if length <= most as u64 => match whole(body, most).await {
                Ok(bytes) => Ok(Self::AtHand(bytes)),
                Err(NotWhole::TooLong) => Err(BodyError::new("longer than it said")),
                Err(NotWhole::Broken(error)) => Err(BodyError::new(error)),
            },
            Some(_) => Ok(Self::Streaming { body: Some(RequestBody::passing(body)), record: None }),
            None => {
                let (noted, record) = Noted::new(body, most);
                let body = Some(RequestBody::noted(noted));
                Ok(Self::Streaming { body, record: Some(record) })
            }
        }
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
                body.is_some() || record.as_ref().is_some_and(|record| record.whole().is_some())
            }
        }
    }

    /// The body to send now.
    pub(crate) fn take(&mut self) -> RequestBody {
        match self {
            Self::AtHand(bytes) => RequestBody::at_hand(bytes.clone()),
            Self::Streaming { body, record } => body.take().unwrap_or_else(|| {
                let whole = record.as_ref().and_then(Record::whole);
                RequestBody::at_hand(whole.unwrap_or_default())
            }),
        }
    }
}
