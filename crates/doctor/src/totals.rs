//! What was counted.

use serde::Serialize;

use crate::findings::Examples;
use crate::moment::Moment;
use crate::observation::Observation;

/// Counts over everything that was read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Lines, or entries where a format has no lines.
    pub lines: u64,
    /// Requests.
    pub requests: u64,
    /// Those to a token endpoint.
    pub token_requests: u64,
    /// Those of them that gave no token.
    pub token_failures: u64,
    /// Answers with 401.
    pub status_401: u64,
    /// Answers with 403.
    pub status_403: u64,
    /// Answers with 429.
    pub status_429: u64,
    /// Answers with 500 and above.
    pub status_5xx: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Threads or addresses.
    pub callers: u64,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// When the first request was answered.
    #[serde(serialize_with = "written")]
    pub first: Option<Moment>,
    /// When the last was.
    #[serde(serialize_with = "written")]
    pub last: Option<Moment>,
    /// Milliseconds that an access token lives, if an answer said so.
    pub lifetime_ms: Option<i64>,
    #[serde(skip)]
    pub(crate) examples_401: Examples,
}

fn written<S: serde::Serializer>(
    moment: &Option<Moment>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    moment.map(|moment| moment.to_string()).serialize(serializer)
}

impl Totals {
    pub(crate) fn observe(&mut self, seen: &Observation) {
        self.requests += 1;
        let at = seen.done_at;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        if seen.is_token_request() {
            self.token_requests += 1;
            self.token_failures += u64::from(!seen.succeeded());
        }
        match seen.status {
            Some(401) => {
                self.status_401 += 1;
                self.examples_401.note(seen, || "unauthorized".to_owned());
            }
            Some(403) => self.status_403 += 1,
            Some(429) => self.status_429 += 1,
            Some(500..) => self.status_5xx += 1,
            None => self.unanswered += 1,
            Some(_) => {}
        }
    }
}
