//! What a pool member's row in the store says, before it is sealed.

use bellwether_lifecycle::{Held, UnixTime};
use bellwether_oauth::{Scope, Secret, TokenResponse};
use bellwether_store::{Clock, Digest, Key, Keyring, OpenError, Row, Stamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::stored_failure::StoredFailure;
use crate::token::Token;

/// Earlier access tokens whose digests are kept, so that callers who still hold one are known.
const REMEMBERED: usize = 8;

/// A row's content.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Digest of what was asked for and of whom: another configuration shares nothing.
    pub(crate) identity: String,
    /// Digest of who issued the refresh token, and to whom: it is good whatever is asked for with it.
    #[serde(default)]
    pub(crate) issued_to: String,
    /// Digest of the client's secret with which the server gave its latest answer.
    #[serde(default)]
    pub(crate) secret: String,
    /// Counts the token requests, successful or not.
    pub(crate) attempt: u64,
    /// The access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<StoredToken>,
    /// The refresh token of the latest generation.
    #[serde(default, with = "optional_secret", skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<Secret>,
    /// Digest of a refresh token that was refused: it is not sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
    /// Digest of the configured refresh token that the one above came of: it is spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) begun_with: Option<String>,
    /// What the latest request met, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<StoredFailure>,
    /// Written before a refresh token is sent, and gone with the answer: what is left if the
    /// process dies in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intent: Option<Intent>,
    /// An earlier request may have spent the refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) doubt: Option<Doubt>,
    /// The store's epoch when this was written.
    #[serde(default)]
    pub(crate) epoch: u64,
    /// Digests of access tokens that were handed out before, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<String>,
    /// A caller's own client, so that a restart goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<StoredClient>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredToken {
    #[serde(with = "secret")]
    pub(crate) access_token: Secret,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    pub(crate) sent_at: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Stamp>,
}

/// A request that is about to leave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Digest of the refresh token that it carries.
    pub(crate) presented: String,
    pub(crate) at: Stamp,
}

/// A request that may have been processed, with no answer kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Doubt {
    /// Digest of the refresh token that it may have spent.
    pub(crate) presented: String,
    pub(crate) since: Stamp,
}

/// A client that a caller brought.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredClient {
    pub(crate) id: String,
    #[serde(with = "secret")]
    pub(crate) secret: Secret,
    pub(crate) in_body: bool,
    pub(crate) scope: String,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Record {
    /// What is left for another request of the same client: its refresh token, and what is known
    /// of it. A rotated one exists nowhere else.
    pub(crate) fn for_another_request(self, identity: String) -> Self {
        Self { identity, token: None, ..self }
    }

    /// Reads a row back.
    pub(crate) fn open(keyring: &Keyring, key: &Key, row: &Row) -> Result<Self, OpenError> {
        let plain = keyring.open(key, row.generation, &row.sealed)?;
        serde_json::from_slice(&plain).map_err(|_| OpenError::Refused)
    }

    /// Seals it for its place.
    pub(crate) fn seal(&self, keyring: &Keyring, key: &Key, generation: u64) -> Row {
        let plain = Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        Row { generation, sealed: keyring.seal(key, generation, &plain) }
    }

    /// The token it holds, as seen by `clock`.
    pub(crate) fn token(&self, member: u16, generation: u64, clock: &dyn Clock) -> Option<Token> {
        let stored = self.token.as_ref()?;
        let sent_at = stored.sent_at.resolve(clock);
        let lifetime = stored.expires_at.map(|end| sent_at.until(end.resolve(clock)));
        let held = Held { generation, sent_at, lifetime };
        let scope = stored.scope.as_deref().and_then(|scope| Scope::parse(scope).ok());
        let expires_wall = stored.expires_at.map(|end| end.wall());
        Token::new(stored.access_token.clone(), scope, member, held, expires_wall).ok()
    }

    /// Takes in an accepted token response; an omitted refresh token keeps the one at hand.
    pub(crate) fn accept(
        &mut self,
        response: TokenResponse,
        sent_at: bellwether_lifecycle::Timestamp,
        digest: impl Fn(&Secret) -> Digest,
        clock: &dyn Clock,
    ) {
        if let Some(before) = self.token.take() {
            self.earlier.insert(0, digest(&before.access_token).to_hex());
            self.earlier.truncate(REMEMBERED);
        }
        self.token = Some(StoredToken {
            access_token: response.access_token,
            scope: response.scope.map(|scope| scope.to_string()),
            sent_at: Stamp::new(sent_at, clock),
            expires_at: response.expires_in.map(|life| Stamp::new(sent_at + life, clock)),
        });
        if response.refresh_token.is_some() {
            self.refresh_token = response.refresh_token;
        }
        (self.failure, self.intent, self.doubt) = (None, None, None);
    }

    /// Whether it tells something that a process which starts has not heard yet.
    pub(crate) fn is_news(&self) -> bool {
        self.failure.is_some() || self.intent.is_some() || self.doubt.is_some()
    }
}

/// When the stored expiry ends by the wall clock, for answers.
pub(crate) fn wall_expiry(held: &Held, clock: &dyn Clock) -> Option<UnixTime> {
    held.lifetime.map(|_| Stamp::new(held.expires_at(), clock).wall())
}

mod secret {
    use super::{Deserialize, Deserializer, Secret, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::from)
    }
}

mod optional_secret {
    use super::{Deserialize, Deserializer, Secret, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::from))
    }
}
