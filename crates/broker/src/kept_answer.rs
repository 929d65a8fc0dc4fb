//! What the escrow keeps of an answer: everything that came, before anybody reads it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_oauth::{Reading, Secret, read};
use bellwether_store::{Clock, Key, Keyring, OpenError, Row, Stamp};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::transport::Received;

/// An answer with what is needed to make sense of it later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptAnswer {
    /// Digest of who answered, and whom: as in the grant's row.
    pub(crate) issued_to: String,
    /// Digest of what was asked for: as in the grant's row.
    pub(crate) identity: String,
    /// Digest of the refresh token that was sent.
    pub(crate) presented: String,
    /// The number of the request.
    pub(crate) attempt: u64,
    sent_at: Stamp,
    /// What the wall clock showed, in Unix milliseconds, when it came.
    wall: u64,
    status: u16,
    content_type: Option<String>,
    retry_after: Option<String>,
    date: Option<String>,
    www_authenticate: Option<String>,
    location: bool,
    body: Body,
    truncated: bool,
}

/// Bytes that may hold tokens, as text.
#[derive(Clone, Serialize, Deserialize)]
struct Body(String);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body(…)")
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Which request it answers.
pub(crate) struct About {
    pub(crate) issued_to: String,
    pub(crate) identity: String,
    pub(crate) presented: String,
    pub(crate) attempt: u64,
    pub(crate) sent_at: Timestamp,
}

impl KeptAnswer {
    pub(crate) fn new(about: About, received: &Received, clock: &dyn Clock) -> Self {
        let About { issued_to, identity, presented, attempt, sent_at } = about;
        Self {
            issued_to,
            identity,
            presented,
            attempt,
            sent_at: Stamp::new(sent_at, clock),
            wall: clock.wall().as_millis(),
            status: received.status,
            content_type: received.content_type.clone(),
            retry_after: received.retry_after.clone(),
            date: received.date.clone(),
            www_authenticate: received.www_authenticate.clone(),
            location: received.location,
            body: Body(BASE64.encode(&*received.body)),
            truncated: received.truncated,
        }
    }

    /// When its request was sent.
    pub(crate) fn sent_at(&self, clock: &dyn Clock) -> Timestamp {
        self.sent_at.resolve(clock)
    }

    /// What it says, as if it had just come. `secrets` were sent and must not come back in a text.
    pub(crate) fn read(&self, secrets: &[&Secret]) -> Reading {
        let received = Received {
            status: self.status,
            content_type: self.content_type.clone(),
            retry_after: self.retry_after.clone(),
            date: self.date.clone(),
            www_authenticate: self.www_authenticate.clone(),
            location: self.location,
            body: Zeroizing::new(BASE64.decode(&self.body.0).unwrap_or_default()),
            truncated: self.truncated,
        };
        read(&received.message(UnixTime::from_millis(self.wall), secrets))
    }

    pub(crate) fn seal(&self, keyring: &Keyring, key: &Key, generation: u64) -> Row {
        let plain = Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        Row { generation, sealed: keyring.seal(key, generation, &plain) }
    }

    pub(crate) fn open(keyring: &Keyring, key: &Key, row: &Row) -> Result<Self, OpenError> {
        let plain = keyring.open(key, row.generation, &row.sealed)?;
        serde_json::from_slice(&plain).map_err(|_| OpenError::Refused)
    }
}
