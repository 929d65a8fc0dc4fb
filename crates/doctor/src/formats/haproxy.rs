//! HAProxy's `httplog`, with or without what syslog puts before it.

use super::Step;
use super::lines::{LineFormat, number, request_line, status};
use crate::moment::Moment;
use crate::observation::Observation;

#[derive(Debug)]
pub(crate) struct HaProxy;

impl LineFormat for HaProxy {
    fn read(&mut self, line: &[u8], seen: &mut Observation) -> Step {
        read(line, seen).unwrap_or(Step::Unreadable)
    }
}

fn read(line: &[u8], seen: &mut Observation) -> Option<Step> {
    let date = memchr::memmem::find(line, b" [")? + 2;
    // `haproxy[14389]: 10.0.1.2:33317 [06/Feb/…`
    let caller = line[..date - 2].rsplit(|byte| *byte == b' ').next()?;
    let end = date + memchr::memchr(b']', &line[date..])?;
    let sent = Moment::parse(&line[date..end])?;
    let rest = &line[end + 1..];
    let mut words = rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (_frontend, _backend, timers, code) =
        (words.next()?, words.next()?, words.next()?, words.next()?);
    if timers.iter().filter(|byte| **byte == b'/').count() != 4 {
        return None;
    }
    seen.status = if code == b"-1" { None } else { Some(status(code)?) };
    let total = timers.rsplit(|byte| *byte == b'/').next()?;
    seen.elapsed = number(total.strip_prefix(b"+").unwrap_or(total))?.max(0.0) as i64;
    seen.done_at = sent.plus(seen.elapsed);
    let port = memchr::memrchr(b':', caller).unwrap_or(caller.len());
    seen.caller.extend_from_slice(&caller[..port]);
    let quote = memchr::memchr(b'"', rest)?;
    let request = &rest[quote + 1..];
    let request = &request[..memchr::memrchr(b'"', request).unwrap_or(request.len())];
    Some(if request_line(request, seen) { Step::Request } else { Step::Other })
}
