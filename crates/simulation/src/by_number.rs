//! The same organisation asked by number: no texts, no forms, no headers.
//!
//! A rehearsal asks a hundred million times. Here a client is its number and an access token its
//! serial number, and an answer is what its status and headers would have said. Limits, cap,
//! faults and latencies are those of [`Organisation::handle`], drawn in the same order.

use std::time::Duration;

use bellwether_lifecycle::{Timestamp, UnixTime};

use crate::client::ClientNumber;
use crate::fault::{Effect, Hit};
use crate::ledger::{Endpoint, Grant, Verdict};
use crate::organisation::{Organisation, retry_after_seconds};
use crate::resource_server::Judgement;
use crate::token_endpoint::Throttled;

/// An answer without words, and how long the caller waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<T> {
    /// From the request's arrival to the answer.
    pub after: Duration,
    /// The answer.
    pub outcome: ReplyOutcome<T>,
}

/// What the caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyOutcome<T> {
    /// What it asked for.
    Done(T),
    /// A refusal.
    Refused {
        /// The status code.
        status: u16,
        /// `Retry-After`, in whole seconds.
        retry_after: Option<Duration>,
        /// There were too many requests, whatever the status says.
        throttled: bool,
    },
    /// The connection closed, or what came is no whole answer.
    Broken,
    /// Nothing, for as long as the caller waits.
    Silence,
}

/// A token response (RFC 6749 §5.1) without words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The access token's serial number.
    pub serial: u64,
    /// `expires_in`.
    pub expires_in: Option<Duration>,
}

impl Organisation {
    /// A registered client's number.
    pub fn client_number(&self, client_id: &str) -> Option<usize> {
        self.clients.find(client_id)
    }

    /// A token request of this client with the grant `client_credentials` that arrives `now`.
    pub fn log_in(
        &mut self,
        now: Timestamp,
        wall: UnixTime,
        client: ClientNumber,
    ) -> Reply<Granted> {
        let latency = self.profile.token_latency.draw(&mut self.chance);
        let hit = self.faults.hit(now, Endpoint::Token);
        let mut verdict = Verdict::Unprocessed;
        let mut outcome = ReplyOutcome::Broken;
        if hit.processes() {
            (verdict, outcome) = match self.limit_logins(now, wall, client) {
                Ok(()) => {
                    let issue = self.client_credentials(now, client);
                    let expires_in = self.expires_in(now, issue.access).map(Duration::from_secs);
                    (
                        issue.verdict,
                        ReplyOutcome::Done(Granted { serial: issue.access, expires_in }),
                    )
                }
                Err(throttled) => (Verdict::Throttled, refused_login(throttled)),
            };
        }
        self.reply(
            (Endpoint::Token, Some(Grant::ClientCredentials)),
            verdict,
            latency,
            &hit,
            outcome,
        )
    }

    /// An API request with this access token that arrives `now`.
    pub fn call(&mut self, now: Timestamp, wall: UnixTime, serial: u64) -> Reply<()> {
        let latency = self.profile.api_latency.draw(&mut self.chance);
        let hit = self.faults.hit(now, Endpoint::Api);
        let mut verdict = Verdict::Unprocessed;
        let mut outcome = ReplyOutcome::Broken;
        if hit.processes() {
            let (judgement, _) = self.judge(now, wall, serial);
            verdict = judgement.verdict();
            outcome = match judgement {
                Judgement::Accepted => ReplyOutcome::Done(()),
                Judgement::RateLimited(remaining) => {
                    let seconds = retry_after_seconds(remaining);
                    let retry_after = Some(Duration::from_secs(seconds));
                    ReplyOutcome::Refused { status: 429, retry_after, throttled: true }
                }
                Judgement::Expired
                | Judgement::Evicted
                | Judgement::Revoked
                | Judgement::NotYetKnown
                | Judgement::Unknown => unauthorized(),
            };
        }
        self.reply((Endpoint::Api, None), verdict, latency, &hit, outcome)
    }

    fn reply<T>(
        &mut self,
        (endpoint, grant): (Endpoint, Option<Grant>),
        verdict: Verdict,
        latency: Duration,
        hit: &Hit,
        outcome: ReplyOutcome<T>,
    ) -> Reply<T> {
        let outcome = match &hit.effect {
            None | Some(Effect::Latency(_)) => outcome,
            Some(effect) => faulty(effect, outcome),
        };
        let status = match &outcome {
            ReplyOutcome::Done(_) => Some(200),
            ReplyOutcome::Refused { status, .. } => Some(*status),
            ReplyOutcome::Broken | ReplyOutcome::Silence => None,
        };
        self.ledger.count(endpoint, grant, verdict, status);
        Reply { after: latency + hit.delay, outcome }
    }
}

const fn unauthorized<T>() -> ReplyOutcome<T> {
    ReplyOutcome::Refused { status: 401, retry_after: None, throttled: false }
}

fn refused_login<T>(throttled: Throttled) -> ReplyOutcome<T> {
    match throttled {
        Throttled::MinuteMark => unauthorized(),
        Throttled::Limit { refusal, remaining } => {
            let retry_after = refusal.retry_after_seconds(remaining).map(Duration::from_secs);
            ReplyOutcome::Refused { status: refusal.status(), retry_after, throttled: true }
        }
    }
}

/// What a fault leaves of an answer. One that answers 200 answers nothing that is of use.
fn faulty<T>(effect: &Effect, outcome: ReplyOutcome<T>) -> ReplyOutcome<T> {
    match effect {
        Effect::Latency(_) => outcome,
        Effect::Answer { status, retry_after, .. } => {
            let seconds = retry_after.as_ref().and_then(|text| text.trim().parse().ok());
            ReplyOutcome::Refused {
                status: *status,
                retry_after: seconds.map(Duration::from_secs),
                throttled: *status == 429,
            }
        }
        Effect::AlwaysUnauthorized => unauthorized(),
        Effect::LostAnswer | Effect::Close | Effect::BreakOff { .. } => ReplyOutcome::Broken,
        Effect::Stall { .. } => ReplyOutcome::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;
    use crate::client::Client;
    use crate::fault::Fault;
    use crate::message::{Outcome, Request};
    use crate::profile::Profile;

    /// The same requests to both doors: the same answers, latencies and counts.
    #[test]
    fn both_doors_of_an_organisation_answer_alike() {
        for (profile, seed) in
            [(Profile::genesys(), 3), (Profile::as_reported(), 4), (Profile::demo(), 5)]
        {
            let profile = profile.client(Client::new("app", "secret"));
            let mut texts = Organisation::new(profile.clone(), seed);
            let mut numbers = Organisation::new(profile, seed);
            for organisation in [&mut texts, &mut numbers] {
                organisation.add_fault(Fault {
                    from: Timestamp::from_secs(400),
                    until: Timestamp::from_secs(410),
                    endpoint: Endpoint::Token,
                    effect: Effect::status(503),
                    times: None,
                });
            }
            let (mut chance, mut now) = (Chance::new(seed), Timestamp::from_secs(1));
            let mut held: Vec<(String, u64)> = Vec::new();
            for _ in 0..200_000 {
                now += Duration::from_millis(chance.below(15));
                let wall = UnixTime::from_millis(now.as_nanos() / 1_000_000);
                if held.is_empty() || chance.below(100) == 0 {
                    let login = Request::client_credentials("app", "secret");
                    let (text, number) =
                        (texts.handle(now, wall, &login), numbers.log_in(now, wall, 0));
                    assert_eq!(text.after, number.after);
                    let response = text.outcome.response().expect("no connection is cut here");
                    match number.outcome {
                        ReplyOutcome::Done(granted) => {
                            held.push((response.text("access_token"), granted.serial));
                        }
                        ReplyOutcome::Refused { status, .. } => assert_eq!(status, response.status),
                        ReplyOutcome::Broken | ReplyOutcome::Silence => unreachable!("none here"),
                    }
                    continue;
                }
                let newest = chance.below(60.min(held.len() as u64)) as usize;
                let (text, serial) = &held[held.len() - 1 - newest];
                let text = texts.handle(now, wall, &Request::get("/api/v2/users/1", text));
                let number = numbers.call(now, wall, *serial);
                assert_eq!(text.after, number.after);
                let Outcome::Respond(response) = text.outcome else { unreachable!("none here") };
                let told = response.header_value("retry-after").and_then(|text| text.parse().ok());
                let expected = match response.status {
                    200 => ReplyOutcome::Done(()),
                    status => ReplyOutcome::Refused {
                        status,
                        retry_after: told.map(Duration::from_secs),
                        throttled: status == 429,
                    },
                };
                assert_eq!(number.outcome, expected);
            }
            assert_eq!(texts.totals(now), numbers.totals(now));
            assert!(texts.totals(now).status_429 + texts.totals(now).status_401 > 100);
        }
    }
}
