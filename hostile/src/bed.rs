//! What is under test: a gateway with a resource server of ours behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::good;
use crate::message::Message;
use crate::origin::{Arrived, Origin};

/// Cases count on a caller's key of this many bytes.
pub(crate) const KEY_LENGTH: usize = 36;

/// Headers that concern one connection, or nobody but the gateway.
const NEVER: [&str; 6] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "expect",
    "cookie",
    "bellwether-credential",
];
/// Fields that may not stand behind a body (RFC 9110 §6.5.1).
const NEVER_BEHIND: [&str; 10] = [
    "authorization",
    "proxy-authorization",
    "bellwether-credential",
    "connection",
    "content-length",
    "cookie",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Resident bytes of the process under test.
pub type Resident = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a flood is measured by.
#[derive(Clone)]
pub struct Pressure {
    /// The machine's clock, from any start.
    pub now: good::Now,
    /// How large the process is now.
    pub resident: Resident,
    /// A latency below this says more about the machine than about a flood.
    pub least_latency: Duration,
    /// Where the hostile callers run.
    pub crowd: Handle,
}

impl Pressure {
    /// What a good caller that worked beside it has to complain of.
    pub(crate) fn complaints(&self, beside: &good::Latencies, quiet_p99: Duration) -> Vec<String> {
        let mut complaints = Vec::new();
        let (p99, most) = (beside.percentile(99), (quiet_p99 * 2).max(self.least_latency));
        if p99 > most {
            complaints.push(format!("a good caller's p99 is {p99:?}, at most {most:?}"));
        }
        if let Some(failed) = beside.failed.first() {
            let count = beside.failed.len();
            complaints.push(format!("{count} good requests failed, the first by {failed}"));
        }
        complaints
    }
}

/// The gateway under test.
#[derive(Debug)]
pub struct Bed {
    /// Its gateway listener.
    pub gateway: SocketAddr,
    /// Its only resource server.
    pub origin: Origin,
    /// A configured caller's key.
    pub key: String,
    /// The token that it is to inject.
    token: String,
    probes: AtomicU64,
}

impl Bed {
    /// Asks the gateway for the current token of the caller's credential, and checks that all is well.
    ///
    /// # Errors
    /// When a good request fails before anything bad was sent.
    pub async fn new(
        gateway: SocketAddr,
        origin: Origin,
        key: &str,
        credential: &str,
    ) -> Result<Self, String> {
        assert_eq!(key.len(), KEY_LENGTH, "cases count on it");
        let path = format!("/bellwether/v1/credentials/{credential}/token");
        let reply = good::ask(gateway, &path, key).await?;
        let text = reply.text();
        let token =
            text.split("\"access_token\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let token = token.ok_or_else(|| format!("no token: {} {text}", reply.status))?.to_owned();
        let bed = Self { gateway, origin, key: key.to_owned(), token, probes: AtomicU64::new(0) };
        bed.probe().await?;
        let arrived = bed.origin.take();
        let complaints = bed.audit(&arrived, false);
        if complaints.is_empty() { Ok(bed) } else { Err(complaints.join("; ")) }
    }

    /// A target that no other request has.
    pub(crate) fn next_probe(&self) -> String {
        format!("/probe/{}", self.probes.fetch_add(1, Ordering::Relaxed))
    }

    /// A good request on a connection of its own.
    ///
    /// # Errors
    /// When it is not answered, or with what belongs to another.
    pub async fn probe(&self) -> Result<(), String> {
        let target = self.next_probe();
        let reply = good::ask(self.gateway, &target, &self.key).await?;
        belongs(&reply.text(), "GET", &target)
            .then_some(())
            .ok_or_else(|| format!("a good request got {} {:?}", reply.status, reply.text()))
    }

    /// What every request that arrived must be like.
    pub(crate) fn audit(&self, arrived: &Arrived, may_upgrade: bool) -> Vec<String> {
        let mut complaints = arrived.disagreements.clone();
        for message in &arrived.messages {
            complaints.extend(self.audit_one(message, may_upgrade));
        }
        complaints
    }

    fn audit_one(&self, message: &Message, may_upgrade: bool) -> Vec<String> {
        let mut complaints = Vec::new();
        let at = format!("{} {}", message.method, message.target);
        let ours = format!("Bearer {}", self.token);
        if message.all("authorization") != [ours.as_bytes()] {
            complaints.push(format!("{at}: not exactly one Authorization, ours"));
        }
        if message.all("host") != [self.origin.address.to_string().as_bytes()] {
            complaints.push(format!("{at}: another Host than the origin's"));
        }
        for name in NEVER {
            if !message.all(name).is_empty() {
                complaints.push(format!("{at}: {name} arrived"));
            }
        }
        // The gateway asks for two things in its own name, and for an upgrade only as it was asked.
        let connection = message.all("connection");
        let is_own = matches!(connection[..], [] | [b"te" | b"keep-alive"]);
        if !is_own && !may_upgrade {
            complaints.push(format!("{at}: connection arrived"));
        }
        if !matches!(message.all("te")[..], [] | [b"trailers"]) {
            complaints.push(format!("{at}: te arrived"));
        }
        if !message.all("upgrade").is_empty() && !may_upgrade {
            complaints.push(format!("{at}: upgrade arrived"));
        }
        for (name, _) in &message.trailers {
            if NEVER_BEHIND.contains(&name.as_str()) {
                complaints.push(format!("{at}: {name} arrived behind the body"));
            }
        }
        let holds = |bytes: &[u8]| {
            bytes.windows(self.key.len()).any(|window| window == self.key.as_bytes())
        };
        let in_headers =
            message.headers.iter().any(|(name, value)| holds(name.as_bytes()) || holds(value));
        if in_headers || holds(message.target.as_bytes()) {
            complaints.push(format!("{at}: the caller's key arrived"));
        }
        complaints
    }
}

/// Whether a good answer belongs to this request.
pub(crate) fn belongs(text: &str, method: &str, target: &str) -> bool {
    text.split_once(' ').is_some_and(|(number, rest)| {
        number.bytes().all(|byte| byte.is_ascii_digit()) && rest == format!("{method} {target}")
    })
}

impl std::fmt::Debug for Pressure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pressure").field("resident", &(self.resident)()).finish_non_exhaustive()
    }
}

/// A test that waits longer has found a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
