//! A good caller: one request after the other on a connection that it keeps, and how long each took.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bed::{Bed, PATIENCE, belongs};
use crate::message::Reading;
use crate::reply::{self, Reply};

/// The time from any start.
pub type Now = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How long good requests took.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    sorted: Vec<Duration>,
    /// Answers that failed or belonged to another.
    pub failed: Vec<String>,
}

impl Latencies {
    /// The time within which this many of a hundred were answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.sorted.len() * percent / 100).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(at).copied().unwrap_or_default()
    }

    /// How many were answered.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Puts two records together.
    pub fn add(&mut self, more: Self) {
        self.sorted.extend(more.sorted);
        self.sorted.sort_unstable();
        self.failed.extend(more.failed);
    }
}

/// A connection that a good caller keeps.
#[derive(Debug)]
pub(crate) struct Kept {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Kept {
    pub(crate) async fn to(address: SocketAddr) -> Result<Self, String> {
        let connecting = TcpStream::connect(address);
        let stream = timeout(PATIENCE, connecting).await.map_err(|_| "no connection in time")?;
        let stream = stream.map_err(|error| format!("no connection: {error}"))?;
        let _ = stream.set_nodelay(true);
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends a `GET` and reads its answer.
    pub(crate) async fn ask(&mut self, target: &str, key: &str) -> Result<Reply, String> {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
        );
        self.write(request.as_bytes()).await?;
        self.reply(false).await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).await.map_err(|error| format!("it does not read: {error}"))
    }

    /// Reads one answer, and 1xx before it.
    pub(crate) async fn reply(&mut self, to_head: bool) -> Result<Reply, String> {
        let mut is_closed = false;
        let mut piece = vec![0; 64 * 1024];
        loop {
            match reply::read(&self.unread, to_head, is_closed) {
                Reading::Whole(reply, used) => {
                    self.unread.drain(..used);
                    if reply.status >= 200 || reply.status == 101 {
                        return Ok(reply);
                    }
                    continue;
                }
                Reading::Broken(why) => return Err(format!("an answer with {why}")),
                Reading::Unfinished if is_closed => {
                    return Err("closed without an answer".to_owned());
                }
                Reading::Unfinished => {}
            }
            let read = timeout(PATIENCE, self.stream.read(&mut piece));
            match read.await.map_err(|_| "no answer in time")? {
                Ok(0) => is_closed = true,
                Ok(read) => self.unread.extend_from_slice(&piece[..read]),
                Err(error) => return Err(format!("broken off: {error}")),
            }
        }
    }
}

/// Asks on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, target: &str, key: &str) -> Result<Reply, String> {
    Kept::to(address).await?.ask(target, key).await
}

/// Who fails so often need not be asked further.
const MOST_FAILED: usize = 5;

/// Asks so many times at least, and for as long as `goes_on`, with a breath between two; how long
/// each answer took.
pub(crate) async fn measure(
    bed: &Bed,
    now: &Now,
    (times, breath): (usize, Duration),
    goes_on: impl Fn() -> bool,
) -> Latencies {
    let mut latencies = Latencies::default();
    let mut kept: Option<Kept> = None;
    let mut asked = 0;
    while (asked < times || goes_on()) && latencies.failed.len() < MOST_FAILED {
        asked += 1;
        let target = bed.next_probe();
        let started = now();
        if kept.is_none() {
            match Kept::to(bed.gateway).await {
                Ok(fresh) => kept = Some(fresh),
                Err(why) => {
                    latencies.failed.push(why);
                    continue;
                }
            }
        }
        let Some(connection) = kept.as_mut() else { continue };
        match connection.ask(&target, &bed.key).await {
            Ok(reply) if belongs(&reply.text(), "GET", &target) => {
                latencies.sorted.push(now().saturating_sub(started));
            }
            Ok(reply) => latencies.failed.push(format!("{} {:?}", reply.status, reply.text())),
            Err(why) => {
                latencies.failed.push(why);
                kept = None;
            }
        }
        tokio::time::sleep(breath).await;
    }
    latencies.sorted.sort_unstable();
    latencies
}
