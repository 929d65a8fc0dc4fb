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
    /// A lifetime counts from [`sent_at`](Self::sent_at), which may have moved: its end has not.
    pub(crate) fn read(&self, secrets: &[&Secret], clock: &dyn Clock) -> Reading {
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
        let mut reading = read(&received.message(UnixTime::from_millis(self.wall), secrets));
        if let Ok(response) = &mut reading.outcome {
            let end = response.expires_in.map(|life| self.sent_at.later(life).resolve(clock));
            response.expires_in = end.map(|end| self.sent_at(clock).until(end));
        }
        reading
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bellwether_store::ManualClock;

    use super::*;

    #[test]
    fn a_token_kept_before_a_reboot_ends_when_the_server_ends_it() {
        let body = br#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#;
        let received = Received {
            status: 200,
            content_type: None,
            retry_after: None,
            date: None,
            www_authenticate: None,
            location: false,
            body: Zeroizing::new(body.to_vec()),
            truncated: false,
        };
        let clock = ManualClock::new();
        let about = About {
            issued_to: String::new(),
            identity: String::new(),
            presented: String::new(),
            attempt: 1,
            sent_at: clock.now(),
        };
        let kept = KeptAnswer::new(about, &received, &clock);
        let written = clock.wall().as_secs();
        clock.reboot(Duration::from_secs(600));
        clock.set_wall(UnixTime::from_secs(written + 600));
        let response = kept.read(&[], &clock).outcome.expect("a token");
        let end = kept.sent_at(&clock) + response.expires_in.expect("a lifetime");
        assert_eq!(clock.now().until(end), Duration::from_secs(3000));
    }
}
