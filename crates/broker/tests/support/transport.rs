//! The way to the simulated organisation: latencies are virtual sleeps, faults look as on a wire.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellwether_broker::oauth::Secret;
use bellwether_broker::store::Clock;
use bellwether_broker::{Answering, Outgoing, Received, Transport, TransportError};
use bellwether_simulation::{Organisation, Outcome, Request, Response};
use tokio::time::sleep;

use super::VirtualClock;

/// As long as the real transport waits for an answer.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Carries requests to an organisation in the same process.
pub struct SimulatedTransport {
    organisation: Arc<Mutex<Organisation>>,
    clock: Arc<VirtualClock>,
    panics: AtomicU32,
    unreachable: AtomicBool,
}

impl SimulatedTransport {
    pub fn new(organisation: &Arc<Mutex<Organisation>>, clock: &Arc<VirtualClock>) -> Self {
        Self {
            organisation: Arc::clone(organisation),
            clock: Arc::clone(clock),
            panics: AtomicU32::new(0),
            unreachable: AtomicBool::new(false),
        }
    }

    /// The next `times` requests panic instead of being sent.
    pub fn panic_next(&self, times: u32) {
        self.panics.store(times, Ordering::Relaxed);
    }

    /// Nothing can connect, or everything can again.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.unreachable.store(unreachable, Ordering::Relaxed);
    }

    async fn answer(&self, outgoing: Outgoing) -> Result<Received, TransportError> {
        let less = |left: u32| left.checked_sub(1);
        if self.panics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            panic!("a transport that panics");
        }
        if self.unreachable.load(Ordering::Relaxed) {
            return Err(TransportError::NotSent("no route".to_owned()));
        }
        let answer = {
            let mut organisation = self.organisation.lock().unwrap_or_else(PoisonError::into_inner);
            organisation.handle(self.clock.now(), self.clock.wall(), &request(&outgoing))
        };
        let lost = |why: &str| Err(TransportError::MaybeSent(why.to_owned()));
        if answer.after >= TOTAL_TIMEOUT {
            sleep(TOTAL_TIMEOUT).await;
            return lost("no answer in time");
        }
        sleep(answer.after).await;
        match answer.outcome {
            Outcome::Respond(response) => Ok(received(response, None)),
            Outcome::BreakOff { after_bytes: 0, .. } => lost("closed before the body"),
            Outcome::BreakOff { response, after_bytes } => {
                Ok(received(response, Some(after_bytes)))
            }
            Outcome::CloseWithoutAnswer => lost("closed without an answer"),
            Outcome::Stall => {
                sleep(TOTAL_TIMEOUT.saturating_sub(answer.after)).await;
                lost("no answer in time")
            }
        }
    }
}

impl Transport for SimulatedTransport {
    fn send(&self, outgoing: Outgoing) -> Answering<'_> {
        Box::pin(self.answer(outgoing))
    }
}

impl fmt::Debug for SimulatedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedTransport")
    }
}

fn request(outgoing: &Outgoing) -> Request {
    let method = if outgoing.form.is_some() { "POST" } else { "GET" };
    let mut request = Request::new(method, outgoing.url.path());
    if let Some(authorization) = &outgoing.authorization {
        request = request.header("authorization", authorization.expose());
    }
    request.body = outgoing.form.as_ref().map_or("", Secret::expose).as_bytes().to_vec();
    request
}

fn received(mut response: Response, cut_to: Option<usize>) -> Received {
    let header = |name: &str| response.header_value(name).map(str::to_owned);
    let (content_type, retry_after) = (header("content-type"), header("retry-after"));
    let date = header("date");
    let (www_authenticate, location) = (header("www-authenticate"), header("location").is_some());
    response.body.truncate(cut_to.unwrap_or(usize::MAX));
    Received {
        status: response.status,
        content_type,
        retry_after,
        date,
        www_authenticate,
        location,
        body: response.body.into(),
        truncated: cut_to.is_some(),
    }
}
