//! Why a request is not done, as it is told to whoever asked.

use std::time::Duration;

use http::StatusCode;

/// An error in the shape of RFC 6749 §5.2, with its code once more in `Bellwether-Error`.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) description: String,
    pub(crate) code: &'static str,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) challenge: Option<&'static str>,
    /// The connection takes no further request.
    pub(crate) closes: bool,
}

impl Refusal {
    /// An error with this code on the wire and in `Bellwether-Error`.
    pub(crate) fn new(status: StatusCode, code: &'static str, description: &str) -> Self {
        Self {
            status,
            error: code.to_owned(),
            description: description.to_owned(),
            code,
            retry_after: None,
            challenge: None,
            closes: false,
        }
    }

    /// A request that breaks RFC 6749 §3.2.
    pub(crate) fn invalid_request(description: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// Nobody may know whether it exists.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here for this caller")
    }

    /// No key, or a wrong one.
    pub(crate) fn unauthorized() -> Self {
        let description = "show a key, or a token that was handed out here, as a bearer token";
        let mut refusal = Self::new(StatusCode::UNAUTHORIZED, "invalid_token", description);
        refusal.challenge = Some("Bearer");
        refusal
    }

    /// It came through something that was not named as a proxy.
    pub(crate) fn forwarded() -> Self {
        let description = "requests that came through a proxy are not answered here, unless its \
                           address is in [gateway] trusted_proxies";
        Self::new(StatusCode::FORBIDDEN, "forwarded_request", description)
    }

    /// The caller did not come to an end.
    pub(crate) fn too_slow() -> Self {
        let description = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", description)
    }

    /// The same, as the last answer of the connection.
    pub(crate) fn and_close(self) -> Self {
        Self { closes: true, ..self }
    }

    /// Waits to be tried again.
    pub(crate) fn unavailable(
        status: StatusCode,
        why: &str,
        retry_after: Option<Duration>,
    ) -> Self {
        let mut refusal = Self::new(status, "temporarily_unavailable", why);
        refusal.retry_after = Some(retry_after.unwrap_or(Duration::from_secs(1)));
        refusal
    }
}
