//! A token endpoint on loopback that grants everything, one connection for each request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::token_response;

/// Where it listens; it runs as long as the runtime.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
}

impl Endpoint {
    /// Starts on a port of its own.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let n = count.fetch_add(1, Ordering::Relaxed);
                // A client that goes away is its own loss.
                tokio::spawn(async move { drop(answer(stream, n).await) });
            }
        });
        Ok(Self { address, answered })
    }

    /// Where token requests go.
    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Token requests so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

async fn answer(mut stream: TcpStream, n: usize) -> io::Result<()> {
    let (mut request, mut chunk) = (Vec::new(), [0; 2048]);
    while !is_whole(&request) {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..read]);
    }
    let body = token_response(n);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Whether head and body are there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}
