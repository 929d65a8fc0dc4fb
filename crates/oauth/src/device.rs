//! The device authorization grant (RFC 8628): for where no browser can come back to us.

use std::fmt;
use std::time::Duration;

use crate::body::{Body, Kind};
use crate::members::Value;
use crate::refusal::refusal;
use crate::remark::Remarks;
use crate::request::encode_for;
use crate::{Client, Details, EncodedRequest, Message, Scope, Secret, TokenError, TokenRequest};

/// How often one asks where the server does not say (RFC 8628 §3.2).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// What `slow_down` adds (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// A code without `expires_in`, and the longest that is believed.
const DEFAULT_LIFE: Duration = Duration::from_secs(15 * 60);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters of a user code: a person has to type it.
const MAX_USER_CODE: usize = 64;
const MAX_URI: usize = 2048;

/// What a device asks for (RFC 8628 §3.1).
#[derive(Clone, Copy, Debug)]
pub struct DeviceAuthorizationRequest<'a> {
    /// The scope; empty leaves it to the server.
    pub scope: &'a Scope,
    /// Further parameters.
    pub parameters: &'a [(String, String)],
}

impl DeviceAuthorizationRequest<'_> {
    /// The request as `client` sends it.
    pub fn encode(&self, client: &Client) -> EncodedRequest {
        let mut form = Vec::new();
        if !self.scope.is_empty() {
            form.push(("scope", self.scope.as_str()));
        }
        let further = self.parameters.iter().filter(|(name, _)| !TokenRequest::is_reserved(name));
        form.extend(further.map(|(name, value)| (name.as_str(), value.as_str())));
        encode_for(client, form)
    }
}

/// What the user is to do, and what the device asks about meanwhile (RFC 8628 §3.2).
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// For the token request.
    pub device_code: Secret,
    /// For the user to type.
    pub user_code: String,
    /// Where to type it: `https`, or `http` as far as the caller allows it.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// How long both codes live.
    pub expires_in: Duration,
    /// How long to wait between token requests.
    pub interval: Duration,
}

/// Shows neither code.
impl fmt::Debug for DeviceAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceAuthorization")
            .field("verification_uri", &self.verification_uri)
            .field("expires_in", &self.expires_in)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// Reads the answer of the device authorization endpoint.
///
/// # Errors
/// What the server said, or what is wrong with its answer.
pub fn read_device_authorization(message: &Message<'_>) -> Result<DeviceAuthorization, TokenError> {
    let mut remarks = Remarks::default();
    let body = Body::parse(message, &mut remarks);
    if !matches!(message.status, 200..=299) || body.is_error() {
        return Err(refusal(message, &body, &mut remarks));
    }
    let unusable =
        |why| TokenError::Unusable { why, details: Details::new(message.status, None, None, &[]) };
    if body.kind != Kind::Object || body.too_long {
        return Err(unusable("the body is no JSON object"));
    }
    let visible = |text: &&str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let device_code = body.text("device_code").filter(visible);
    let device_code = device_code.ok_or_else(|| unusable("device_code is missing or odd"))?;
    let user_code = body.text("user_code").filter(|code| code.chars().count() <= MAX_USER_CODE);
    // It is shown on a terminal.
    let user_code = user_code.filter(|code| !code.chars().any(char::is_control));
    let user_code = user_code.ok_or_else(|| unusable("user_code is missing or odd"))?;
    let uri = |name: &str| {
        let text = body.text(name)?;
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
        let web = text.starts_with("https://") || text.starts_with("http://");
        (graphic && web && text.len() <= MAX_URI).then(|| text.to_owned())
    };
    // Google's name for it is older than the RFC.
    let verification_uri = uri("verification_uri").or_else(|| uri("verification_url"));
    Ok(DeviceAuthorization {
        device_code: Secret::from(device_code),
        user_code: user_code.to_owned(),
        verification_uri: verification_uri
            .ok_or_else(|| unusable("verification_uri is missing or odd"))?,
        verification_uri_complete: uri("verification_uri_complete"),
        expires_in: seconds(&body, "expires_in").unwrap_or(DEFAULT_LIFE).min(LONGEST_LIFE),
        interval: seconds(&body, "interval").unwrap_or(DEFAULT_INTERVAL).min(LONGEST_INTERVAL),
    })
}

fn seconds(body: &Body<'_>, name: &str) -> Option<Duration> {
    let number = body.last(name, |value| match value {
        Value::Number(spelled) => spelled.parse::<f64>().ok(),
        Value::Text(text) => text.trim().parse::<f64>().ok(),
        Value::Null | Value::Boolean(_) | Value::List(_) | Value::Object(_) | Value::Other => None,
    })?;
    Duration::try_from_secs_f64(number.trunc()).ok().filter(|time| !time.is_zero())
}

/// When to ask again whether the user has decided (RFC 8628 §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polling {
    interval: Duration,
    left: Duration,
}

/// What follows from an answer without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Ask again after this long.
    Again(Duration),
    /// The user refused.
    Denied,
    /// The code's life is over.
    Expired,
    /// The error is final.
    Failed,
}

impl Polling {
    /// For a code that has just come. The first wait is [`interval`](Self::interval).
    pub fn new(authorization: &DeviceAuthorization) -> Self {
        Self { interval: authorization.interval, left: authorization.expires_in }
    }

    /// The wait that is due now.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// After `waited`, the server gave no token but this; `None` if it could not be reached, which
    /// halves the rate.
    pub fn after(&mut self, waited: Duration, error: Option<&TokenError>) -> Poll {
        self.left = self.left.saturating_sub(waited);
        match error.map(|error| (error, error.code())) {
            Some((_, Some("authorization_pending"))) => {}
            Some((_, Some("slow_down"))) => self.interval += SLOWER,
            Some((_, Some("access_denied"))) => return Poll::Denied,
            Some((_, Some("expired_token"))) => return Poll::Expired,
            Some((TokenError::Throttled { .. }, _)) => self.interval += SLOWER,
            None | Some((TokenError::Unavailable { .. }, _)) => self.interval *= 2,
            Some(_) => return Poll::Failed,
        }
        self.interval = self.interval.min(LONGEST_INTERVAL);
        if self.left < self.interval { Poll::Expired } else { Poll::Again(self.interval) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientAuthentication;

    fn message(status: u16, body: &str) -> Message<'_> {
        Message {
            status,
            content_type: Some("application/json"),
            body: body.as_bytes(),
            ..Message::default()
        }
    }

    const GOOD: &str = r#"{"device_code":"d/1","user_code":"WDJB-MJHT",
        "verification_uri":"https://example.com/device",
        "verification_uri_complete":"https://example.com/device?user_code=WDJB-MJHT",
        "expires_in":1800,"interval":7}"#;

    #[test]
    fn the_answer_of_the_rfc() {
        let read = read_device_authorization(&message(200, GOOD)).unwrap();
        assert_eq!(read.device_code, "d/1".into());
        assert_eq!(read.user_code, "WDJB-MJHT");
        assert_eq!(read.verification_uri, "https://example.com/device");
        assert!(read.verification_uri_complete.is_some());
        assert_eq!((read.expires_in.as_secs(), read.interval.as_secs()), (1800, 7));
        let shown = format!("{read:?}");
        assert!(!shown.contains("WDJB") && !shown.contains("d/1"), "{shown}");
    }

    #[test]
    fn what_is_left_out_has_a_default_and_what_cannot_be_shown_is_refused() {
        let least = r#"{"device_code":"d","user_code":"u","verification_url":"https://a.test"}"#;
        let read = read_device_authorization(&message(200, least)).unwrap();
        assert_eq!((read.expires_in, read.interval), (DEFAULT_LIFE, DEFAULT_INTERVAL));
        #[rustfmt::skip]
        let bad = [
            (200, r#"{"user_code":"u","verification_uri":"https://a.test"}"#),
            (200, r#"{"device_code":"d","verification_uri":"https://a.test"}"#),
            (200, r#"{"device_code":"d","user_code":"u"}"#),
            (200, r#"{"device_code":"d","user_code":"\u001b[2J","verification_uri":"https://a.test"}"#),
            (200, r#"{"device_code":"d","user_code":"u","verification_uri":"javascript:alert(1)"}"#),
            (200, r#"{"device_code":"d","user_code":"u","verification_uri":"https://a.test/\u001b[2J"}"#),
            (200, "<html>"),
            (200, ""),
            (404, ""),
            (400, r#"{"error":"invalid_scope"}"#),
        ];
        for (status, body) in bad {
            assert!(read_device_authorization(&message(status, body)).is_err(), "{body}");
        }
    }

    #[test]
    fn the_client_says_who_it_is_in_one_place() {
        let scope = Scope::parse("a").unwrap();
        let request = DeviceAuthorizationRequest { scope: &scope, parameters: &[] };
        let client = |authentication| Client { id: "c".to_owned(), authentication };
        let encoded = request.encode(&client(ClientAuthentication::None));
        assert_eq!(encoded.body.expose(), "scope=a&client_id=c");
        let encoded = request.encode(&client(ClientAuthentication::Basic("s".into())));
        assert_eq!((encoded.body.expose(), encoded.authorization.is_some()), ("scope=a", true));
    }

    #[test]
    fn polling_goes_slower_when_told_and_ends_when_it_must() {
        let secs = Duration::from_secs;
        let authorization = DeviceAuthorization {
            expires_in: secs(100),
            ..read_device_authorization(&message(200, GOOD)).unwrap()
        };
        let error = |code: &str| {
            let body = format!(r#"{{"error":"{code}"}}"#);
            crate::read(&message(400, &body)).outcome.unwrap_err()
        };
        let mut polling = Polling::new(&authorization);
        assert_eq!(polling.interval(), secs(7));
        let steps = [
            (Some(error("authorization_pending")), Poll::Again(secs(7))),
            (Some(error("slow_down")), Poll::Again(secs(12))),
            (Some(error("authorization_pending")), Poll::Again(secs(12))),
            (None, Poll::Again(secs(24))),
            (Some(error("temporarily_unavailable")), Poll::Again(secs(48))),
        ];
        for (error, expected) in steps {
            assert_eq!(polling.after(secs(1), error.as_ref()), expected, "{error:?}");
        }
        assert_eq!(polling.after(secs(60), Some(&error("authorization_pending"))), Poll::Expired);
        let ends = [
            ("access_denied", Poll::Denied),
            ("expired_token", Poll::Expired),
            ("invalid_grant", Poll::Failed),
            ("invalid_client", Poll::Failed),
        ];
        for (code, expected) in ends {
            let mut polling = Polling::new(&authorization);
            assert_eq!(polling.after(secs(1), Some(&error(code))), expected, "{code}");
        }
    }
}
