//! The resource server, `/api/…`: takes live tokens, each within its limit.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};

use crate::access_token::Standing;
use crate::client::ClientNumber;
use crate::ledger::Verdict;
use crate::message::{Request, Response};
use crate::organisation::{Organisation, Processed, retry_after_seconds};
use crate::profile::UnauthorizedCode;
use crate::token_text::Kind;

/// What the API thinks of a request with a token, before it has words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Accepted,
    /// Until the token may be used again.
    RateLimited(Duration),
    Expired,
    Evicted,
    Revoked,
    NotYetKnown,
    Unknown,
}

impl Judgement {
    pub(crate) const fn verdict(self) -> Verdict {
        match self {
            Self::Accepted => Verdict::Accepted,
            Self::RateLimited(_) => Verdict::RateLimited,
            Self::Expired => Verdict::Expired,
            Self::Evicted => Verdict::Evicted,
            Self::Revoked => Verdict::Revoked,
            Self::NotYetKnown => Verdict::NotYetKnown,
            Self::Unknown => Verdict::Unknown,
        }
    }
}

impl Organisation {
    /// Counts a request against its token's limit. The one place that knows what a token is good
    /// for, whether it came as a text or as a number; and whose it is, if anybody's.
    pub(crate) fn judge(
        &mut self,
        now: Timestamp,
        wall: UnixTime,
        serial: u64,
    ) -> (Judgement, Option<ClientNumber>) {
        let propagation = self.profile.propagation;
        let limit = self.profile.api_limit;
        let Some(token) = self.access_tokens.get(serial) else {
            return (Judgement::Unknown, None);
        };
        let judgement = match token.standing(now) {
            Standing::Expired => Judgement::Expired,
            Standing::Evicted => Judgement::Evicted,
            Standing::Revoked => Judgement::Revoked,
            Standing::Unknown => Judgement::Unknown,
            Standing::Live if now < token.issued_at + propagation => Judgement::NotYetKnown,
            Standing::Live => {
                let taken = limit.map_or(Ok(()), |limit| token.spent.take(&limit, now, wall));
                taken.map_or_else(Judgement::RateLimited, |()| Judgement::Accepted)
            }
        };
        (judgement, Some(token.client))
    }

    pub(crate) fn api(&mut self, now: Timestamp, wall: UnixTime, request: &Request) -> Processed {
        let Some(token) = bearer(request) else {
            let response = self.unauthorized(UnauthorizedCode::AuthenticationRequired);
            return Processed::new(Verdict::NoToken, response);
        };
        let codes = self.profile.unauthorized;
        let Some(serial) = self.text.read(Kind::Access, token) else {
            return Processed::new(Verdict::Unknown, self.unauthorized(codes.unknown));
        };
        let (judgement, client) = self.judge(now, wall, serial);
        let response = match judgement {
            Judgement::Accepted => None,
            Judgement::RateLimited(remaining) => {
                Some(self.too_many_requests(retry_after_seconds(remaining)))
            }
            Judgement::Expired => Some(self.unauthorized(codes.expired)),
            Judgement::Evicted => Some(self.unauthorized(codes.evicted)),
            Judgement::Revoked => Some(self.unauthorized(codes.revoked)),
            Judgement::NotYetKnown | Judgement::Unknown => Some(self.unauthorized(codes.unknown)),
        };
        let processed = match response {
            Some(response) => Processed::new(judgement.verdict(), response),
            None => self.accept(now, wall, serial, request),
        };
        match client {
            Some(client) => processed.by(client).showing(serial),
            None => processed,
        }
    }

    fn accept(
        &mut self,
        now: Timestamp,
        wall: UnixTime,
        serial: u64,
        request: &Request,
    ) -> Processed {
        let lineage = self.access_tokens.get(serial).and_then(|token| token.refresh);
        if let Some(presented) = lineage.and_then(|lineage| lineage.presented) {
            self.refresh_tokens.acknowledge(presented);
        }
        let path = request.path_only();
        if (request.method.as_str(), path) == ("DELETE", "/api/v2/tokens/me") {
            self.access_tokens.revoke(now, serial);
            return Processed::new(Verdict::Revoking, Response::json(200, b"{}".to_vec()));
        }
        let path = serde_json::Value::from(path);
        let body = format!(r#"{{"path":{path},"sampled_at_ms":{}}}"#, wall.as_millis());
        let response = Response::json(200, body.into_bytes());
        let response = response.header("ININ-Correlation-Id", &self.correlation_id());
        Processed::new(Verdict::Accepted, response)
    }

    pub(crate) fn unauthorized(&mut self, code: UnauthorizedCode) -> Response {
        let (code, message) = code.code_and_message();
        self.api_error(401, code, message)
    }

    /// The vendor's 429, its texts and the order of its members included.
    fn too_many_requests(&mut self, seconds: u64) -> Response {
        let message =
            format!("Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds");
        self.api_error(429, "too.many.requests.retry.after", &message)
            .header("Retry-After", &seconds.to_string())
    }

    fn api_error(&mut self, status: u16, code: &str, message: &str) -> Response {
        let id = self.correlation_id();
        let body = format!(
            concat!(
                r#"{{"message":"{}","code":"{}","status":{},"#,
                r#""contextId":"{}","details":[],"errors":[]}}"#
            ),
            message, code, status, id
        );
        Response::json(status, body.into_bytes()).header("ININ-Correlation-Id", &id)
    }

    fn correlation_id(&mut self) -> String {
        let (high, low) = (self.identifiers.bits(), self.identifiers.bits());
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xffff);
        format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header_value("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
