//! A request as a reader understood it.

/// One whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// As it was written.
    pub method: String,
    /// As it was written.
    pub target: String,
    /// Names in lower case, values without the white space around them; in the order of arrival.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// Fields after a chunked body.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Message {
    /// Every value of a header, by its name in lower case.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }
}

/// What a reader makes of the bytes so far.
#[derive(Debug)]
pub enum Reading<T> {
    /// A whole message, and how many bytes it took.
    Whole(T, usize),
    /// It goes on.
    Unfinished,
    /// Nobody should answer this.
    Broken(&'static str),
}

/// All messages of a connection, and what is left over.
#[derive(Debug)]
pub struct Readings {
    /// In the order of arrival.
    pub messages: Vec<Message>,
    /// Bytes of whole messages.
    pub used: usize,
    /// Why the rest is none.
    pub broken: Option<&'static str>,
}

/// Reads one message after the other.
pub fn read_all(mut bytes: &[u8], read: impl Fn(&[u8]) -> Reading<Message>) -> Readings {
    let mut readings = Readings { messages: Vec::new(), used: 0, broken: None };
    while !bytes.is_empty() {
        match read(bytes) {
            Reading::Whole(message, used) => {
                readings.messages.push(message);
                readings.used += used;
                bytes = &bytes[used..];
            }
            Reading::Unfinished => break,
            Reading::Broken(why) => {
                readings.broken = Some(why);
                break;
            }
        }
    }
    readings
}
