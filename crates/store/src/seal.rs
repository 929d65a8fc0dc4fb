//! What makes a stolen store worthless: rows are sealed, names of secrets are keyed hashes.
//!
//! One root key of 256 bits; all else is derived from it by HKDF-SHA256 (RFC 5869). Each row's key
//! has an AES-256-GCM key of its own, and the version, the row's key and its generation are bound
//! in, so a row opens only where and as what it was sealed.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use bellwether_oauth::Secret;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::key::Key;
use crate::key_file::{self, KeyFileError};

/// First byte of every sealed row.
const VERSION: u8 = 1;
const TAG_LEN: usize = 16;
const OVERHEAD: usize = 1 + NONCE_LEN + TAG_LEN;

/// Seals rows and makes keyed hashes. Clones are cheap.
///
/// Two keyrings of the same root key open each other's rows.
#[derive(Clone)]
pub struct Keyring {
    sealing: Prk,
    hashing: hmac::Key,
}

impl Keyring {
    /// Bytes of a root key.
    pub const KEY_LEN: usize = 32;

    /// The keyring of a root key.
    pub fn from_bytes(root: &[u8; Self::KEY_LEN]) -> Self {
        Self::from_root(root)
    }

    /// The keyring of a root secret that somebody configured: as strong as its text, which should
    /// have at least 32 random characters.
    pub fn from_secret(root: &Secret) -> Self {
        Self::from_root(root.expose().as_bytes())
    }

    fn from_root(root: &[u8]) -> Self {
        let prk = Salt::new(HKDF_SHA256, b"bellwether store 1").extract(root);
        let sealing = derive(&prk, &[b"seal"]);
        let hashing = derive(&prk, &[b"digest"]);
        Self {
            sealing: Prk::new_less_safe(HKDF_SHA256, &*sealing),
            hashing: hmac::Key::new(hmac::HMAC_SHA256, &*hashing),
        }
    }

    /// A keyring nobody else has, gone with the process: for stores in memory.
    pub fn ephemeral() -> Self {
        Self::from_bytes(&random_root())
    }

    /// The keyring whose root key is in the file at `path`, which is made if there is none:
    /// [`KEY_LEN`](Self::KEY_LEN) bytes that only their owner can read. Any number of processes may do
    /// this at once; all get the same key.
    ///
    /// # Errors
    /// [`KeyFileError`] names the file and what to do.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyFileError> {
        key_file::open_or_create(path, random_root).map(|root| Self::from_bytes(&root))
    }

    /// The keyring whose root key is in the file at `path`.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create), and if there is no such file.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        key_file::open(path).map(|root| Self::from_bytes(&root))
    }

    /// Encrypts `plaintext` for `key` at `generation`.
    ///
    /// # Panics
    /// If the kernel gives no random bytes, which it always does once it has booted.
    pub fn seal(&self, key: &Key, generation: u64, plaintext: &[u8]) -> Sealed {
        let name = key.to_string();
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce);

        let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD);
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let (_, in_place) = sealed.split_at_mut(1 + NONCE_LEN);
        let tag = self
            .row_key(&name)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound(&name, generation)),
                in_place,
            )
            .expect("AES-GCM takes any text that fits in memory");
        sealed.extend_from_slice(tag.as_ref());
        Sealed(sealed.into())
    }

    /// Decrypts what was sealed for exactly this `key` and `generation`.
    ///
    /// # Errors
    /// [`OpenError::Version`] or [`OpenError::Refused`]; which bytes were wrong is not known.
    pub fn open(
        &self,
        key: &Key,
        generation: u64,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let name = key.to_string();
        let (&version, rest) = sealed.0.split_first().ok_or(OpenError::Refused)?;
        if version != VERSION {
            return Err(OpenError::Version);
        }
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(OpenError::Refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Refused)?;
        let mut plaintext = Zeroizing::new(text.to_vec());
        let length = self
            .row_key(&name)
            .open_in_place(nonce, Aad::from(bound(&name, generation)), &mut plaintext)
            .map_err(|_| OpenError::Refused)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }

    /// A keyed hash (HMAC-SHA256) of `secret`, different for each `purpose`: what a secret is
    /// found and recognised by where the secret itself is not to be kept.
    pub fn digest(&self, purpose: &str, secret: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.hashing);
        context.update(&(purpose.len() as u64).to_be_bytes());
        context.update(purpose.as_bytes());
        context.update(secret);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        Digest(digest)
    }

    /// Whether `digest` is that of `secret`, in constant time and without allocation.
    pub fn verify(&self, purpose: &str, secret: &[u8], digest: &Digest) -> bool {
        self.digest(purpose, secret) == *digest
    }

    fn row_key(&self, name: &str) -> LessSafeKey {
        let key = derive(&self.sealing, &[name.as_bytes()]);
        let key = UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes are an AES-256 key");
        LessSafeKey::new(key)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

/// What is authenticated beside the text; the name's length keeps the parts apart.
fn bound(name: &str, generation: u64) -> Vec<u8> {
    let mut bound = Vec::with_capacity(name.len() + 17);
    bound.push(VERSION);
    bound.extend_from_slice(&(name.len() as u64).to_be_bytes());
    bound.extend_from_slice(name.as_bytes());
    bound.extend_from_slice(&generation.to_be_bytes());
    bound
}

fn derive(from: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    struct Bytes32;
    impl KeyType for Bytes32 {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = Zeroizing::new([0; 32]);
    from.expand(info, Bytes32)
        .and_then(|output| output.fill(&mut *key))
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    key
}

fn random_root() -> Zeroizing<[u8; Keyring::KEY_LEN]> {
    let mut root = Zeroizing::new([0; Keyring::KEY_LEN]);
    fill_random(&mut *root);
    root
}

fn fill_random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the kernel gives random bytes once it has booted");
}

/// An encrypted row: a version, a nonce, the text and its tag. Clones are cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Arc<[u8]>);

impl Sealed {
    /// What a backend kept.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// What a backend keeps.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// Why a row does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A later release sealed it.
    #[error("the row was sealed by a later release of bellwether; run that one")]
    Version,
    /// Another root key, another row, another generation, or changed bytes.
    #[error(
        "the row does not open: it was sealed with another key, or changed; bring back the key \
         file that belongs to this store, or remove the row"
    )]
    Refused,
}

/// A keyed hash of a secret. Compared in constant time; shown shortened.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes, as a row kept it.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// All of it in hexadecimal.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for Digest {
    /// 48 bits, enough to tell digests apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0[..6]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn opens_only_as_what_it_was_sealed() {
        let ring = Keyring::from_bytes(&[7; 32]);
        let sealed = ring.seal(&key("credential/a/0"), 5, b"text");
        let same = Keyring::from_bytes(&[7; 32]);
        let other = Keyring::from_bytes(&[8; 32]);
        let cases = [
            ("itself", &same, "credential/a/0", 5, Ok(b"text".to_vec())),
            ("another root key", &other, "credential/a/0", 5, Err(OpenError::Refused)),
            ("another row", &same, "credential/a/1", 5, Err(OpenError::Refused)),
            ("an earlier generation", &same, "credential/a/0", 4, Err(OpenError::Refused)),
            ("a later generation", &same, "credential/a/0", 6, Err(OpenError::Refused)),
        ];
        for (what, ring, name, generation, expected) in cases {
            let opened = ring.open(&key(name), generation, &sealed);
            assert_eq!(opened.map(|text| text.to_vec()), expected, "{what}");
        }
    }

    #[test]
    fn no_changed_or_missing_byte_passes() {
        let ring = Keyring::ephemeral();
        let sealed = ring.seal(&key("x/y"), 1, b"some text");
        let open = |bytes: Vec<u8>| ring.open(&key("x/y"), 1, &Sealed::from_bytes(bytes));
        for at in 0..sealed.as_bytes().len() {
            let mut changed = sealed.as_bytes().to_vec();
            changed[at] ^= 1;
            assert!(open(changed).is_err(), "byte {at} changed");
            assert!(open(sealed.as_bytes()[..at].to_vec()).is_err(), "cut after {at}");
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let sealed = Sealed::from_bytes(vec![VERSION + 1; 40]);
        let opened = Keyring::ephemeral().open(&key("x/y"), 1, &sealed);
        assert_eq!(opened, Err(OpenError::Version));
    }

    #[test]
    fn the_same_text_is_never_sealed_alike_and_never_shows() {
        let ring = Keyring::ephemeral();
        let (a, b) = (ring.seal(&key("x/y"), 1, b"needle"), ring.seal(&key("x/y"), 1, b"needle"));
        assert_ne!(a, b);
        assert!(!a.as_bytes().windows(6).any(|window| window == b"needle"));
        assert_eq!(a.as_bytes().len(), 6 + OVERHEAD);
    }

    #[test]
    fn an_empty_text_and_a_large_one_come_back_byte_by_byte() {
        let ring = Keyring::ephemeral();
        for length in [0, 1, 15, 16, 17, 1 << 20] {
            let text: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let sealed = ring.seal(&key("x/y"), 1, &text);
            assert_eq!(*ring.open(&key("x/y"), 1, &sealed).unwrap(), text);
        }
    }

    #[test]
    fn a_digest_depends_on_key_purpose_and_secret() {
        let ring = Keyring::from_bytes(&[7; 32]);
        let digest = ring.digest("client", b"secret");
        assert!(ring.verify("client", b"secret", &digest));
        assert!(!ring.verify("refresh", b"secret", &digest));
        assert!(!ring.verify("client", b"secre", &digest));
        assert!(!ring.verify("clients", b"ecret", &digest));
        assert!(!Keyring::from_bytes(&[8; 32]).verify("client", b"secret", &digest));
        assert_eq!(digest.to_hex().len(), 64);
        assert_eq!(digest.to_string(), digest.to_hex()[..12]);
    }

    #[test]
    fn a_configured_secret_is_a_key_like_any_other() {
        let of = |text: &str| Keyring::from_secret(&text.into()).digest("", b"x");
        assert_eq!(of("0123456789abcdef0123456789abcdef"), of("0123456789abcdef0123456789abcdef"));
        assert_ne!(of("0123456789abcdef0123456789abcdef"), of("0123456789abcdef0123456789abcdeF"));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Keyring::from_bytes(&[7; 32])), "Keyring(…)");
    }
}
