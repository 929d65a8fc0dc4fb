//! The body as text, whatever it is encoded in.

use std::ops::Deref;

use zeroize::Zeroizing;

use crate::Remark;
use crate::remark::Remarks;

/// A body as text: lent where it already is UTF-8, else decoded and wiped when dropped.
pub(crate) enum Text<'a> {
    Lent(&'a str),
    Decoded(Zeroizing<String>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Decoded(text) => text,
        }
    }
}

/// Decodes UTF-8, and UTF-16 that shows itself by its mark or by its first character. What cannot
/// be decoded becomes U+FFFD, by which a spoilt value is known.
pub(crate) fn decode<'a>(body: &'a [u8], remarks: &mut Remarks) -> Text<'a> {
    match body {
        [0xef, 0xbb, 0xbf, rest @ ..] => {
            remarks.add(Remark::ByteOrderMark);
            utf8(rest, remarks)
        }
        [0xff, 0xfe, rest @ ..] => {
            remarks.add(Remark::ByteOrderMark);
            utf16(rest, u16::from_le_bytes, remarks)
        }
        [0xfe, 0xff, rest @ ..] => {
            remarks.add(Remark::ByteOrderMark);
            utf16(rest, u16::from_be_bytes, remarks)
        }
        [b'{', 0, ..] => utf16(body, u16::from_le_bytes, remarks),
        [0, b'{', ..] => utf16(body, u16::from_be_bytes, remarks),
        _ => utf8(body, remarks),
    }
}

fn utf8<'a>(body: &'a [u8], remarks: &mut Remarks) -> Text<'a> {
    match std::str::from_utf8(body) {
        Ok(text) => Text::Lent(text),
        Err(_) => {
            remarks.add(Remark::NotUtf8);
            let mut text = Zeroizing::new(String::with_capacity(3 * body.len()));
            for chunk in body.utf8_chunks() {
                text.push_str(chunk.valid());
                if !chunk.invalid().is_empty() {
                    text.push(char::REPLACEMENT_CHARACTER);
                }
            }
            Text::Decoded(text)
        }
    }
}

fn utf16<'a>(body: &[u8], unit: fn([u8; 2]) -> u16, remarks: &mut Remarks) -> Text<'a> {
    remarks.add(Remark::Utf16);
    let units = body.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let mut text = Zeroizing::new(String::with_capacity(2 * body.len()));
    for character in char::decode_utf16(units) {
        text.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    Text::Decoded(text)
}
