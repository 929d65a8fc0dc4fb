//! Token texts: opaque to callers, and found again without keeping them.
//!
//! A text holds its serial number under a mask and a check that depends on the seed, so that a
//! million dead tokens cost no strings and a token of another organisation is unknown here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::chance::mix;

/// How every simulated token begins: whoever searches logs and files for a leak finds it.
pub const TOKEN_MARK: &str = "simulated-secret-";

/// Which of the tokens and codes a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Access,
    Refresh,
    Code,
    Device,
}

/// Writes and reads the texts of one organisation.
#[derive(Clone, Debug)]
pub(crate) struct TokenText {
    seed: u64,
}

/// Five words of eight bytes: the masked serial number, then the check.
const WORDS: usize = 5;

impl TokenText {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed: mix(seed ^ 0x746f_6b65_6e73) }
    }

    pub(crate) fn write(&self, kind: Kind, serial: u64) -> String {
        format!("{TOKEN_MARK}{}", URL_SAFE_NO_PAD.encode(self.bytes(kind, serial)))
    }

    /// The serial number in `text`, if this organisation could have issued it.
    pub(crate) fn read(&self, kind: Kind, text: &str) -> Option<u64> {
        let mut bytes = [0; WORDS * 8];
        let text = text.strip_prefix(TOKEN_MARK)?;
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let masked = u64::from_be_bytes(bytes[..8].try_into().ok()?);
        let serial = masked ^ self.mask(kind);
        (length == bytes.len() && bytes == self.bytes(kind, serial)).then_some(serial)
    }

    fn mask(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Access => mix(self.seed),
            Kind::Refresh => mix(!self.seed),
            Kind::Code => mix(self.seed ^ 0x636f_6465),
            Kind::Device => mix(self.seed ^ 0x6465_7669_6365),
        }
    }

    fn bytes(&self, kind: Kind, serial: u64) -> [u8; WORDS * 8] {
        let mask = self.mask(kind);
        let mut word = serial ^ mask;
        let mut bytes = [0; WORDS * 8];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&word.to_be_bytes());
            word = mix(word.wrapping_add(mask));
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_leads_back_to_its_serial_number_only_where_it_was_written() {
        let (here, elsewhere) = (TokenText::new(1), TokenText::new(2));
        for serial in [0, 1, 41, u64::MAX] {
            let text = here.write(Kind::Access, serial);
            assert_eq!(here.read(Kind::Access, &text), Some(serial));
            assert_eq!(here.read(Kind::Refresh, &text), None, "the wrong kind");
            assert_eq!(elsewhere.read(Kind::Access, &text), None, "another organisation");
            assert_eq!(here.read(Kind::Access, &text[1..]), None, "cut short");
            assert_eq!(here.read(Kind::Access, &format!("{text}A")), None, "too long");
        }
        assert_eq!(here.read(Kind::Access, ""), None);
        assert_eq!(here.read(Kind::Access, "null"), None);
    }
}
