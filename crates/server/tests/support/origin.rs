//! A resource server that writes down every byte it receives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) request_line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Recorded {
    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn target(&self) -> &str {
        self.request_line.split(' ').nth(1).expect("a target")
    }
}

type Answers = Arc<dyn Fn(&Recorded) -> Vec<u8> + Send + Sync>;

/// Answers each request with the bytes that `answers` makes of it. It stops when dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    listening: JoinHandle<()>,
}

impl Origin {
    pub(crate) async fn start(
        answers: impl Fn(&Recorded) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let recorded = Arc::<Mutex<Vec<Recorded>>>::default();
        let (record, answers): (_, Answers) = (Arc::clone(&recorded), Arc::new(answers));
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&record), Arc::clone(&answers)));
            }
        });
        Self { address, recorded, listening }
    }

    /// Answers 200 with an empty JSON object.
    pub(crate) async fn content() -> Self {
        Self::start(|_| answer("200 OK", "", "{}")).await
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().expect("a URL")
    }

    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn last(&self) -> Recorded {
        self.recorded().pop().expect("a request")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// An answer with a length. `headers` are whole lines.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

async fn converse(stream: TcpStream, record: Arc<Mutex<Vec<Recorded>>>, answers: Answers) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let bytes = answers(&request);
        record.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        if bytes.is_empty() || stream.get_mut().write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Reads one request, whatever its framing.
pub(crate) async fn read(stream: &mut BufReader<TcpStream>) -> Option<Recorded> {
    let request_line = line(stream).await?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Recorded { request_line, headers, body: Vec::new() };
    if let [length] = request.all("content-length")[..] {
        request.body = vec![0; length.parse().ok()?];
        stream.read_exact(&mut request.body).await.ok()?;
    } else if !request.all("transfer-encoding").is_empty() {
        loop {
            let length = usize::from_str_radix(&line(stream).await?, 16).ok()?;
            let mut chunk = vec![0; length];
            stream.read_exact(&mut chunk).await.ok()?;
            line(stream).await?;
            if length == 0 {
                break;
            }
            request.body.extend_from_slice(&chunk);
        }
    }
    Some(request)
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}
