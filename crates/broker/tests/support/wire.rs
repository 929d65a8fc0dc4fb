//! A server that writes exactly the bytes it is told, well-formed or not.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};

/// What the server does with a connection, one step after the other; then it closes.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads the whole request.
    Read,
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Writes these bytes again and again until the client leaves.
    WriteForEver(Vec<u8>),
    /// Writes one byte at a time.
    Drip(Vec<u8>),
    /// Says nothing until the client leaves.
    Stall,
    /// Ends the connection with RST instead of FIN.
    Reset,
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Came {
    pub authorization: String,
    pub body: String,
}

#[derive(Default)]
struct Desk {
    scripts: HashMap<String, Vec<Step>>,
    came: HashMap<String, Vec<Came>>,
    connections: usize,
    written: usize,
}

/// Listens until it is dropped. A script belongs to a path; steps before [`Step::Read`] apply
/// where the listener has a single script, since no path is known yet.
pub struct Wire {
    pub address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    listening: JoinHandle<()>,
}

impl Wire {
    pub async fn open(scripts: HashMap<String, Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let desk = Arc::new(Mutex::new(Desk { scripts, ..Desk::default() }));
        let listening = tokio::spawn(listen(listener, Arc::clone(&desk)));
        Self { address, desk, listening }
    }

    pub async fn playing(steps: Vec<Step>) -> Self {
        Self::open(HashMap::from([("/oauth/token".to_owned(), steps)])).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came to a path so far.
    pub fn came(&self, path: &str) -> Vec<Came> {
        lock(&self.desk).came.get(path).cloned().unwrap_or_default()
    }

    pub fn connections(&self) -> usize {
        lock(&self.desk).connections
    }

    /// Bytes that were taken off our hands.
    pub fn written(&self) -> usize {
        lock(&self.desk).written
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(listener: TcpListener, desk: Arc<Mutex<Desk>>) {
    while let Ok((stream, _)) = listener.accept().await {
        lock(&desk).connections += 1;
        let desk = Arc::clone(&desk);
        // The client may leave in the middle of anything.
        tokio::spawn(async move { converse(stream, &desk).await.ok() });
    }
}

async fn converse(mut stream: TcpStream, desk: &Mutex<Desk>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let only = {
        let desk = lock(desk);
        (desk.scripts.len() == 1).then(|| desk.scripts.values().next().cloned()).flatten()
    };
    let steps = match only {
        Some(steps) => steps,
        None => {
            let path = read_request(&mut stream, desk).await?;
            lock(desk).scripts.get(&path).cloned().unwrap_or_default()
        }
    };
    for step in steps {
        match step {
            Step::Read => {
                read_request(&mut stream, desk).await?;
            }
            Step::Write(bytes) => write(&mut stream, &bytes, desk).await?,
            Step::WriteForEver(bytes) => loop {
                write(&mut stream, &bytes, desk).await?;
            },
            Step::Drip(bytes) => {
                for byte in bytes {
                    write(&mut stream, &[byte], desk).await?;
                    yield_now().await;
                }
            }
            Step::Stall => while stream.read(&mut [0; 1024]).await? > 0 {},
            Step::Reset => {
                stream.set_zero_linger()?;
                return Ok(());
            }
        }
    }
    stream.shutdown().await?;
    // Unread bytes would turn the close into a reset.
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

async fn write(stream: &mut TcpStream, bytes: &[u8], desk: &Mutex<Desk>) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    lock(desk).written += bytes.len();
    Ok(())
}

/// Reads one request to its end, notes it, and says to which path it came.
async fn read_request(stream: &mut TcpStream, desk: &Mutex<Desk>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_owned()).unwrap_or_default()
            };
            if body.len() >= header("content-length").parse().unwrap_or(0) {
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let came = Came { authorization: header("authorization"), body: body.to_owned() };
                lock(desk).came.entry(path.clone()).or_default().push(came);
                return Ok(path);
            }
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
