//! Following a log that grows, or a broker that runs, and telling each finding when it appears.
//!
//! What arrives is pumped into a channel by tasks; one thread reads from its other end as it would
//! read a file. Ctrl-C closes the channel, which to the reader is the end of the file.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellwether_doctor::{Diagnosis, Examination, Next, Observation, Source};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use url::Url;

use super::super::{Failure, print_result, runtime};
use super::{name, text, unreadable};
use crate::tell::tell;

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(250);
const CHUNK: usize = 1 << 16;
const CHUNKS: usize = 16;
/// While there is more to read, findings are told this often.
const OFTEN: u64 = 20_000;

/// Follows one until Ctrl-C, or until a broker ends. With `json`, what is told meanwhile goes to
/// standard error.
pub(super) fn follow(path: &Path, json: bool) -> Result<Diagnosis, Failure> {
    let runtime = runtime()?;
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let pump: tokio::task::JoinHandle<Result<(), String>> = match address(path)? {
        Some(address) => runtime.spawn(until_stopped(events(address, sender))),
        None => {
            // Whether it is there at all is said at once.
            std::fs::metadata(path).map_err(|error| unreadable(path, &error.into()))?;
            runtime.spawn(until_stopped(tail(path.to_owned(), sender)))
        }
    };
    let outcome = read(path, Feed::new(receiver), json);
    match runtime.block_on(pump) {
        Ok(Err(message)) => Err(Failure::Usage(message)),
        Ok(Ok(())) | Err(_) => outcome,
    }
}

/// An address of a broker's admin listener.
fn address(path: &Path) -> Result<Option<Url>, Failure> {
    let Some(text) = path.to_str().filter(|text| text.contains("://")) else { return Ok(None) };
    let plain = |url: &Url| url.scheme() == "http" && url.host_str().is_some();
    match Url::parse(text).ok().filter(plain) {
        Some(url) => Ok(Some(url)),
        None => Err(Failure::Usage(format!(
            "{text} is no address of a broker's admin listener; it looks like http://127.0.0.1:8485"
        ))),
    }
}

async fn until_stopped(pump: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::select! {
        ended = pump => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// All of a file, then whatever is added; a file that took its place is read from its beginning.
async fn tail(path: PathBuf, sender: mpsc::Sender<Vec<u8>>) -> Result<(), String> {
    let failed = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut file = File::open(&path).await.map_err(failed)?;
    let mut place = 0;
    loop {
        loop {
            let mut chunk = vec![0; CHUNK];
            let count = file.read(&mut chunk).await.map_err(failed)?;
            if count == 0 {
                break;
            }
            place += count as u64;
            chunk.truncate(count);
            if sender.send(chunk).await.is_err() {
                return Ok(());
            }
        }
        ticks.tick().await;
        if sender.is_closed() {
            return Ok(());
        }
        let here = file.metadata().await.map_err(failed)?;
        // Between the two names of a rotation there is none.
        let Ok(there) = tokio::fs::metadata(&path).await else { continue };
        if there.ino() != here.ino() || there.dev() != here.dev() {
            file = File::open(&path).await.map_err(failed)?;
            place = 0;
        } else if here.len() < place {
            place = file.seek(SeekFrom::Start(0)).await.map_err(failed)?;
        }
    }
}

/// What a broker tells of its credentials, until it ends.
async fn events(address: Url, sender: mpsc::Sender<Vec<u8>>) -> Result<(), String> {
    let shown = address.as_str().trim_end_matches('/').to_owned();
    let failed = |error: &dyn std::fmt::Display| format!("{shown} cannot be read: {error}");
    let host = address.host_str().unwrap_or_default();
    let port = address.port_or_known_default().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = tokio::net::TcpStream::connect((bare, port)).await.map_err(|it| failed(&it))?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/v1/events")
        .header("host", format!("{host}:{port}"))
        .header("accept", "text/event-stream")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let answer = client.send_request(request).await.map_err(|error| failed(&error))?;
    if answer.status() != http::StatusCode::OK {
        return Err(format!(
            "{shown} answers {}; is it a broker's admin listener?",
            answer.status()
        ));
    }
    let mut body = answer.into_body();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sender.closed() => break,
        };
        let Some(Ok(frame)) = frame else { break };
        let Ok(data) = frame.into_data() else { continue };
        if sender.send(data.to_vec()).await.is_err() {
            break;
        }
    }
    connection.abort();
    Ok(())
}

/// The reading end of what is pumped.
struct Feed {
    receiver: mpsc::Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    given: usize,
    /// Everything that has arrived was given.
    is_drained: Arc<AtomicBool>,
}

impl Feed {
    fn new(receiver: mpsc::Receiver<Vec<u8>>) -> Self {
        let is_drained = Arc::new(AtomicBool::new(false));
        Self { receiver, chunk: Vec::new(), given: 0, is_drained }
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.chunk.len() {
            let Some(chunk) = self.receiver.blocking_recv() else { return Ok(0) };
            (self.chunk, self.given) = (chunk, 0);
        }
        let rest = &self.chunk[self.given..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        let drained = self.given == self.chunk.len() && self.receiver.is_empty();
        self.is_drained.store(drained, Ordering::Relaxed);
        Ok(count)
    }
}

fn read(path: &Path, feed: Feed, json: bool) -> Result<Diagnosis, Failure> {
    let cannot = |why| unreadable(path, &why);
    let is_drained = Arc::clone(&feed.is_drained);
    let mut source = Source::open(0, BufReader::with_capacity(CHUNK, feed)).map_err(cannot)?;
    tell!("following {} ({}); Ctrl-C ends it", name(path), source.format());
    let mut examination = Examination::new(vec![name(path)]);
    let (mut seen, mut told, mut since) = (Observation::default(), Told::default(), 0_u64);
    loop {
        let next = source.next(&mut seen).map_err(cannot)?;
        if next == Next::End {
            break;
        }
        examination.take(next, &seen);
        since += 1;
        if since >= OFTEN || is_drained.load(Ordering::Relaxed) {
            since = 0;
            told.tell(&examination.diagnosis(), json)?;
        }
    }
    examination.add_lines(&source);
    Ok(examination.diagnosis())
}

/// What has been told, with its count then.
#[derive(Default)]
struct Told {
    counts: BTreeMap<&'static str, u64>,
}

impl Told {
    /// Tells what is new, and what has doubled since.
    fn tell(&mut self, diagnosis: &Diagnosis, json: bool) -> Result<(), Failure> {
        for (number, finding) in (1..).zip(&diagnosis.findings) {
            let before = self.counts.get(finding.id.as_str()).copied().unwrap_or_default();
            if before > 0 && finding.count < before.saturating_mul(2) {
                continue;
            }
            self.counts.insert(finding.id.as_str(), finding.count.max(1));
            let text = text::one(number, finding, text::Style::for_standard_output());
            if json {
                tell!("{text}");
            } else {
                print_result(&text)?;
            }
        }
        Ok(())
    }
}
