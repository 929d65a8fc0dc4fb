//! A caller that writes HTTP/1.1 itself, so that it can write it wrong.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{CLIENT, POLLER_KEY};

/// A test that waits longer than this has found a hang.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// A request, written out when it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let host = vec![("Host".to_owned(), "127.0.0.1".to_owned())];
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: host,
            body: Vec::new(),
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A form to the token endpoint, as its client.
    pub(crate) fn token(client: (&str, &str), form: &str) -> Self {
        Self::new("POST", "/oauth/token").basic(client.0, client.1).form(form)
    }

    /// `client_credentials` as the lab's client.
    pub(crate) fn login() -> Self {
        Self::token(CLIENT, "grant_type=client_credentials")
    }

    /// `refresh_token` as the lab's client.
    pub(crate) fn refresh(refresh_token: &str) -> Self {
        Self::token(CLIENT, &format!("grant_type=refresh_token&refresh_token={refresh_token}"))
    }

    /// The caller `poller` asks for a path below `/bellwether/v1/credentials/`.
    pub(crate) fn rest(path: &str) -> Self {
        Self::get(&format!("/bellwether/v1/credentials/{path}")).bearer(POLLER_KEY)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn host(self, host: &str) -> Self {
        self.without("host").header("Host", host)
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn basic(self, id: &str, secret: &str) -> Self {
        let pair = STANDARD.encode(format!("{id}:{secret}"));
        self.header("Authorization", &format!("Basic {pair}"))
    }

    pub(crate) fn form(self, form: &str) -> Self {
        self.body("application/x-www-form-urlencoded", form.as_bytes())
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.body("application/json", body.as_bytes())
    }

    pub(crate) fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        let length = body.len().to_string();
        self.header("Content-Type", content_type).header("Content-Length", &length)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// An answer, whole.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = named.next().map(|(_, value)| value.as_str());
        assert!(named.next().is_none(), "{name} comes twice: {self:?}");
        first
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn value(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The member `access_token` of a 200.
    pub(crate) fn token(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.value()["access_token"].as_str().expect("an access token").to_owned()
    }

    /// The member `error`, with `Bellwether-Error` beside it.
    pub(crate) fn error(&self) -> String {
        let value = self.value();
        value["error"].as_str().unwrap_or_default().to_owned()
    }

    /// Status, `error` and whether the answer says that it was made here.
    pub(crate) fn refusal(&self) -> (u16, String, bool) {
        (self.status, self.error(), self.header("bellwether-error").is_some())
    }
}

/// One connection, kept until it is dropped.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a listener");
        stream.set_nodelay(true).expect("a socket");
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.expect("the peer reads");
    }

    /// The same to a peer that may hang up on us.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes).await;
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Reply {
        self.write(&ask.bytes()).await;
        self.reply(ask.method == "HEAD").await
    }

    /// Reads a whole answer.
    pub(crate) async fn reply(&mut self, to_head: bool) -> Reply {
        let mut reply = self.head().await;
        let bodiless = to_head || matches!(reply.status, 204 | 304);
        let chunked = reply.header("transfer-encoding").is_some();
        if bodiless {
        } else if chunked {
            while let Some(chunk) = self.chunk().await {
                reply.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = reply.header("content-length") {
            let length: usize = length.parse().expect("a length");
            reply.body = self.exactly(length).await;
        } else {
            let all = self.stream.read_to_end(&mut reply.body);
            timeout(PATIENCE, all).await.expect("no hang").expect("a whole answer");
        }
        reply
    }

    /// Ends our half and reads until the peer ends its own.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.get_mut().shutdown().await;
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("no hang");
    }

    /// Reads the head of an answer.
    pub(crate) async fn head(&mut self) -> Reply {
        loop {
            let status_line = self.line().await;
            let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
            let status: u16 = status.unwrap_or_else(|| panic!("no status line: {status_line:?}"));
            let mut headers = Vec::new();
            loop {
                let line = self.line().await;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').expect("a header");
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if status != 100 {
                return Reply { status, headers, body: Vec::new() };
            }
        }
    }

    /// The next chunk of a chunked body; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line().await;
        let length = usize::from_str_radix(line.trim(), 16).expect("a chunk's length");
        let bytes = self.exactly(length).await;
        assert_eq!(self.line().await, "");
        (length > 0).then_some(bytes)
    }

    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.stream.read_line(&mut line)).await.expect("no hang");
        read.expect("a line");
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = timeout(PATIENCE, self.stream.read_exact(&mut bytes)).await.expect("no hang");
        read.expect("a whole body");
        bytes
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, ask: Ask) -> Reply {
    Connection::to(address).await.ask(&ask).await
}
