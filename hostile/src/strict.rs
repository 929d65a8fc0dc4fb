//! The strict reader: RFC 9112 to the letter, and nothing that a recipient merely may accept.

use crate::message::{Message, Reading};

/// Fields in the order of arrival, names in lower case.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing says so.
    Unsaid,
    Length(usize),
    Chunked,
}

/// What follows from bytes that are not there yet, or never should have been.
pub(crate) enum Stop {
    More,
    Broken(&'static str),
}

/// Takes lines off the front.
pub(crate) struct Lines<'a> {
    bytes: &'a [u8],
    pub(crate) used: usize,
}

/// Reads one request.
pub(crate) fn read(bytes: &[u8]) -> Reading<Message> {
    match request(bytes) {
        Ok((message, used)) => Reading::Whole(message, used),
        Err(Stop::More) => Reading::Unfinished,
        Err(Stop::Broken(why)) => Reading::Broken(why),
    }
}

fn request(bytes: &[u8]) -> Result<(Message, usize), Stop> {
    let mut lines = Lines::new(bytes);
    let line = lines.next()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1" | b"HTTP/1.0"] = words[..] else {
        return Err(Stop::Broken("no request line of HTTP/1.1"));
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Stop::Broken("a method that is no token"));
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Stop::Broken("a target with other than visible ASCII"));
    }
    let headers = lines.fields()?;
    let (body, trailers) = match framing(&headers)? {
        Framing::Unsaid => (Vec::new(), Vec::new()),
        Framing::Length(length) => (lines.exactly(length)?.to_vec(), Vec::new()),
        Framing::Chunked => lines.chunks()?,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let message = Message { method: text(method), target: text(target), headers, body, trailers };
    Ok((message, lines.used))
}

/// Says how the body is framed; two ways are one too many (RFC 9112 §6.3).
pub(crate) fn framing(headers: &Fields) -> Result<Framing, Stop> {
    let all = |name: &str| -> Vec<&[u8]> {
        headers.iter().filter(|(known, _)| known == name).map(|(_, value)| &value[..]).collect()
    };
    match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Ok(Framing::Unsaid),
        ([length], []) => {
            let digits = std::str::from_utf8(length).ok();
            let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok());
            length.map(Framing::Length).ok_or(Stop::Broken("a Content-Length that is no number"))
        }
        ([], [b"chunked"]) => Ok(Framing::Chunked),
        ([], _) => Err(Stop::Broken("a Transfer-Encoding other than chunked, once")),
        (_, []) => Err(Stop::Broken("Content-Length comes twice")),
        _ => Err(Stop::Broken("Content-Length beside Transfer-Encoding")),
    }
}

impl<'a> Lines<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, used: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.used..]
    }

    /// A line that ends in CRLF and has no other CR, LF or NUL.
    pub(crate) fn next(&mut self) -> Result<&'a [u8], Stop> {
        let rest = self.rest();
        let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)) else {
            return Err(Stop::More);
        };
        match rest[end..] {
            [b'\r', b'\n', ..] => {
                self.used += end + 2;
                Ok(&rest[..end])
            }
            [b'\r'] => Err(Stop::More),
            _ => Err(Stop::Broken("a bare CR, LF or NUL")),
        }
    }

    /// Fields up to the empty line.
    pub(crate) fn fields(&mut self) -> Result<Fields, Stop> {
        let mut fields = Vec::new();
        loop {
            let line = self.next()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = line.split_at(colon.ok_or(Stop::Broken("a field without colon"))?);
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return Err(Stop::Broken("a field name that is no token"));
            }
            let value = value[1..].trim_ascii();
            if value.iter().any(|byte| (*byte < 32 && *byte != b'\t') || *byte == 127) {
                return Err(Stop::Broken("a control byte in a field value"));
            }
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            fields.push((name, value.to_vec()));
        }
    }

    pub(crate) fn exactly(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let bytes = self.rest().get(..length).ok_or(Stop::More)?;
        self.used += length;
        Ok(bytes)
    }

    /// A chunked body without extensions, and its trailers.
    pub(crate) fn chunks(&mut self) -> Result<(Vec<u8>, Fields), Stop> {
        let mut body = Vec::new();
        loop {
            let line = self.next()?;
            let is_hex = !line.is_empty() && line.iter().all(u8::is_ascii_hexdigit);
            let size = std::str::from_utf8(line).ok().filter(|_| is_hex && line.len() <= 8);
            let size = size.and_then(|text| usize::from_str_radix(text, 16).ok());
            let size = size.ok_or(Stop::Broken("a chunk size that is no plain hex number"))?;
            if size == 0 {
                return Ok((body, self.fields()?));
            }
            body.extend_from_slice(self.exactly(size)?);
            if !self.next()?.is_empty() {
                return Err(Stop::Broken("a chunk longer than its size"));
            }
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_read_two_ways_is_not_read_at_all() {
        let cases: [(&str, Option<usize>); 10] = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(0)),
            ("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", Some(2)),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", Some(1)),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n", None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", None),
            ("POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", None),
            ("GET / HTTP/1.1\nHost: a\n\n", None),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", None),
            ("GET /  HTTP/1.1\r\n\r\n", None),
        ];
        for (text, expected) in cases {
            let length = match read(text.as_bytes()) {
                Reading::Whole(message, used) => {
                    assert_eq!(used, text.len(), "{text:?}");
                    Some(message.body.len())
                }
                Reading::Unfinished => panic!("{text:?} goes on"),
                Reading::Broken(_) => None,
            };
            assert_eq!(length, expected, "{text:?}");
        }
    }
}
