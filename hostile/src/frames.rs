//! As much of HTTP/2 (RFC 9113) and HPACK (RFC 7541) as it takes to write frames wrong.

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub mod kind {
    #![expect(missing_docs, reason = "named as in RFC 9113 §6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The stream, or the header block, ends here.
pub const END_STREAM: u8 = 1;
/// … the header block.
pub const END_HEADERS: u8 = 4;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The preface and a SETTINGS frame with these values.
pub fn opening(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    [PREFACE, &frame(kind::SETTINGS, 0, 0, &payload)].concat()
}

/// A header block of literals that are not indexed, names and values as they are.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(name, &mut block);
        string(value, &mut block);
    }
    block
}

/// The fields of a good `GET`.
pub fn get_fields<'a>(path: &'a [u8], bearer: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    vec![
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"localhost"),
        (b":path", path),
        (b"authorization", bearer),
    ]
}

/// A block that asks for one field of the dynamic table, over and over (RFC 7541 §6.1).
pub fn bomb(fields: &[(&[u8], &[u8])], value: &[u8], times: usize) -> Vec<u8> {
    let mut block = block(fields);
    // Into the table (RFC 7541 §6.2.1) …
    block.push(0x40);
    string(b"x-bomb", &mut block);
    string(value, &mut block);
    // … and out of it: its first entry is number 62.
    block.extend(std::iter::repeat_n(0x80 | 62, times));
    block
}

fn string(text: &[u8], block: &mut Vec<u8>) {
    integer(text.len(), 7, block);
    block.extend_from_slice(text);
}

/// An integer with a prefix of so many bits, the rest of its byte 0 (RFC 7541 §5.1).
fn integer(mut value: usize, bits: u32, block: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if value < most {
        block.push(value as u8);
        return;
    }
    block.push(most as u8);
    value -= most;
    while value >= 128 {
        block.push((value % 128 + 128) as u8);
        value /= 128;
    }
    block.push(value as u8);
}

/// Heads of the frames in what was read: type, flags, stream, payload.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u32, &[u8])> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, flags, s, t, u, v, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(payload) = rest.get(..length) else { break };
        frames.push((*kind, *flags, u32::from_be_bytes([*s, *t, *u, *v]), payload));
        bytes = &rest[length..];
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let written =
            [frame(kind::PING, 1, 0, b"12345678"), frame(kind::DATA, 0, 7, b"x")].concat();
        let read: Vec<(u8, u32, &[u8])> = frames(&written)
            .into_iter()
            .map(|(kind, _, stream, payload)| (kind, stream, payload))
            .collect();
        assert_eq!(read, [(kind::PING, 0, &b"12345678"[..]), (kind::DATA, 7, b"x")]);
        let mut long = Vec::new();
        integer(1337, 5, &mut long);
        assert_eq!(long, [31, 154, 10], "RFC 7541 §C.1.2");
    }
}
