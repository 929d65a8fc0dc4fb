//! Envoy's default access log, and Istio's, which has a few words more.

use super::Step;
use super::lines::{LineFormat, number, request_line, status, words};
use crate::moment::Moment;
use crate::observation::Observation;

#[derive(Debug)]
pub(crate) struct Envoy;

impl LineFormat for Envoy {
    fn read(&mut self, line: &[u8], seen: &mut Observation) -> Step {
        read(line, seen).unwrap_or(Step::Unreadable)
    }
}

fn read(line: &[u8], seen: &mut Observation) -> Option<Step> {
    let bracket = memchr::memchr(b'[', line)?;
    let mut words = words(&line[bracket..]);
    let sent = Moment::parse(words.next()?)?;
    let request = words.next()?;
    let code = words.next()?;
    // 0 where the client went away.
    seen.status = if code == b"0" { None } else { Some(status(code)?) };
    if !request_line(request, seen) {
        return Some(Step::Other);
    }
    let _flags = words.next()?;
    let mut next = words.next()?;
    if number(next).is_none() {
        // Istio: details, termination, and the reason of a failed transport.
        words.next()?;
        words.next()?;
        next = words.next()?;
    }
    let (_received, _sent, duration) = (number(next)?, words.next()?, number(words.next()?)?);
    let _upstream = words.next();
    let caller = words.next().unwrap_or_default();
    let first = caller.split(|byte| *byte == b',').next().unwrap_or_default();
    seen.caller.extend_from_slice(first);
    seen.elapsed = duration as i64;
    seen.done_at = sent.plus(seen.elapsed);
    Some(Step::Request)
}
