//! HAR, the HTTP archive of browsers and proxies: read entry by entry, however long it is.
//!
//! Each entry is copied out of the stream with its long texts clipped, so that a body of megabytes
//! takes no more room than an [`EXCERPT`](crate::observation::EXCERPT).

use std::io;

use memchr::memmem;

use super::{Reader, Step};
use crate::input::Window;
use crate::json::{Scalar, each_value};
use crate::moment::Moment;
use crate::observation::{Observation, excerpt};

const LONGEST_TEXT: usize = 8192;
const LONGEST_ENTRY: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Har {
    entries: u64,
    in_entries: bool,
    begun: bool,
    entry: Vec<u8>,
}

/// Does the beginning of a file look like it?
pub(crate) fn is_har(line: &[u8], view: &[u8]) -> bool {
    let head = &view[..view.len().min(1 << 16)];
    line.first() == Some(&b'{')
        && memmem::find(head, b"\"log\"").is_some()
        && [&b"\"entries\""[..], b"\"creator\"", b"\"pages\""]
            .iter()
            .any(|name| memmem::find(head, name).is_some())
}

impl Reader for Har {
    fn step(&mut self, window: &mut Window<'_>, seen: &mut Observation) -> io::Result<Step> {
        if !self.in_entries {
            if !find_entries(window)? {
                return Ok(Step::End);
            }
            self.in_entries = true;
            if std::mem::replace(&mut self.begun, true) {
                return Ok(Step::NewRun);
            }
        }
        loop {
            if window.view().is_empty() && !window.widen()? {
                return Ok(Step::End);
            }
            let Some(byte) = window.view().first().copied() else { continue };
            match byte {
                b'{' => break,
                b']' => {
                    window.consume(1);
                    self.in_entries = false;
                    return Ok(Step::Other);
                }
                _ => window.consume(1),
            }
        }
        self.entries += 1;
        seen.line = self.entries;
        if !clipped_object(window, &mut self.entry)? {
            return Ok(Step::Unreadable);
        }
        Ok(read(&self.entry, seen))
    }

    fn lines(&self) -> u64 {
        self.entries
    }
}

/// Goes on to the first entry.
fn find_entries(window: &mut Window<'_>) -> io::Result<bool> {
    const NAME: &[u8] = b"\"entries\"";
    loop {
        if let Some(at) = memmem::find(window.view(), NAME) {
            let after = at + NAME.len();
            let list = window.view()[after..].iter().position(|byte| *byte == b'[');
            if let Some(list) = list {
                window.consume(after + list + 1);
                return Ok(true);
            }
        } else {
            let keep = window.view().len().min(NAME.len());
            window.consume(window.view().len() - keep);
        }
        if !window.widen()? {
            return Ok(false);
        }
    }
}

/// Copies one object out of the stream; false where it does not end.
fn clipped_object(window: &mut Window<'_>, object: &mut Vec<u8>) -> io::Result<bool> {
    object.clear();
    let mut depth = 0_u32;
    let (mut in_text, mut text) = (false, Text::default());
    loop {
        for (at, byte) in window.view().iter().copied().enumerate() {
            let mut keep = true;
            if in_text {
                in_text = byte != b'"' || text.is_in_escape();
                keep = !in_text || text.keeps(byte);
            } else {
                match byte {
                    b'"' => (in_text, text) = (true, Text::default()),
                    b'{' => depth += 1,
                    b'}' => depth -= 1,
                    _ => {}
                }
            }
            if keep && object.len() < LONGEST_ENTRY {
                object.push(byte);
            }
            if depth == 0 {
                window.consume(at + 1);
                return Ok(object.len() < LONGEST_ENTRY);
            }
        }
        let all = window.view().len();
        window.consume(all);
        if !window.widen()? {
            return Ok(false);
        }
    }
}

/// Where in a JSON text (RFC 8259 §7) the stream is.
#[derive(Clone, Copy, Debug, Default)]
struct Text {
    length: usize,
    /// 1 after a backslash, 5 to 2 before the four digits after `\\u`.
    escape: u8,
    /// The other half of a surrogate pair may follow.
    after_unicode: bool,
    clipped: bool,
}

impl Text {
    fn is_in_escape(self) -> bool {
        self.escape > 0
    }

    /// Takes the next byte. Is it before the clip, which splits no character and no escape?
    fn keeps(&mut self, byte: u8) -> bool {
        self.length += 1;
        let splits = self.escape > 0 || self.after_unicode || byte & 0xC0 == 0x80;
        self.clipped |= self.length > LONGEST_TEXT && !splits;
        (self.escape, self.after_unicode) = match (self.escape, byte) {
            (0, b'\\') => (1, false),
            (1, b'u') => (5, false),
            (2, _) => (0, true),
            (digits @ 3..=5, _) => (digits - 1, false),
            (_, _) => (0, false),
        };
        !self.clipped
    }
}

fn read(entry: &[u8], seen: &mut Observation) -> Step {
    let (mut sent, mut name, mut answer, mut is_base64) =
        (None, String::new(), String::new(), false);
    let mut status = None;
    let whole = each_value(entry, &mut |path, value| match path {
        "startedDateTime" => sent = Moment::parse(value.text().as_bytes()),
        "time" => seen.elapsed = value.number().unwrap_or_default().clamp(0.0, 1e9) as i64,
        "request.method" => seen.method = value.text().as_bytes().to_vec(),
        "request.url" => seen.target = value.text().as_bytes().to_vec(),
        "request.postData.text" => request(seen, "", &value),
        "request.headers.name" | "response.headers.name" | "request.postData.params.name" => {
            name = value.text().to_ascii_lowercase();
        }
        "request.headers.value" if name == "authorization" => {
            request(seen, "Authorization: ", &value);
        }
        "request.postData.params.value" => request(seen, &format!("{name}="), &value),
        "response.headers.value" => match name.as_str() {
            "date" => seen.server_date = Moment::parse(value.text().as_bytes()),
            "retry-after" => seen.retry_after = value.number().map(|seconds| seconds as u32),
            _ => {}
        },
        "response.status" => status = value.number(),
        "response.content.text" => answer = value.text().into_owned(),
        "response.content.encoding" => is_base64 = value.text() == "base64",
        _ => {}
    });
    let (Some(sent), Some(status), true) = (sent, status, whole) else { return Step::Unreadable };
    seen.done_at = sent.plus(seen.elapsed);
    seen.status = (100.0..600.0).contains(&status).then_some(status as u16);
    seen.caller.extend_from_slice(b"client");
    if is_base64 {
        use base64::Engine;
        let whole_groups = answer.len() / 4 * 4;
        let decoded = base64::engine::general_purpose::STANDARD.decode(&answer[..whole_groups]);
        excerpt(&mut seen.message, &decoded.unwrap_or_default());
    } else {
        excerpt(&mut seen.message, answer.as_bytes());
    }
    Step::Request
}

fn request(seen: &mut Observation, before: &str, value: &Scalar<'_>) {
    if !seen.request.is_empty() {
        seen.request.push(if before.ends_with('=') { b'&' } else { b' ' });
    }
    excerpt(&mut seen.request, before.as_bytes());
    excerpt(&mut seen.request, value.text().as_bytes());
}
