//! JMeter's results as XML: a sample is an element, and its bodies are elements within.
//!
//! Only as much of XML as JMeter writes, and with long texts clipped: an answer of megabytes may
//! stand in a sample. A file of a test that was killed has no end, which does no harm.

use std::io;

use memchr::{memchr, memchr_iter};

use super::{Reader, Step};
use crate::input::Window;
use crate::moment::Moment;
use crate::observation::{EXCERPT, Identity, Observation, excerpt};

const LONGEST_TAG: usize = 1 << 16;

#[derive(Debug, Default)]
pub(crate) struct JtlXml {
    line: u64,
    /// Samples that are open, outermost first.
    open: Vec<Sample>,
    /// Names of the open elements within the innermost sample.
    within: Vec<Vec<u8>>,
    text: Vec<u8>,
    begun: bool,
}

#[derive(Debug, Default)]
struct Sample {
    is_http: bool,
    has_samples: bool,
    seen: Observation,
    is_readable: bool,
    is_sum: bool,
}

/// Is this a line of such a file?
pub(crate) fn is_jtl_xml(line: &[u8]) -> bool {
    let starts: [&[u8]; 4] = [b"<testResults", b"<httpSample", b"<sample ", b"<?xml"];
    let line = line.trim_ascii_start();
    starts.iter().any(|start| line.starts_with(start))
}

impl Reader for JtlXml {
    fn step(&mut self, window: &mut Window<'_>, seen: &mut Observation) -> io::Result<Step> {
        loop {
            // Text up to the next tag.
            let Some(tag) = memchr(b'<', window.view()) else {
                let all = window.view().len();
                self.take_text(window, all);
                if window.widen()? {
                    continue;
                }
                let cut_off = !std::mem::take(&mut self.open).is_empty();
                return Ok(if cut_off { Step::Unreadable } else { Step::End });
            };
            self.take_text(window, tag);
            if self.open.is_empty() && !std::mem::take(&mut self.text).trim_ascii().is_empty() {
                return Ok(Step::Unreadable);
            }
            let Some(end) = end_of_tag(window)? else {
                let rest = window.view().len().min(1);
                self.pass(window, rest);
                continue;
            };
            let element = window.view()[1..end].to_vec();
            self.pass(window, end + 1);
            if let Some(step) = self.tag(&element, seen) {
                return Ok(step);
            }
        }
    }

    fn lines(&self) -> u64 {
        self.line
    }
}

/// Where the tag in view ends; `None` where it does not.
fn end_of_tag(window: &mut Window<'_>) -> io::Result<Option<usize>> {
    let (mut at, mut quote) = (1, None);
    loop {
        while let Some(byte) = window.view().get(at).copied() {
            match (quote, byte) {
                (None, b'>') => return Ok(Some(at)),
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), byte) if open == byte => quote = None,
                (None | Some(_), _) => {}
            }
            at += 1;
        }
        if at > LONGEST_TAG || !window.widen()? {
            return Ok(None);
        }
    }
}

impl JtlXml {
    fn pass(&mut self, window: &mut Window<'_>, count: usize) {
        self.line += memchr_iter(b'\n', &window.view()[..count]).count() as u64;
        window.consume(count);
    }

    fn take_text(&mut self, window: &mut Window<'_>, count: usize) {
        let room = EXCERPT.saturating_sub(self.text.len()).min(count);
        self.text.extend_from_slice(&window.view()[..room]);
        self.pass(window, count);
    }

    fn tag(&mut self, element: &[u8], seen: &mut Observation) -> Option<Step> {
        if element.starts_with(b"?") || element.starts_with(b"!") {
            return None;
        }
        if let Some(name) = element.strip_prefix(b"/") {
            return self.close(name.trim_ascii(), seen);
        }
        let is_empty = element.ends_with(b"/");
        let element = element.strip_suffix(b"/").unwrap_or(element);
        let end = element.iter().position(u8::is_ascii_whitespace).unwrap_or(element.len());
        let name = &element[..end];
        self.text.clear();
        match name {
            b"httpSample" | b"sample" => {
                if let Some(outer) = self.open.last_mut() {
                    outer.has_samples = true;
                }
                let sample = self.sample(name == b"httpSample", &element[end..]);
                self.open.push(sample);
                if is_empty { self.close(name, seen) } else { None }
            }
            b"testResults" => {
                let again = std::mem::replace(&mut self.begun, true);
                self.open.clear();
                again.then_some(Step::NewRun)
            }
            _ => {
                if !is_empty && self.within.len() < 32 {
                    self.within.push(name.to_vec());
                }
                None
            }
        }
    }

    fn sample(&self, is_http: bool, attributes: &[u8]) -> Sample {
        let mut sample = Sample { is_http, ..Sample::default() };
        let seen = &mut sample.seen;
        seen.line = self.line + 1;
        seen.identity = Identity::Thread;
        let (mut at, mut host) = (None, Vec::new());
        for (name, value) in attributes_of(attributes) {
            let value = unescaped(value);
            match name {
                b"ts" => at = Moment::parse(&value),
                b"t" => seen.elapsed = super::jtl_csv::milliseconds(&value),
                b"rc" => {
                    seen.status = super::lines::status(&value);
                    sample.is_readable = seen.status.is_some() || value.starts_with(b"Non HTTP");
                }
                b"rm" => {
                    sample.is_sum = value.starts_with(b"Number of samples in transaction");
                    excerpt(&mut seen.message, &value);
                }
                b"lb" => seen.label = value,
                b"tn" => seen.caller = value,
                b"hn" => host = value,
                _ => {}
            }
        }
        if !host.is_empty() {
            host.push(b' ');
            host.extend_from_slice(&seen.caller);
            seen.caller = host;
        }
        sample.is_readable &= at.is_some();
        seen.done_at = at.unwrap_or_default().plus(seen.elapsed);
        sample
    }

    fn close(&mut self, name: &[u8], seen: &mut Observation) -> Option<Step> {
        if !matches!(name, b"httpSample" | b"sample") {
            self.within.pop();
            let text = unescaped(&std::mem::take(&mut self.text));
            if let Some(sample) = self.open.last_mut() {
                sample.fill(name, &text);
            }
            return None;
        }
        self.within.clear();
        self.text.clear();
        let sample = self.open.pop()?;
        // The steps of a redirect are told by their sample; a sum has its samples beside it.
        if self.open.iter().any(|outer| outer.is_http)
            || sample.is_sum
            || (sample.has_samples && !sample.is_http)
        {
            return Some(Step::Other);
        }
        if !sample.is_readable {
            return Some(Step::Unreadable);
        }
        let file = seen.file;
        *seen = Observation { file, ..sample.seen };
        Some(Step::Request)
    }
}

impl Sample {
    fn fill(&mut self, element: &[u8], text: &[u8]) {
        let seen = &mut self.seen;
        match element {
            b"java.net.URL" => seen.target = text.trim_ascii().to_vec(),
            b"method" => seen.method = text.trim_ascii().to_vec(),
            b"responseData" | b"failureMessage" => {
                seen.message.push(b' ');
                excerpt(&mut seen.message, text);
            }
            b"requestHeader" | b"samplerData" | b"queryString" => {
                seen.request.push(b'\n');
                excerpt(&mut seen.request, text);
            }
            b"responseHeader" => {
                for line in text.split(|byte| *byte == b'\n') {
                    let Some(colon) = memchr(b':', line) else { continue };
                    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
                    if name.eq_ignore_ascii_case(b"date") {
                        seen.server_date = Moment::parse(value);
                    } else if name.eq_ignore_ascii_case(b"retry-after") {
                        seen.retry_after =
                            std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    }
                }
            }
            _ => {}
        }
    }
}

fn attributes_of(mut text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let equals = memchr(b'=', text)?;
        let name = text[..equals].trim_ascii();
        let rest = text[equals + 1..].trim_ascii_start();
        let quote = *rest.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let end = memchr(quote, &rest[1..])?;
        text = &rest[end + 2..];
        Some((name, &rest[1..=end]))
    })
}

/// Without XML's entities.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = memchr(b'&', rest) {
        plain.extend_from_slice(&rest[..start]);
        rest = &rest[start..];
        let Some(end) = memchr(b';', &rest[..rest.len().min(12)]) else {
            plain.push(b'&');
            rest = &rest[1..];
            continue;
        };
        match &rest[1..end] {
            b"lt" => plain.push(b'<'),
            b"gt" => plain.push(b'>'),
            b"amp" => plain.push(b'&'),
            b"quot" => plain.push(b'"'),
            b"apos" => plain.push(b'\''),
            [b'#', number @ ..] => {
                let text = std::str::from_utf8(number).unwrap_or_default();
                let code = match text.strip_prefix('x') {
                    Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                    None => text.parse(),
                };
                let c = code.ok().and_then(char::from_u32).unwrap_or('?');
                plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => plain.extend_from_slice(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    plain.extend_from_slice(rest);
    plain
}
