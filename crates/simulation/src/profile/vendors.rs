//! Vendors beside Genesys, as far as their documents tell.
//!
//! What a vendor does not publish is a number of ours, and says so; each is a knob that a scenario
//! can set. Latencies are nobody's published figures.

use std::time::Duration;

use super::{Latency, Profile};
use crate::login_limit::{LoginLimit, Refusal};
use crate::rotation::{Reuse, Rotation};

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

impl Profile {
    /// What the vendors of this page share where nothing else is known.
    fn vendor() -> Self {
        Self {
            token_latency: Latency::millis(50, 300),
            api_latency: Latency::millis(20, 60),
            ..Self::plain()
        }
    }

    /// Salesforce with refresh token rotation switched on for the app.
    ///
    /// Documented: five approvals of a user and app, of which a sixth revokes the oldest; a spent
    /// refresh token dies at once. Not verified: that access tokens follow the same cap, that a
    /// session lasts two hours (each organisation's own policy), and the login rate.
    pub fn salesforce() -> Self {
        Self {
            access_token_lifetime: minutes(120),
            live_tokens_per_client: Some(5),
            rotation: Rotation::Strict,
            reuse: Reuse::Refused,
            refused_client_status: 400,
            login_limit: Some(LoginLimit {
                count: 1,
                per: Duration::from_secs(1),
                burst: 60,
                refusal: Refusal::InvalidRequest,
            }),
            ..Self::vendor()
        }
    }

    /// Xero.
    ///
    /// Documented: access tokens live 30 min, a spent refresh token may be shown again for 30 min,
    /// unused ones end after 60 days. Not verified: any limit at the token endpoint; none is set.
    pub fn xero() -> Self {
        Self {
            access_token_lifetime: minutes(30),
            refresh_token_lifetime: Some(days(60)),
            rotation: Rotation::NewPair { window: minutes(30) },
            refused_client_status: 400,
            ..Self::vendor()
        }
    }

    /// QuickBooks Online.
    ///
    /// Documented: access tokens live an hour, refresh tokens roll for 100 days and change their
    /// value. Not verified: how long an old value stays good, so none does; any limit at the token
    /// endpoint, so none is set.
    pub fn quickbooks() -> Self {
        Self {
            access_token_lifetime: minutes(60),
            refresh_token_lifetime: Some(days(100)),
            rotation: Rotation::Strict,
            refused_client_status: 400,
            ..Self::vendor()
        }
    }

    /// HubSpot.
    ///
    /// Documented: access tokens live 30 min; nothing says that refresh tokens rotate. Not
    /// verified: ten logins in 10 s, and how their refusal looks.
    pub fn hubspot() -> Self {
        Self {
            access_token_lifetime: minutes(30),
            rotation: Rotation::None,
            refused_client_status: 400,
            login_limit: Some(LoginLimit {
                count: 10,
                per: Duration::from_secs(10),
                burst: 10,
                refusal: Refusal::TooManyRequests,
            }),
            ..Self::vendor()
        }
    }

    /// Okta with rotation.
    ///
    /// Documented: a leeway of 30 s unless another is set, after which reuse ends the family.
    /// Not verified: an hour's access token (5 min to 24 h by policy), seven days of an unused
    /// refresh token, and the size of the login bucket.
    pub fn okta() -> Self {
        Self {
            access_token_lifetime: minutes(60),
            refresh_token_lifetime: Some(days(7)),
            rotation: Rotation::NewPair { window: Duration::from_secs(30) },
            reuse: Reuse::RevokesFamily,
            login_limit: Some(LoginLimit {
                count: 600,
                per: minutes(1),
                burst: 600,
                refusal: Refusal::TooManyRequests,
            }),
            ..Self::vendor()
        }
    }

    /// Auth0 with rotation and no overlap, which is so until a tenant chooses one.
    ///
    /// Documented: a refused grant is 403, reuse ends the family, the throttle reads "Global limit
    /// has been reached". From an older text: 300 logins a minute on the free plan. Not verified:
    /// a day's access token (each API's own setting).
    pub fn auth0() -> Self {
        Self {
            access_token_lifetime: days(1),
            refused_grant_status: 403,
            rotation: Rotation::Strict,
            reuse: Reuse::RevokesFamily,
            login_limit: Some(LoginLimit {
                count: 300,
                per: minutes(1),
                burst: 300,
                refusal: Refusal::AccessDenied,
            }),
            ..Self::vendor()
        }
    }

    /// Microsoft Entra ID.
    ///
    /// Documented: each use gives a new refresh token and leaves the old one good; a throttled
    /// client gets 429, `Retry-After: 60` and plain text. Not verified: 75 min of an access token
    /// (60 to 90 are said), and at what rate the throttle sets in.
    pub fn entra() -> Self {
        Self {
            access_token_lifetime: minutes(75),
            refresh_token_lifetime: Some(days(90)),
            rotation: Rotation::NewPair { window: days(90) },
            login_limit: Some(LoginLimit {
                count: 10,
                per: Duration::from_secs(1),
                burst: 50,
                refusal: Refusal::PlainText,
            }),
            ..Self::vendor()
        }
    }
}
