//! A case: bytes that a caller sends, and what may come of them.

/// Stands for the caller's key in the bytes of a case.
pub const KEY: &str = "{KEY}";

/// What arrives at the resource server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// The body, whatever its framing.
    pub body: Vec<u8>,
    /// Headers that arrive as the caller wrote them.
    pub has: Vec<(String, String)>,
    /// Headers that do not arrive.
    pub lacks: Vec<String>,
}

impl Seen {
    /// A request for this target without a body.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target, "")
    }

    /// A request with a body.
    pub fn new(method: &str, target: &str, body: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            body: body.as_bytes().to_vec(),
            has: Vec::new(),
            lacks: Vec::new(),
        }
    }

    /// This header arrives.
    pub fn has(mut self, name: &str, value: &str) -> Self {
        self.has.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// This one does not.
    pub fn lacks(mut self, name: &str) -> Self {
        self.lacks.push(name.to_ascii_lowercase());
        self
    }
}

/// What may come of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing of it arrives; the caller is told so, or the connection ends.
    Refused,
    /// Exactly these requests arrive, in this order.
    Forwarded(Vec<Seen>),
    /// One of the two, in sync with what follows.
    Either(Seen),
    /// It never ends, so nothing whole arrives.
    Incomplete,
}

/// How a caller goes on after its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a good request, without waiting for the answer to the first.
    Probe,
    /// It sends no more.
    HalfClose,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub family: &'static str,
    /// Unique within its family.
    pub name: String,
    /// With [`KEY`] for the caller's key.
    pub bytes: Vec<u8>,
    /// How much of it is sent at a time; 0 for all of it.
    pub piece: usize,
    /// What follows.
    pub end: End,
    /// What may come of it.
    pub expected: Expected,
}

impl Case {
    /// Whether its answer has no body.
    pub fn is_head(&self) -> bool {
        self.bytes.starts_with(b"HEAD ")
    }

    /// The bytes with the caller's key in them.
    pub fn with_key(&self, key: &str) -> Vec<u8> {
        replace(&self.bytes, KEY.as_bytes(), key.as_bytes())
    }
}

fn replace(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len() + by.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(by);
        rest = &rest[at + what.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
