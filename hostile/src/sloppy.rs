//! The sloppy reader: all that old servers let pass, each time the other way than the strict one.
//!
//! Lines end at LF. Names are trimmed. Of two lengths the first counts, and a length counts before a
//! coding. A coding is chunked if the word is in it. A number is what its beginning says.

use crate::message::{Message, Reading};

/// Reads one request.
pub(crate) fn read(bytes: &[u8]) -> Reading<Message> {
    request(bytes).map_or(Reading::Unfinished, |(message, used)| Reading::Whole(message, used))
}

fn request(bytes: &[u8]) -> Option<(Message, usize)> {
    let mut used = 0;
    let mut first = line(bytes, &mut used)?;
    while first.trim().is_empty() {
        first = line(bytes, &mut used)?;
    }
    let mut words = first.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let headers = fields(bytes, &mut used)?;
    let said = |name: &str| headers.iter().find(|(known, _)| known.replace('_', "-") == name);
    let length = said("content-length").map(|(_, value)| number(value, 10));
    let is_chunked = said("transfer-encoding").is_some_and(|(_, value)| {
        String::from_utf8_lossy(value).to_ascii_lowercase().contains("chunked")
    });
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    if let Some(length) = length {
        body = bytes.get(used..used.checked_add(length)?)?.to_vec();
        used += length;
    } else if is_chunked {
        loop {
            let size = number(line(bytes, &mut used)?.as_bytes(), 16);
            if size == 0 {
                break;
            }
            body.extend_from_slice(bytes.get(used..used.checked_add(size)?)?);
            used += size;
            line(bytes, &mut used)?;
        }
        trailers = fields(bytes, &mut used)?;
    }
    Some((Message { method, target, headers, body, trailers }, used))
}

/// The text up to the next LF, without the CR before it.
fn line(bytes: &[u8], used: &mut usize) -> Option<String> {
    let rest = &bytes[*used..];
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    *used += end + 1;
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    // Byte by byte: what is no UTF-8 stays what it is.
    Some(line.iter().map(|byte| char::from(*byte)).collect())
}

fn fields(bytes: &[u8], used: &mut usize) -> Option<Vec<(String, Vec<u8>)>> {
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    loop {
        let line = line(bytes, used)?;
        if line.is_empty() {
            return Some(fields);
        }
        let latin = |text: &str| text.chars().map(|one| one as u8).collect::<Vec<u8>>();
        match (line.starts_with([' ', '\t']), fields.last_mut()) {
            (true, Some((_, value))) => value.extend(latin(line.trim())),
            _ => {
                let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                let trim = |text: &str| latin(text).trim_ascii().to_vec();
                fields.push((name.trim().to_ascii_lowercase(), trim(value)));
            }
        }
    }
}

/// The number at the beginning, whatever stands around it.
fn number(text: &[u8], radix: u32) -> usize {
    let text = String::from_utf8_lossy(text);
    let text = text.trim().trim_start_matches('+');
    let text = text.strip_prefix("0x").unwrap_or(text);
    let digits: String = text.chars().take_while(|one| one.is_digit(radix)).collect();
    usize::from_str_radix(&digits, radix).unwrap_or(0)
}
