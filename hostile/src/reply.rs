//! What a caller reads back, strictly.

use crate::message::Reading;
use crate::strict::{Fields, Framing, Lines, Stop, framing};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Without its framing.
    pub body: Vec<u8>,
}

impl Reply {
    /// Whether it was made by the gateway and not by the resource server.
    pub fn is_ours(&self) -> bool {
        self.header("bellwether-error").is_some()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads one answer to a request that was a `HEAD` or not; `is_closed` once no more will come.
pub(crate) fn read(bytes: &[u8], to_head: bool, is_closed: bool) -> Reading<Reply> {
    match answer(bytes, to_head, is_closed) {
        Ok((reply, used)) => Reading::Whole(reply, used),
        Err(Stop::More) => Reading::Unfinished,
        Err(Stop::Broken(why)) => Reading::Broken(why),
    }
}

fn answer(bytes: &[u8], to_head: bool, is_closed: bool) -> Result<(Reply, usize), Stop> {
    let mut lines = Lines::new(bytes);
    let line = String::from_utf8_lossy(lines.next()?).into_owned();
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let status = rest.and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.ok_or(Stop::Broken("no status line"))?;
    let headers: Fields = lines.fields()?;
    let framing = framing(&headers)?;
    let bodiless = to_head || status < 200 || matches!(status, 204 | 304);
    let body = match framing {
        _ if bodiless => Vec::new(),
        Framing::Length(length) => lines.exactly(length)?.to_vec(),
        Framing::Chunked => lines.chunks()?.0,
        Framing::Unsaid if is_closed => {
            let body = bytes[lines.used..].to_vec();
            lines.used = bytes.len();
            body
        }
        Framing::Unsaid => return Err(Stop::More),
    };
    Ok((Reply { status, headers, body }, lines.used))
}
