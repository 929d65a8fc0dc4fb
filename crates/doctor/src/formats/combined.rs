//! nginx and Apache, `combined`: address, user, time, request, status, and perhaps more.

use super::Step;
use super::lines::{LineFormat, number, request_line, status, words};
use crate::moment::Moment;
use crate::observation::Observation;

#[derive(Debug)]
pub(crate) struct Combined;

impl LineFormat for Combined {
    fn read(&mut self, line: &[u8], seen: &mut Observation) -> Step {
        read(line, seen).unwrap_or(Step::Unreadable)
    }
}

fn read(line: &[u8], seen: &mut Observation) -> Option<Step> {
    // What comes before the time may have a prefix of another program's.
    let bracket = memchr::memchr(b'[', line)?;
    let before = line[..bracket].trim_ascii_end();
    let mut last_first = before.rsplit(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (user, _ident, address) = (last_first.next()?, last_first.next()?, last_first.next()?);
    let mut words = words(&line[bracket..]);
    seen.done_at = Moment::parse(words.next()?)?;
    let request = words.next()?;
    seen.status = Some(status(words.next()?)?);
    if !request_line(request, seen) {
        // A request that was none, as scanners send.
        return Some(Step::Other);
    }
    seen.caller.extend_from_slice(address);
    if user == b"null" {
        // The user of client authentication as null:null.
        seen.request.extend_from_slice(b"null:null");
    }
    let further = words.skip(3).find_map(|word| {
        let word = word.rsplit(|byte| *byte == b'=').next().unwrap_or(word);
        word.contains(&b'.').then(|| number(word)).flatten()
    });
    if let Some(seconds) = further {
        seen.elapsed = (seconds * 1000.0) as i64;
    }
    Some(Step::Request)
}
