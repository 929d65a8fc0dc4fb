//! Faults by script: which endpoint fails, when, and how it looks from outside.

use std::fmt;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;

use crate::ledger::Endpoint;
use crate::message::{Outcome, Response};

/// A fault of one endpoint from one instant to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
    /// Who fails.
    pub endpoint: Endpoint,
    /// How.
    pub effect: Effect,
    /// How many requests it still meets. `None` is all of them.
    pub times: Option<u32>,
}

impl Fault {
    /// A fault that stays until it is taken back.
    pub const fn lasting(endpoint: Endpoint, effect: Effect) -> Self {
        let (from, until) = (Timestamp::ZERO, Timestamp::NEVER);
        Self { from, until, endpoint, effect, times: None }
    }

    /// A fault of the next `times` requests.
    pub const fn next(times: u32, endpoint: Endpoint, effect: Effect) -> Self {
        let (from, until) = (Timestamp::ZERO, Timestamp::NEVER);
        Self { from, until, endpoint, effect, times: Some(times) }
    }
}

/// What a fault does to a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Effect {
    /// Answers this instead.
    Answer {
        /// The status code; 200 with a useless body is a fault too.
        status: u16,
        /// The header `Retry-After`: seconds, a date, or nonsense.
        retry_after: Option<String>,
        /// The header `Content-Type`.
        content_type: String,
        /// The body.
        body: Vec<u8>,
        /// Whether the request was processed all the same.
        processed: bool,
    },
    /// Processes the request and closes the connection without an answer.
    LostAnswer,
    /// Closes the connection; nothing was processed.
    Close,
    /// Keeps the connection open and says nothing.
    Stall {
        /// Whether the request was processed all the same.
        processed: bool,
    },
    /// Processes the request and breaks off after so many bytes of the body.
    BreakOff {
        /// Bytes that arrive.
        after_bytes: usize,
    },
    /// Adds to the latency; other faults still apply.
    Latency(Duration),
    /// 401, however good the token or the client is.
    AlwaysUnauthorized,
}

impl Effect {
    /// Answers `status` with a small JSON body; the request was not processed.
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            content_type: "application/json".to_owned(),
            body: format!(r#"{{"status":{status}}}"#).into_bytes(),
            processed: false,
        }
    }

    const fn processes(&self) -> bool {
        match self {
            Self::Answer { processed, .. } | Self::Stall { processed } => *processed,
            Self::LostAnswer | Self::BreakOff { .. } | Self::Latency(_) => true,
            Self::Close | Self::AlwaysUnauthorized => false,
        }
    }
}

impl fmt::Debug for Effect {
    /// Without the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { status, processed, .. } => {
                write!(f, "Answer({status}, processed: {processed})")
            }
            Self::LostAnswer => f.write_str("LostAnswer"),
            Self::Close => f.write_str("Close"),
            Self::Stall { processed } => write!(f, "Stall(processed: {processed})"),
            Self::BreakOff { after_bytes } => write!(f, "BreakOff({after_bytes})"),
            Self::Latency(latency) => write!(f, "Latency({latency:?})"),
            Self::AlwaysUnauthorized => f.write_str("AlwaysUnauthorized"),
        }
    }
}

/// The script, and how much of it is used up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

/// What the script does to one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hit {
    pub(crate) delay: Duration,
    pub(crate) effect: Option<Effect>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Delays add up; of the other effects the first in the script applies.
    pub(crate) fn hit(&mut self, now: Timestamp, endpoint: Endpoint) -> Hit {
        let mut hit = Hit::default();
        if self.0.is_empty() {
            return hit;
        }
        self.0.retain(|fault| now < fault.until && fault.times != Some(0));
        for fault in &mut self.0 {
            if fault.endpoint != endpoint || now < fault.from {
                continue;
            }
            if let Effect::Latency(latency) = fault.effect {
                hit.delay += latency;
            } else if hit.effect.is_none() {
                hit.effect = Some(fault.effect.clone());
            } else {
                continue;
            }
            fault.times = fault.times.map(|times| times - 1);
        }
        hit
    }
}

impl Hit {
    /// Whether the organisation processes the request.
    pub(crate) fn processes(&self) -> bool {
        self.effect.as_ref().is_none_or(Effect::processes)
    }

    /// What the caller sees instead of `response`.
    pub(crate) fn shape(self, response: Response) -> Outcome {
        match self.effect {
            None | Some(Effect::Latency(_) | Effect::AlwaysUnauthorized) => {
                Outcome::Respond(response)
            }
            Some(Effect::Answer { status, retry_after, content_type, body, .. }) => {
                let mut response = Response { status, headers: Vec::new(), body };
                if !content_type.is_empty() {
                    response = response.header("content-type", &content_type);
                }
                if let Some(retry_after) = retry_after {
                    response = response.header("retry-after", &retry_after);
                }
                Outcome::Respond(response)
            }
            Some(Effect::LostAnswer | Effect::Close) => Outcome::CloseWithoutAnswer,
            Some(Effect::Stall { .. }) => Outcome::Stall,
            Some(Effect::BreakOff { after_bytes }) => Outcome::BreakOff { response, after_bytes },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_applies_in_its_time_at_its_endpoint_so_many_times() {
        let mut faults = Faults::default();
        let latency = Effect::Latency(Duration::from_secs(2));
        let during = |from, until, effect| Fault {
            from: Timestamp::from_secs(from),
            until: Timestamp::from_secs(until),
            ..Fault::lasting(Endpoint::Token, effect)
        };
        faults.add(during(10, 20, latency));
        faults.add(during(15, 30, Effect::Close));
        faults.add(Fault::next(2, Endpoint::Token, Effect::LostAnswer));
        #[rustfmt::skip]
        let story = [
            // second, endpoint,    delay, effect
            (0,  Endpoint::Api,     0, None),
            (0,  Endpoint::Token,   0, Some(Effect::LostAnswer)),
            (15, Endpoint::Token,   2, Some(Effect::Close)),
            (20, Endpoint::Token,   0, Some(Effect::Close)),
            (30, Endpoint::Token,   0, Some(Effect::LostAnswer)),
            (31, Endpoint::Token,   0, None),
        ];
        for (second, endpoint, delay, effect) in story {
            let hit = faults.hit(Timestamp::from_secs(second), endpoint);
            assert_eq!((hit.delay.as_secs(), hit.effect), (delay, effect), "second {second}");
        }
    }
}
