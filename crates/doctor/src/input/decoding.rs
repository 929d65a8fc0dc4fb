//! Compression and character encodings, told by the first bytes.
//!
//! What is not UTF-16 is handed on as it is: every format here is ASCII where it matters, so a
//! Latin-1 name in a label does no harm.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A log's text.
pub(crate) type Decoded<'a> = Box<dyn Read + 'a>;

/// The text in `input`, whatever it was packed in.
pub(crate) fn decoded<'a>(mut input: impl BufRead + 'a) -> io::Result<Decoded<'a>> {
    let first = input.fill_buf()?;
    if first.starts_with(GZIP) {
        return plain(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(input)));
    }
    if first.starts_with(ZSTD) {
        let decoder = zstd::stream::read::Decoder::with_buffer(input)?;
        return plain(BufReader::with_capacity(1 << 16, decoder));
    }
    plain(input)
}

fn plain<'a>(mut input: impl BufRead + 'a) -> io::Result<Decoded<'a>> {
    let order = match input.fill_buf()? {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        [0xef, 0xbb, 0xbf, ..] => {
            input.consume(3);
            return Ok(Box::new(input));
        }
        // UTF-16 without its mark: every other byte of ASCII is zero.
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => {
            return Ok(Box::new(Utf16::new(input, u16::from_le_bytes)));
        }
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => {
            return Ok(Box::new(Utf16::new(input, u16::from_be_bytes)));
        }
        _ => return Ok(Box::new(input)),
    };
    input.consume(2);
    Ok(Box::new(Utf16::new(input, order)))
}

/// UTF-16 as UTF-8.
struct Utf16<R> {
    input: R,
    order: fn([u8; 2]) -> u16,
    /// A high surrogate whose other half is to come.
    high: Option<u16>,
    ready: Vec<u8>,
    given: usize,
}

impl<R: BufRead> Utf16<R> {
    fn new(input: R, order: fn([u8; 2]) -> u16) -> Self {
        Self { input, order, high: None, ready: Vec::new(), given: 0 }
    }

    /// Makes more text ready; false at the end.
    fn decode_more(&mut self) -> io::Result<bool> {
        self.ready.clear();
        self.given = 0;
        let mut raw = [0; 8192];
        let mut length = 0;
        // An odd byte waits for its other half.
        while length == 0 || length % 2 == 1 {
            let count = self.input.read(&mut raw[length..])?;
            if count == 0 {
                break;
            }
            length += count;
        }
        let order = self.order;
        let units = raw[..length].chunks_exact(2).map(|pair| order([pair[0], pair[1]]));
        for decoded in char::decode_utf16(self.high.take().into_iter().chain(units)) {
            match decoded {
                Ok(c) => self.ready.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(lone) => self.high = Some(lone.unpaired_surrogate()),
            }
        }
        Ok(length > 0)
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() {
            if !self.decode_more()? {
                return Ok(0);
            }
        }
        let rest = &self.ready[self.given..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}
