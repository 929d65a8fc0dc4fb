//! Tells HTTP/2 callers from floods by what their frames ask for (RFC 9113 §10.5).
//!
//! A ping, a setting, a reset or an empty frame costs work and asks for nothing. Each takes from a
//! credit that requests, bodies, answers and time fill again, so that ordinary callers never see its
//! end and who sends nothing else is soon cut off. Only frame heads are looked at.

const PREFACE: u32 = 24;
const HEAD: usize = 9;

/// What a connection begins with, and has at most.
const CREDIT: i32 = 2000;
/// Comes back in each round of a few seconds.
const EACH_ROUND: i32 = 500;
/// A request may be cancelled as often as another is not.
const REQUEST: i32 = 4;
const RESET: i32 = -8;
/// Answers of so many bytes pay for one window update.
const ANSWER_BYTES: usize = 2048;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
}

/// What one connection may still send.
#[derive(Debug)]
pub(crate) struct Meter {
    credit: i32,
    round: u32,
    /// Bytes that are none of the next frame's head: the preface, or a payload.
    skip: u32,
    head: [u8; HEAD],
    filled: usize,
    unpaid: usize,
}

impl Meter {
    /// For a connection that is about to send its preface. Rounds are counted by the listener.
    pub(crate) fn new(round: u32) -> Self {
        Self { credit: CREDIT, round, skip: PREFACE, head: [0; HEAD], filled: 0, unpaid: 0 }
    }

    /// Whether the caller may go on after these bytes.
    pub(crate) fn read(&mut self, mut bytes: &[u8], round: u32) -> bool {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            // No more than `skip`, so it fits.
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD - self.filled);
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD {
                self.filled = 0;
                self.frame();
            }
        }
        if self.credit < 0 && round != self.round {
            let rounds = i32::try_from(round.wrapping_sub(self.round)).unwrap_or(i32::MAX);
            self.round = round;
            self.earn(rounds.saturating_mul(EACH_ROUND));
        }
        self.credit >= 0
    }

    /// Answers were sent.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.unpaid += bytes;
        self.earn(i32::try_from(self.unpaid / ANSWER_BYTES).unwrap_or(CREDIT));
        self.unpaid %= ANSWER_BYTES;
    }

    fn frame(&mut self) {
        let [a, b, c, kind, ..] = self.head;
        self.skip = u32::from_be_bytes([0, a, b, c]);
        self.earn(match kind {
            kind::HEADERS => REQUEST,
            kind::DATA if self.skip > 0 => 1,
            kind::RST_STREAM => RESET,
            _ => -1,
        });
    }

    fn earn(&mut self, credit: i32) {
        self.credit = self.credit.saturating_add(credit).min(CREDIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 1];
        bytes.resize(HEAD + length, 0xff);
        bytes
    }

    /// Frames until it is cut off, of at most 100,000 of these in turn.
    fn lasts(pattern: &[Vec<u8>], written: usize) -> Option<usize> {
        let mut meter = Meter::new(7);
        assert!(meter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 7));
        (0..100_000).find(|turn| {
            meter.wrote(written);
            !meter.read(&pattern[turn % pattern.len()], 7)
        })
    }

    #[test]
    fn floods_end_and_callers_go_on() {
        const PING: u8 = 6;
        const SETTINGS: u8 = 4;
        const WINDOW_UPDATE: u8 = 8;
        let (request, reset) = (frame(kind::HEADERS, 40), frame(kind::RST_STREAM, 4));
        #[rustfmt::skip]
        let cases = [
            ("requests",                   vec![request.clone()],                        0,      None),
            ("a request, cancelled",       vec![request.clone(), reset.clone()],         0,      Some(997)),
            ("every other one cancelled",  vec![request.clone(), request.clone(), reset.clone()], 0, None),
            ("resets",                     vec![reset],                                  0,      Some(250)),
            ("pings",                      vec![frame(PING, 8)],                         17,     Some(2016)),
            ("settings",                   vec![frame(SETTINGS, 6)],                     9,      Some(2008)),
            ("empty data",                 vec![frame(kind::DATA, 0)],                   0,      Some(2000)),
            ("an upload",                  vec![frame(kind::DATA, 16_384)],              0,      None),
            ("a download",                 vec![frame(WINDOW_UPDATE, 4)],                4096,   None),
        ];
        for (title, pattern, written, expected) in cases {
            let lasted = lasts(&pattern, written);
            match expected {
                None => assert_eq!(lasted, None, "{title}"),
                Some(about) => {
                    let lasted = lasted.unwrap_or(usize::MAX);
                    assert!(lasted.abs_diff(about) < 20, "{title}: after {lasted}");
                }
            }
        }
    }

    #[test]
    fn time_brings_credit_back_and_frames_may_come_in_pieces() {
        let ping: Vec<u8> = frame(6, 8);
        let mut meter = Meter::new(0);
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
            assert!(meter.read(&[*byte], 0));
        }
        for round in 0..100 {
            for _ in 0..EACH_ROUND {
                for piece in ping.chunks(5) {
                    assert!(meter.read(piece, round), "round {round}");
                }
            }
        }
    }
}
