//! What passes between a caller and the API, frame by frame.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::guard::Guard;
use super::leaving::Leaving;
use super::noted::Noted;
use super::pool::Line;
use crate::message::{BodyError, hop};

/// A request's body.
pub(crate) enum RequestBody {
    /// All of it.
    AtHand(Full<Bytes>),
    /// As it comes from the caller.
    Passing(Passing),
}

/// A body on its way from a caller to the API.
pub(crate) struct Passing {
    from: From,
    guard: Option<Arc<Guard>>,
}

enum From {
    Caller(Incoming),
    Noted(Noted),
}

impl RequestBody {
    pub(crate) fn at_hand(bytes: Bytes) -> Self {
        Self::AtHand(Full::new(bytes))
    }

    pub(crate) fn passing(body: Incoming) -> Self {
        Self::Passing(Passing { from: From::Caller(body), guard: None })
    }

    /// The same, with a note of what passed.
    pub(crate) fn noted(body: Noted) -> Self {
        Self::Passing(Passing { from: From::Noted(body), guard: None })
    }

    /// Each piece that passes is a sign of life.
    pub(super) fn tell(&mut self, guard: &Arc<Guard>) {
        if let Self::Passing(passing) = self {
            passing.guard = Some(Arc::clone(guard));
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::AtHand(body) => {
                Pin::new(body).poll_frame(context).map_err(|never| match never {})
            }
            Self::Passing(passing) => {
                let frame = match &mut passing.from {
                    From::Caller(body) => ready!(Pin::new(body).poll_frame(context)),
                    From::Noted(body) => ready!(Pin::new(body).poll_frame(context)),
                };
                if let Some(guard) = &passing.guard {
                    guard.alive();
                }
                let clean = |frame: Result<_, _>| frame.map(hop::clean_trailers);
                Poll::Ready(frame.map(|frame| clean(frame).map_err(BodyError::new)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::AtHand(body) => body.is_end_stream(),
            Self::Passing(Passing { from: From::Caller(body), .. }) => body.is_end_stream(),
            Self::Passing(Passing { from: From::Noted(body), .. }) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::AtHand(body) => body.size_hint(),
            Self::Passing(Passing { from: From::Caller(body), .. }) => body.size_hint(),
            Self::Passing(Passing { from: From::Noted(body), .. }) => body.size_hint(),
        }
    }
}

/// The body of the API's answer. At its end the connection it came over is free for the next.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    incoming: Incoming,
    held: Held,
    /// From the first piece that another follows.
    leaving: Option<Leaving>,
}

/// What is held while a body streams.
#[derive(Debug)]
pub(super) enum Held {
    /// A connection of its own.
    Line(Box<Line>),
    /// A place on a shared one.
    Guard(Arc<Guard>),
    Nothing,
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, held: Held) -> Self {
        let mut body = Self { incoming, held, leaving: None };
        body.let_go_at_the_end();
        body
    }

    /// Nothing waits for the last piece to leave.
    fn leave(&mut self, piece: Bytes) -> Bytes {
        if self.incoming.is_end_stream() {
            return piece;
        }
        let leaving = self.leaving.get_or_insert_with(|| {
            let leaving = Leaving::default();
            if let Held::Line(line) = &self.held {
                line.heard.wait_for(&leaving);
            }
            leaving
        });
        leaving.leave(piece)
    }

    fn let_go_at_the_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Line(line) => line.keep(),
            Held::Guard(_) | Held::Nothing => {}
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        // A shared connection goes on when one request over it is late.
        if let Held::Guard(guard) = &this.held
            && guard.poll_late(context).is_ready()
        {
            return Poll::Ready(Some(Err(BodyError::new("the rest of the answer is late"))));
        }
        if let Some(leaving) = &this.leaving {
            ready!(leaving.poll_body(context));
        }
        let frame = ready!(Pin::new(&mut this.incoming).poll_frame(context));
        match &frame {
            Some(Ok(_)) => {
                match &this.held {
                    Held::Line(line) => line.guard.alive(),
                    Held::Guard(guard) => guard.alive(),
                    Held::Nothing => {}
                }
                this.let_go_at_the_end();
            }
            Some(Err(_)) => this.held = Held::Nothing,
            None => this.let_go(),
        }
        let frame = frame.map(|frame| frame.map(|frame| frame.map_data(|piece| this.leave(piece))));
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
