//! A body that is written down as it passes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A body that passes, and a record of it.
pub(crate) struct Noted {
    body: Incoming,
    record: Record,
}

/// What has passed of a body.
#[derive(Clone, Debug)]
pub(crate) struct Record(Arc<Mutex<Passed>>);

#[derive(Debug)]
enum Passed {
    /// So far, with room for so many more bytes.
    Some { bytes: Vec<u8>, room: usize },
    /// It has come to its end.
    All(Bytes),
    /// It is too large, or broke off.
    Lost,
}

impl Noted {
    /// Writes down up to `most` bytes.
    pub(crate) fn new(body: Incoming, most: usize) -> (Self, Record) {
        let record = Record::new(most);
        (Self { body, record: record.clone() }, record)
    }
}

impl Record {
    fn new(room: usize) -> Self {
        Self(Arc::new(Mutex::new(Passed::Some { bytes: Vec::new(), room })))
    }

    /// All of the body, once all of it has passed and none of it was lost.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        match &*self.passed() {
            Passed::All(bytes) => Some(bytes.clone()),
            Passed::Some { .. } | Passed::Lost => None,
        }
    }

    /// Each step leaves a record that says what it holds, so a panic elsewhere does not spoil it.
    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self) {
        *self.passed() = Passed::Lost;
    }

    fn pass(&self, frame: Option<&Frame<Bytes>>, is_end: bool) {
        let mut passed = self.passed();
        let Passed::Some { bytes, room } = &mut *passed else { return };
        match frame.map(Frame::data_ref) {
            Some(Some(data)) if data.len() <= *room => {
                bytes.extend_from_slice(data);
                *room -= data.len();
            }
            // Trailers are not sent twice, and no body is kept that is not small.
            Some(_) => *passed = Passed::Lost,
            None => {}
        }
        if let (true, Passed::Some { bytes, .. }) = (is_end, &mut *passed) {
            *passed = Passed::All(std::mem::take(bytes).into());
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
            Some(Ok(frame)) => self.record.pass(Some(frame), is_end),
            Some(Err(_)) => self.record.lose(),
            None => self.record.pass(None, true),
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

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    /// What passed, and whether that was the end.
    type Passing = (Option<Frame<Bytes>>, bool);

    #[test]
    fn what_passed_is_known_whole_or_not_at_all() {
        let data = |text: &'static str| Some(Frame::data(Bytes::from_static(text.as_bytes())));
        let trailers = || Some(Frame::trailers(HeaderMap::new()));
        #[rustfmt::skip]
        let cases: [(&[Passing], Option<&str>); 7] = [
            (&[],                                                     None),
            (&[(None, true)],                                         Some("")),
            (&[(data("ab"), false)],                                  None),
            (&[(data("ab"), false), (data("cd"), true)],              Some("abcd")),
            (&[(data("ab"), false), (data("cd"), false), (None, true)], Some("abcd")),
            (&[(data("ab"), false), (data("cde"), true)],             None),
            (&[(data("ab"), false), (trailers(), true)],              None),
        ];
        for (frames, expected) in cases {
            let record = Record::new(4);
            for (frame, is_end) in frames {
                record.pass(frame.as_ref(), *is_end);
            }
            assert_eq!(record.whole().as_deref(), expected.map(str::as_bytes), "{frames:?}");
        }
        let record = Record::new(4);
        record.lose();
        record.pass(None, true);
        assert_eq!(record.whole(), None, "it broke off");
    }
}
