//! A window on a stream that may be endless: lines, with a look ahead.

use std::io::{self, Read};

use memchr::memchr;

/// A longer line is no log line; it is passed over.
pub(crate) const LONGEST_LINE: usize = 1 << 20;
/// Read this much at a time.
const CHUNK: usize = 1 << 17;

/// What is in view of the stream.
pub(crate) struct Window<'a> {
    input: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    /// The stream ended in the middle of its compression or its file.
    damage: Option<io::Error>,
    passed: u64,
}

impl std::fmt::Debug for Window<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Window").field("passed", &self.passed).finish_non_exhaustive()
    }
}

impl<'a> Window<'a> {
    /// At the beginning of `input`.
    pub(crate) fn new(input: Box<dyn Read + 'a>) -> Self {
        let buffer = vec![0; 2 * CHUNK];
        Self { input, buffer, start: 0, end: 0, ended: false, damage: None, passed: 0 }
    }

    /// All that is in view.
    pub(crate) fn view(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Is everything that will come in view?
    pub(crate) fn is_last(&self) -> bool {
        self.ended
    }

    /// What ended the stream before its end, told once.
    pub(crate) fn take_damage(&mut self) -> Option<io::Error> {
        self.damage.take()
    }

    /// Goes on by `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count.min(self.end - self.start);
        self.passed += count as u64;
    }

    /// Brings more into view; false where there is no more.
    ///
    /// A stream that breaks after something was read has ended: what is there is worth reading.
    pub(crate) fn widen(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.start > 0 && (self.end == self.buffer.len() || self.start == self.end) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let stop = self.buffer.len().min(self.end + CHUNK);
        loop {
            match self.input.read(&mut self.buffer[self.end..stop]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if self.passed == 0 && self.end == 0 => return Err(error),
                Err(error) => {
                    self.ended = true;
                    self.damage = Some(error);
                }
            }
            return Ok(!self.ended);
        }
    }

    /// Length of the line that begins `from` bytes on, with its line end; `None` at the end.
    ///
    /// Looks no further than [`LONGEST_LINE`] and takes what it saw by then for a line.
    pub(crate) fn line_at(&mut self, from: usize) -> io::Result<Option<usize>> {
        let mut looked = from;
        loop {
            let view = self.view();
            if let Some(end) = memchr(b'\n', view.get(looked..).unwrap_or_default()) {
                return Ok(Some(looked + end + 1 - from));
            }
            looked = view.len().max(from);
            if looked - from >= LONGEST_LINE || !self.widen()? {
                return Ok((looked > from).then_some(looked - from));
            }
        }
    }

    /// The line in view of this length, without its line end.
    pub(crate) fn line(&self, from: usize, length: usize) -> &[u8] {
        let line = &self.view()[from..from + length];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn lines_come_whole_however_the_stream_is_cut() {
        struct OneByOne(Vec<u8>, usize);
        impl std::io::Read for OneByOne {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let Some(byte) = self.0.get(self.1) else { return Ok(0) };
                buffer[0] = *byte;
                self.1 += 1;
                Ok(1)
            }
        }
        let mut window = Window::new(Box::new(OneByOne(b"a\r\n\nbc\nrest".to_vec(), 0)));
        let mut lines = Vec::new();
        while let Some(length) = window.line_at(0).expect("it reads") {
            lines.push(window.line(0, length).to_vec());
            window.consume(length);
        }
        assert_eq!(lines, [&b"a"[..], b"", b"bc", b"rest"]);
    }
}
