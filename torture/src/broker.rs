//! `bellwether serve`, running: what it says, and what it is asked.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use rustix::process::Signal;
use serde_json::Value;

use crate::http;
use crate::process::{Ended, Process};
use crate::stage::{CALLER_KEY, NAME, OPERATOR_KEY};

/// A broker and where it listens, once it is ready.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) process: Process,
    pub(crate) voice: Voice,
    gateway: SocketAddr,
    admin: SocketAddr,
}

/// What it says on standard error; all of it goes to the log.
#[derive(Debug)]
pub(crate) struct Voice {
    said: BufReader<PipeReader>,
    log: File,
}

/// What a running broker says of the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) state: String,
    pub(crate) why: String,
    pub(crate) generation: u64,
    pub(crate) held: u64,
}

impl Voice {
    pub(crate) fn new(reader: PipeReader, log: File) -> Self {
        Self { said: BufReader::new(reader), log }
    }

    /// Reads what it says until it is ready; answers with gateway and admin listener.
    ///
    /// # Errors
    /// When it ends before.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(SocketAddr, SocketAddr), String> {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.said.read_line(&mut line).map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("serve ended before it was ready".to_owned());
            }
            // For whoever reads the log.
            let _ = self.log.write_all(line.as_bytes());
            if let Some(addresses) = addresses(line.trim()) {
                return Ok(addresses);
            }
        }
    }

    /// Reads the rest, once it has ended.
    pub(crate) fn drain(mut self) {
        // For whoever reads the log.
        let _ = std::io::copy(&mut self.said, &mut self.log);
    }
}

/// The credential as `/v1/credentials` shows it.
pub(crate) fn view(admin: SocketAddr) -> Result<View, String> {
    let (_, answer) = http::ask(admin, "GET", "/v1/credentials", "", "")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = &answer["credentials"][0];
    Ok(View {
        state: text(&one["state"]),
        why: text(&one["why"]),
        generation: one["generation"].as_u64().unwrap_or_default(),
        held: one["held"].as_u64().unwrap_or_default(),
    })
}

/// Asks a broker to renew now.
pub(crate) fn renew(admin: SocketAddr) -> Result<(), String> {
    let path = format!("/v1/credentials/{NAME}/renew");
    match http::ask(admin, "POST", &path, OPERATOR_KEY, "{}")? {
        (202, _) => Ok(()),
        (status, answer) => Err(format!("renew: {status} {answer}")),
    }
}

impl Broker {
    pub(crate) fn new(process: Process, voice: Voice) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { process, voice, gateway: nowhere, admin: nowhere }
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends before.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(), String> {
        (self.gateway, self.admin) = self.voice.wait_until_ready()?;
        Ok(())
    }

    /// Where its gateway listens.
    pub(crate) fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// The credential as `/v1/credentials` shows it.
    pub(crate) fn view(&self) -> Result<View, String> {
        view(self.admin)
    }

    /// Asks it to renew now.
    pub(crate) fn renew(&self) -> Result<(), String> {
        renew(self.admin)
    }

    /// Begins to ask for the token as a caller.
    pub(crate) fn begin_to_ask(&self) -> Result<TcpStream, String> {
        let path = format!("/bellwether/v1/credentials/{NAME}/token");
        http::send(self.gateway, "GET", &path, CALLER_KEY, "")
    }

    /// Kills it now; what it had said goes to the log.
    pub(crate) fn kill(self) -> Result<Ended, String> {
        self.process.signal(Signal::KILL);
        self.end()
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Result<Ended, String> {
        let Self { process, voice, .. } = self;
        let ended = process.end();
        voice.drain();
        ended
    }
}

fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.strip_prefix("ready ")?.split(' ');
    let mut next = |name: &str| words.next()?.strip_prefix(name)?.parse().ok();
    Some((next("gateway=http://")?, next("admin=http://")?))
}
