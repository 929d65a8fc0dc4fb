//! How an organisation behaves: every knob, and the sets of knobs that have a name.

mod named;
mod vendors;

use std::time::Duration;

pub use named::NamedProfile;

use crate::api_limit::{ApiLimit, Window};
use crate::chance::Chance;
use crate::client::Client;
use crate::login_limit::{LoginLimit, MinuteMark, Refusal};
use crate::rotation::{Reuse, Rotation};

/// How an organisation behaves. Start from a constructor and change what a test is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Registered clients.
    pub clients: Vec<Client>,
    /// An unknown client is registered with the secret that it shows first.
    pub accept_any_client: bool,
    /// Status of `invalid_client` (RFC 6749 §5.2 says 401 after an `Authorization` header).
    pub refused_client_status: u16,
    /// Status of `invalid_grant`.
    pub refused_grant_status: u16,

    /// How long an access token lives.
    pub access_token_lifetime: Duration,
    /// What a token response says about it.
    pub expires_in: ExpiresIn,
    /// Live access tokens of one client; one more ends the oldest. `None` is no cap.
    pub live_tokens_per_client: Option<usize>,
    /// `client_credentials` answers with the newest live access token, if there is one.
    pub reissue_live_token: bool,
    /// The API refuses an access token until it is so old.
    pub propagation: Duration,
    /// What the API says of tokens that it refuses.
    pub unauthorized: Unauthorized,

    /// `client_credentials` answers carry a refresh token.
    pub refresh_token_with_client_credentials: bool,
    /// How long a refresh token lives from its issue. `None` is for ever.
    pub refresh_token_lifetime: Option<Duration>,
    /// What a refresh does to the refresh token.
    pub rotation: Rotation,
    /// What follows when a spent refresh token is shown again.
    pub reuse: Reuse,
    /// A refresh token that did not change is in the response all the same.
    pub repeat_refresh_token: bool,
    /// A refresh ends the access tokens that its family had.
    pub refresh_ends_access_token: bool,

    /// How often a client may ask for tokens.
    pub login_limit: Option<LoginLimit>,
    /// The report's crowd at second 0.
    pub minute_mark: Option<MinuteMark>,
    /// How often an access token may be used.
    pub api_limit: Option<ApiLimit>,

    /// Latency of the authorization server.
    pub token_latency: Latency,
    /// Latency of the API.
    pub api_latency: Latency,
    /// How many of the newest ledger entries are kept; the totals always count all.
    pub ledger_entries: usize,
}

/// What a token response says about the lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresIn {
    /// The lifetime in whole seconds.
    Truthful,
    /// Nothing.
    Omitted,
    /// So many seconds, whatever the truth.
    Claimed(u64),
}

/// A range that latencies are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub least: Duration,
    /// The longest.
    pub most: Duration,
}

impl Latency {
    /// None at all.
    pub const NONE: Self = Self::millis(0, 0);

    /// From `least` to `most` milliseconds.
    pub const fn millis(least: u64, most: u64) -> Self {
        Self { least: Duration::from_millis(least), most: Duration::from_millis(most) }
    }

    pub(crate) fn draw(&self, chance: &mut Chance) -> Duration {
        chance.between(self.least, self.most)
    }
}

/// The code of a 401 for each way an access token can be dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unauthorized {
    /// Its lifetime is over.
    pub expired: UnauthorizedCode,
    /// The cap ended it.
    pub evicted: UnauthorizedCode,
    /// Somebody revoked it.
    pub revoked: UnauthorizedCode,
    /// It was never issued here, or is not known yet.
    pub unknown: UnauthorizedCode,
}

impl Unauthorized {
    /// The same code for all.
    pub const fn always(code: UnauthorizedCode) -> Self {
        Self { expired: code, evicted: code, revoked: code, unknown: code }
    }
}

/// A code of the platform API for a token that it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnauthorizedCode {
    /// `bad.credentials`
    BadCredentials,
    /// `credentials.expired`
    CredentialsExpired,
    /// `authentication.required`
    AuthenticationRequired,
}

impl UnauthorizedCode {
    pub(crate) const fn code_and_message(self) -> (&'static str, &'static str) {
        match self {
            Self::BadCredentials => ("bad.credentials", "Invalid login credentials."),
            Self::CredentialsExpired => {
                ("credentials.expired", "The supplied credentials are expired and cannot be used.")
            }
            Self::AuthenticationRequired => (
                "authentication.required",
                "No authentication bearer token specified in authorization header.",
            ),
        }
    }
}

impl Profile {
    /// An organisation without limits, caps or latency; tokens live an hour and do not rotate.
    pub fn plain() -> Self {
        Self {
            clients: Vec::new(),
            accept_any_client: false,
            refused_client_status: 401,
            refused_grant_status: 400,
            access_token_lifetime: Duration::from_secs(3600),
            expires_in: ExpiresIn::Truthful,
            live_tokens_per_client: None,
            reissue_live_token: false,
            propagation: Duration::ZERO,
            unauthorized: Unauthorized::always(UnauthorizedCode::BadCredentials),
            refresh_token_with_client_credentials: false,
            refresh_token_lifetime: None,
            rotation: Rotation::None,
            reuse: Reuse::Refused,
            repeat_refresh_token: true,
            refresh_ends_access_token: false,
            login_limit: None,
            minute_mark: None,
            api_limit: None,
            token_latency: Latency::NONE,
            api_latency: Latency::NONE,
            ledger_entries: 10_000,
        }
    }

    /// Genesys Cloud, as far as its own documents and code tell.
    ///
    /// The login limit's numbers are ours: the vendor publishes its shape alone. The cap of 50 is
    /// inferred from the largest token pool that the vendor's Terraform provider opens.
    pub fn genesys() -> Self {
        Self {
            refused_client_status: 400,
            access_token_lifetime: Duration::from_secs(86_400),
            live_tokens_per_client: Some(50),
            rotation: Rotation::Strict,
            reuse: Reuse::Refused,
            login_limit: Some(LoginLimit {
                count: 10,
                per: Duration::from_secs(1),
                burst: 20,
                refusal: Refusal::InvalidRequest,
            }),
            api_limit: Some(ApiLimit {
                count: 300,
                window: Duration::from_secs(60),
                kind: Window::FirstRequest,
            }),
            token_latency: Latency::millis(50, 300),
            api_latency: Latency::millis(20, 60),
            ..Self::plain()
        }
    }

    /// The report's symptoms, as a story that holds together: 50 workers with a token each, a few
    /// over the cap, which gives the reported two logins a second and more for ever (fewer with
    /// jitter, never none); and after a quarter of an hour a login service that turns crowds away
    /// at second 0 of the minute.
    ///
    /// The cap of 47 is inferred from that rate; the minute mark is the reporter's word alone.
    pub fn as_reported() -> Self {
        Self {
            live_tokens_per_client: Some(47),
            login_limit: None,
            minute_mark: Some(MinuteMark {
                after: Duration::from_secs(900),
                length: Duration::from_secs(1),
                logins: 1,
            }),
            ..Self::genesys()
        }
    }

    /// The report at a scale that a person can watch for half a minute: tokens live 15 s, 45 of
    /// them per client, and each may be used 50 times in 10 s. So 1,000 agents every 5 s need 40
    /// tokens, and 50 workers with a token each evict each other.
    pub fn demo() -> Self {
        Self {
            access_token_lifetime: Duration::from_secs(15),
            live_tokens_per_client: Some(45),
            login_limit: Some(LoginLimit {
                count: 60,
                per: Duration::from_secs(1),
                burst: 120,
                refusal: Refusal::InvalidRequest,
            }),
            api_limit: Some(ApiLimit {
                count: 50,
                window: Duration::from_secs(10),
                kind: Window::FirstRequest,
            }),
            token_latency: Latency::millis(50, 150),
            api_latency: Latency::millis(2, 6),
            ..Self::genesys()
        }
    }

    /// Registers a client.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }
}
