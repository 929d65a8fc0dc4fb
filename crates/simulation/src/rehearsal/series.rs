//! What happened when: a row of equal spans, and the second of the minute.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use super::{START, wall};
use crate::organisation::Organisation;

/// Spans in a picture, at most.
const SPANS: u128 = 240;

/// What happened in one span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Token requests that reached the authorization server.
    pub token_requests: u64,
    /// Live access tokens at the span's end.
    pub live_tokens: u64,
    /// 401 that workers saw.
    pub status_401: u64,
    /// 429 that workers saw.
    pub status_429: u64,
    /// Slots that closed without a sample.
    pub gaps: u64,
    /// Slots that were sampled.
    pub sampled: u64,
}

/// Everything that is counted over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// How long a span is.
    pub every: Duration,
    /// The spans in order; the first begins with the rehearsal.
    pub spans: Vec<Span>,
    /// Token requests by the second of the wall clock's minute.
    pub token_requests_by_second: [u64; 60],
    /// 401 and 429 that workers saw, by the second of the wall clock's minute.
    pub refusals_by_second: [u64; 60],
    current: usize,
    current_ends: Timestamp,
}

impl Series {
    /// For a rehearsal that is over after `length`, give or take.
    pub(super) fn over(length: Duration) -> Self {
        let every = span_for(length);
        Self {
            every,
            spans: vec![Span::default()],
            token_requests_by_second: [0; 60],
            refusals_by_second: [0; 60],
            current: 0,
            current_ends: START + every,
        }
    }

    /// Moves to the span of `now`; time only goes forward.
    #[inline]
    pub(super) fn advance(&mut self, now: Timestamp, organisation: &Organisation) {
        if now >= self.current_ends {
            self.turn(now, organisation);
        }
    }

    #[cold]
    fn turn(&mut self, now: Timestamp, organisation: &Organisation) {
        while now >= self.current_ends {
            self.spans[self.current].live_tokens = organisation.live_tokens(self.current_ends);
            self.current += 1;
            self.current_ends += self.every;
            if self.spans.len() <= self.current {
                self.spans.push(Span::default());
            }
        }
    }

    pub(super) fn end(&mut self, now: Timestamp, organisation: &Organisation) {
        self.advance(now, organisation);
        self.spans[self.current].live_tokens = organisation.live_tokens(now);
        // A slot that nobody came round to may have closed later than the last event.
        while self.spans.len() > self.current + 1 && self.spans.last() == Some(&Span::default()) {
            self.spans.pop();
        }
    }

    #[inline]
    pub(super) fn now(&mut self) -> &mut Span {
        &mut self.spans[self.current]
    }

    /// Notes a slot that closed then, which may be a while ago.
    pub(super) fn note_gap(&mut self, closed: Timestamp) {
        let index = START.until(closed).as_nanos() / self.every.as_nanos();
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if self.spans.len() <= index {
            self.spans.resize(index + 1, Span::default());
        }
        self.spans[index].gaps += 1;
    }

    pub(super) fn note_token_request(&mut self, now: Timestamp) {
        self.now().token_requests += 1;
        self.token_requests_by_second[second(now)] += 1;
    }

    pub(super) fn note_401(&mut self, now: Timestamp) {
        self.now().status_401 += 1;
        self.refusals_by_second[second(now)] += 1;
    }

    pub(super) fn note_429(&mut self, now: Timestamp) {
        self.now().status_429 += 1;
        self.refusals_by_second[second(now)] += 1;
    }
}

fn second(now: Timestamp) -> usize {
    usize::try_from(wall(now).as_secs() % 60).unwrap_or(0)
}

/// The shortest round span of which so many as a picture can show cover `length`.
pub fn span_for(length: Duration) -> Duration {
    const ROUND: [u64; 13] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 86_400];
    let fits = |seconds: &u64| length.as_nanos() <= SPANS * u128::from(*seconds) * 1_000_000_000;
    Duration::from_secs(ROUND.into_iter().find(fits).unwrap_or(604_800))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_enough_spans_and_not_too_many() {
        #[rustfmt::skip]
        let cases = [(30, 1), (240, 1), (241, 2), (900, 5), (3_600, 15), (86_400, 600)];
        for (length, every) in cases {
            assert_eq!(span_for(Duration::from_secs(length)).as_secs(), every, "{length} s");
        }
    }
}
