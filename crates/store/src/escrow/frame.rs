//! A record as it lies in a file, and how records are found again whatever happened to the file.
//!
//! ```text
//! mark (7) │ version (1) │ generation (8) │ length (4) │ check of these (4) │ sealed │ check (16)
//! ```
//!
//! Numbers are big-endian; checks are prefixes of SHA-256, the second over all before it. A later
//! version keeps the first 24 bytes as they are. A reader that meets anything else goes on one
//! byte further, so that neither a torn write nor overwritten bytes hide an intact record.

use std::io::{self, ErrorKind, Read};

use ring::digest::{Context, SHA256};

use crate::seal::Sealed;
use crate::store::Row;

/// No text, and changed by whoever translates line ends.
const MARK: [u8; 7] = *b"\x89BwEsc\n";
const VERSION: u8 = 1;
const HEAD: usize = 24;
const CHECK: usize = 16;
/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// The bytes of `record`.
pub(crate) fn encode(record: &Row) -> Vec<u8> {
    let sealed = record.sealed.as_bytes();
    let mut frame = Vec::with_capacity(HEAD + sealed.len() + CHECK);
    frame.extend_from_slice(&MARK);
    frame.push(VERSION);
    frame.extend_from_slice(&record.generation.to_be_bytes());
    // `Row::check` keeps it far below.
    frame.extend_from_slice(&(sealed.len() as u32).to_be_bytes());
    frame.extend_from_slice(&check::<4>(&frame));
    frame.extend_from_slice(sealed);
    frame.extend_from_slice(&check::<CHECK>(&frame));
    frame
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An intact record.
    Record(Row),
    /// A record that a later release wrote.
    Later {
        /// Its version.
        version: u8,
    },
}

/// Finds the records in `source`, in order; holds little more than one of them at a time.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    source: R,
    bytes: Vec<u8>,
    /// What lies before was looked at.
    start: usize,
    ended: bool,
}

impl<R: Read> Frames<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, bytes: Vec::new(), start: 0, ended: false }
    }

    fn next_found(&mut self) -> io::Result<Option<Found>> {
        while self.has(HEAD)? {
            match self.look() {
                Seen::Nothing { until } => self.start = until,
                Seen::Later { version } => {
                    self.start += HEAD;
                    return Ok(Some(Found::Later { version }));
                }
                Seen::Head { generation, length } => {
                    let whole = HEAD + length + CHECK;
                    if let Some(sealed) = self.whole(whole)? {
                        self.start += whole;
                        return Ok(Some(Found::Record(Row { generation, sealed })));
                    }
                    self.start += 1;
                }
            }
        }
        Ok(None)
    }

    /// Looks at what begins at `start`, where there is room for a head.
    fn look(&self) -> Seen {
        let left = &self.bytes[self.start..];
        if !left.starts_with(&MARK) {
            let next = left[1..].windows(MARK.len()).position(|part| part == MARK);
            // What is too short for a mark may be the beginning of one.
            let skip = next.map_or(left.len() - (MARK.len() - 1), |next| next + 1);
            return Seen::Nothing { until: self.start + skip };
        }
        let nothing = Seen::Nothing { until: self.start + 1 };
        if check::<4>(&left[..HEAD - 4]) != left[HEAD - 4..HEAD] {
            return nothing;
        }
        let version = left[MARK.len()];
        if version != VERSION {
            return Seen::Later { version };
        }
        let generation = u64::from_be_bytes(array(&left[8..16]));
        let length = u32::from_be_bytes(array(&left[16..20])) as usize;
        if length > Row::SIZE_LIMIT {
            return nothing;
        }
        Seen::Head { generation, length }
    }

    /// The sealed part of the frame of `whole` bytes, if that is there and intact.
    fn whole(&mut self, whole: usize) -> io::Result<Option<Sealed>> {
        if !self.has(whole)? {
            return Ok(None);
        }
        let (content, checked) = self.bytes[self.start..self.start + whole].split_at(whole - CHECK);
        let intact = check::<CHECK>(content) == checked;
        Ok(intact.then(|| Sealed::from_bytes(&content[HEAD..])))
    }

    /// Whether there are `count` bytes from `start`; reads them if need be.
    fn has(&mut self, count: usize) -> io::Result<bool> {
        while self.bytes.len() - self.start < count && !self.ended {
            self.bytes.drain(..self.start);
            self.start = 0;
            let held = self.bytes.len();
            self.bytes.resize(held + CHUNK, 0);
            match self.source.read(&mut self.bytes[held..]) {
                Ok(read) => {
                    self.bytes.truncate(held + read);
                    self.ended = read == 0;
                }
                Err(error) => {
                    self.bytes.truncate(held);
                    if error.kind() != ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(self.bytes.len() - self.start >= count)
    }
}

impl<R: Read> Iterator for Frames<R> {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_found().transpose()
    }
}

/// What begins at a place.
enum Seen {
    /// No frame before `until`.
    Nothing { until: usize },
    /// A frame of a later version.
    Later { version: u8 },
    /// A head; its frame may still be torn.
    Head { generation: u64, length: usize },
}

fn check<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    array(&context.finish().as_ref()[..N])
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(generation: u64, sealed: &[u8]) -> Row {
        Row { generation, sealed: Sealed::from_bytes(sealed) }
    }

    fn found(bytes: &[u8]) -> Vec<Row> {
        let record = |found| match found {
            Found::Record(record) => record,
            Found::Later { version } => panic!("nobody wrote version {version}"),
        };
        Frames::new(bytes).map(|found| record(found.unwrap())).collect()
    }

    fn three() -> ([Row; 3], [Vec<u8>; 3]) {
        let records = [record(1, b"first"), record(u64::MAX, b""), record(3, &[0x89; 300])];
        let frames = records.each_ref().map(encode);
        (records, frames)
    }

    #[test]
    fn records_are_found_in_order() {
        let (records, frames) = three();
        assert_eq!(found(&frames.concat()), records);
        assert_eq!(found(b""), []);
        let large = record(7, &vec![0x89; Row::SIZE_LIMIT]);
        assert!(found(&[encode(&large), frames.concat()].concat()).starts_with(&[large]));
    }

    #[test]
    fn a_tail_torn_anywhere_hides_nothing() {
        let (records, frames) = three();
        let whole = frames.concat();
        for end in 0..=whole.len() {
            let complete = [frames[0].len(), frames[1].len(), frames[2].len()];
            let kept = (1..=3).rev().find(|count| complete[..*count].iter().sum::<usize>() <= end);
            let kept = kept.unwrap_or(0);
            assert_eq!(found(&whole[..end]), records[..kept], "cut at {end}");

            let again = [&whole[..end], &whole].concat();
            let expected = [&records[..kept], &records].concat();
            assert_eq!(found(&again), expected, "cut at {end} and appended to");
        }
    }

    #[test]
    fn damage_anywhere_hides_no_other_record() {
        let (records, frames) = three();
        let whole = frames.concat();
        let middle = frames[0].len()..frames[0].len() + frames[1].len();
        for place in middle.clone() {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[place] ^= change;
                let found = Frames::new(&*damaged).filter_map(|found| match found.unwrap() {
                    Found::Record(record) => Some(record),
                    Found::Later { .. } => None,
                });
                let expected = [records[0].clone(), records[2].clone()];
                assert_eq!(found.collect::<Vec<_>>(), expected, "at {place}");
            }
        }
        let garbage: [&[u8]; 6] = [
            b"",
            &[0; 5000],
            b"\x89Bw",
            &MARK,
            &frames[0][..HEAD],
            &[&frames[0][..HEAD], &[0xff; 70_000]].concat(),
        ];
        for between in garbage {
            let bytes = frames.join(between);
            assert_eq!(found(&bytes), records, "{} bytes between", between.len());
        }
    }

    #[test]
    fn a_later_release_is_recognised_and_an_impossible_length_is_not_believed() {
        let head = |version: u8, length: u32| {
            let mut head = [&MARK[..], &[version], &1u64.to_be_bytes()].concat();
            head.extend_from_slice(&length.to_be_bytes());
            head.extend_from_slice(&check::<4>(&head));
            head
        };
        let later = [head(2, 3), b"unknown".to_vec(), encode(&record(1, b"x"))].concat();
        let both: Vec<_> = Frames::new(&*later).map(Result::unwrap).collect();
        assert_eq!(both, [Found::Later { version: 2 }, Found::Record(record(1, b"x"))]);

        let endless = [head(1, u32::MAX), encode(&record(1, b"x"))].concat();
        assert_eq!(found(&endless), [record(1, b"x")]);
    }

    /// Gives what it has in pieces of one size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn it_does_not_matter_how_a_file_is_read() {
        let (records, frames) = three();
        let bytes = frames.join(&b"\x89BwEsc\x89BwEs"[..]);
        for size in [1, 2, 3, 7, 23, 24, 25, 1000] {
            let frames = Frames::new(Pieces(&bytes, size)).map(Result::unwrap);
            let expected = records.clone().map(Found::Record);
            assert_eq!(frames.collect::<Vec<_>>(), expected, "{size} bytes at once");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_hide_a_record(
            before in garbage(), between in garbage(), after in garbage(),
        ) {
            let (records, frames) = three();
            let bytes = [&*before, &frames[0], &between, &frames[2], &after].concat();
            let found: Vec<_> = Frames::new(&*bytes).map(Result::unwrap).collect();
            for record in [&records[0], &records[2]] {
                prop_assert!(found.contains(&Found::Record(record.clone())));
            }
        }
    }

    /// Bytes, often ones that look like the beginning of a frame.
    fn garbage() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            (0..MARK.len()).prop_map(|end| MARK[..end].to_vec()),
            (any::<u64>(), 0usize..60).prop_map(|(generation, end)| {
                encode(&record(generation, b"sealed bytes of some length"))[..end].to_vec()
            }),
        ];
        proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }
}
