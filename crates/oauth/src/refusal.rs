//! What kind of error an answer without a token is.
//!
//! In this order: a redirect; too many requests, in whatever disguise; a server that is broken or
//! overloaded, whatever its body says; a code; words where there is no code; and last the status
//! alone. A 403 without a code comes from something in front of the server (a firewall's page) and
//! may pass; so may an error that was cut short before its code. Other 4xx without a code mean that
//! this is not the place to ask.
//!
//! What stops a credential for good must be said by the server itself: a page that happens to hold
//! the words can make us wait, never give up.

use zeroize::Zeroizing;

use crate::body::{Body, Kind};
use crate::clean::is_code;
use crate::remark::Remarks;
use crate::{Details, Message, Remark, TokenError, retry_after};

/// Bytes of a text that are searched for words.
const MAX_SEARCH: usize = 4096;

/// The members that vendors put their words in, the RFC's first.
const DESCRIPTIONS: [&str; 10] = [
    "error_description",
    "description",
    "message",
    "error_message",
    "errorSummary",
    "errorMessage",
    "detail",
    "Message",
    "title",
    "reason",
];

/// "Too many requests" as vendors write it, in lower case and with spaces for underscores.
const THROTTLED: [&str; 13] = [
    "rate limit",
    "ratelimit",
    "too many requests",
    "toomanyrequests",
    "limit has been reached",
    "login rate exceeded",
    "rate exceeded",
    "request limit exceeded",
    "throttl",
    "slow down",
    // Okta.
    "e0000047",
    // Entra: a client that asks in a loop.
    "aadsts50196",
    "client request loop",
];

pub(crate) fn refusal(message: &Message<'_>, body: &Body<'_>, remarks: &mut Remarks) -> TokenError {
    let said = Said::new(message, body);
    let secrets = body.known_secrets(message);
    let details = Details::new(message.status, said.code, said.description, &secrets);
    if said.code.is_some() && details.code().is_none() {
        remarks.add(Remark::CodeUnreadable);
    }
    let retry_after = retry_after(message.retry_after, message.date, message.wall);
    let status = message.status;

    if matches!(status, 300..=399) {
        if !message.location {
            remarks.add(Remark::RedirectToNowhere);
        }
        return TokenError::Redirected { details };
    }
    let may_disguise = matches!(status, 200..=299 | 400..=403 | 409 | 422);
    if status == 429 || (may_disguise && said.has_any(&THROTTLED)) {
        return TokenError::Throttled { retry_after, details };
    }
    if !matches!(status, 200..=499) || matches!(status, 408 | 425) {
        return TokenError::Unavailable { retry_after, details };
    }
    match said.code.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "invalid_client" | "invalid_client_id" => return TokenError::InvalidClient { details },
        "invalid_grant" | "invalid_code" | "expired_token" => {
            return TokenError::InvalidGrant { details };
        }
        "unauthorized_client" => return TokenError::UnauthorizedClient { details },
        "invalid_scope" => return TokenError::InvalidScope { details },
        "unsupported_grant_type" => return TokenError::UnsupportedGrantType { details },
        "invalid_request" => return TokenError::InvalidRequest { details },
        "access_denied" => return TokenError::AccessDenied { details },
        "interaction_required" | "login_required" | "consent_required" => {
            return TokenError::InteractionRequired { details };
        }
        "server_error" | "temporarily_unavailable" => {
            return TokenError::Unavailable { retry_after, details };
        }
        _ => {}
    }
    if !said.is_page && said.refuses_refresh_token() {
        return TokenError::InvalidGrant { details };
    }
    match (status, said.code) {
        (_, None) if message.truncated => TokenError::Unavailable { retry_after, details },
        (401, _) => TokenError::InvalidClient { details },
        // Conflict, misdirected, locked, and a proxy whose client went away.
        (403 | 409 | 421 | 423 | 499, None) => TokenError::Unavailable { retry_after, details },
        _ => TokenError::OtherCode { details },
    }
}

/// What the server said, as it said it: for decisions, and to be cleaned.
struct Said<'a> {
    code: Option<&'a str>,
    description: Option<&'a str>,
    /// Whether it came without parameters, as a page or as plain words.
    is_page: bool,
    /// Everything said, in lower case and with spaces for underscores.
    words: Zeroizing<String>,
}

impl<'a> Said<'a> {
    fn new(message: &Message<'a>, body: &'a Body<'_>) -> Self {
        let error = body.text("error");
        let challenge = message.www_authenticate.unwrap_or_default();
        let code = [
            error.filter(|error| is_code(error.trim())),
            body.nested_text("error", "code"),
            body.nested_text("error", "type"),
            body.nested_text("error", "status"),
            body.text("code"),
            body.text("errorCode"),
            body.text("error_code"),
            parameter(challenge, "error"),
        ]
        .into_iter()
        .flatten()
        .next();
        let description = DESCRIPTIONS
            .iter()
            .map(|name| body.text(name))
            .chain([
                body.nested_text("error", "message"),
                error.filter(|error| Some(*error) != code),
                parameter(challenge, "error_description"),
                (body.kind == Kind::Other).then(|| body.plain()),
            ])
            .flatten()
            .find(|text| !text.trim().is_empty());
        // A page is searched for words but never repeated.
        let is_page = matches!(body.kind, Kind::Markup | Kind::Other);
        let page = is_page.then(|| body.plain());
        let texts = [code, error, description, body.text("message"), body.text("status"), page];
        let mut words = Zeroizing::new(String::with_capacity(texts.len() * (MAX_SEARCH + 1)));
        for text in texts.into_iter().flatten() {
            let end = text.floor_char_boundary(MAX_SEARCH);
            for character in text[..end].chars() {
                words.push(match character {
                    '_' | '-' | '\n' | '\r' | '\t' => ' ',
                    _ => character.to_ascii_lowercase(),
                });
            }
            words.push('\n');
        }
        Self { code, description, is_page, words }
    }

    fn has_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.words.contains(phrase))
    }

    /// "The refresh token is invalid or expired" under a code that no RFC knows.
    fn refuses_refresh_token(&self) -> bool {
        self.has_any(&["refresh token", "refreshtoken"])
            && !self.has_any(&["grant type"])
            && self.has_any(&[
                "invalid",
                "expired",
                "revoked",
                "unknown",
                "not found",
                "already used",
                "reused",
            ])
    }
}

/// The quoted parameter `name` of a challenge (RFC 9110 §11.6.1).
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    challenge.match_indices(name).find_map(|(at, _)| {
        let begins = challenge[..at].ends_with([' ', ',', '\t']);
        let quoted = challenge[at + name.len()..].trim_start().strip_prefix('=')?.trim_start();
        let value = quoted.strip_prefix('"')?.split('"').next()?;
        (begins && !value.is_empty()).then_some(value)
    })
}
